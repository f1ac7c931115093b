"""Airflow's own `TriggerDagRunOperator` as a door: what it may hand to `send_lead`, and what it may not.

Airflow keeps such a task's conf where many may read it: in the DAG as it is stored, and in the task's rendered fields.
So inline credentials, a lead's data and callback URLs are refused here, and `SendBatchOperator` takes them: where the
DAG file is read, if they stand in it, and at the run's own insertion, whatever they were made from.
Light to import: every Airflow process loads it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

from pluggy import HookimplMarker

from leadcast.core.request_errors import RequestRejected
from leadcast.engine.dag_ids import DAG_ID
from leadcast.engine.seal.sealed_conf import has_strange, is_sealed

_CONN_ID = "conn_id"
_OURS = "SendBatchOperator"
HOW_TO_SEND = (
    'Use SendBatchOperator (leadcast.engine.send_batch_operator), or name connections ("conn_id") and the lead_id of '
    "a stored lead, or hand on a conf that `leadcast seal` has made."
)
_policy = HookimplMarker("airflow.policy")


@_policy
def task_policy(task: Any) -> None:
    """Called by Airflow for each task of each DAG file that is read: compares a word or two.

    Raises:
        AirflowClusterPolicyViolation: the task hands inline secrets to `send_lead`. The DAG is listed with its error,
            and nothing of it is stored.
    """
    given = getattr(task, "partial_kwargs", None)
    if DAG_ID in _given(task, given, "trigger_dag_id"):
        member, how = "conf", HOW_TO_SEND
    elif given is not None and getattr(task, "task_type", "") == _OURS:
        member, how = "request", "Of a mapped task, give it as a function, which is called while the task runs."
    else:
        return
    for value in _given(task, given, member):
        if found := inline_secrets(value):
            from airflow.exceptions import AirflowClusterPolicyViolation

            raise AirflowClusterPolicyViolation(f"Task {task.task_id!r} {_what(found, member)} {how}")


def refuse_inline_secrets(conf: Mapping[str, Any] | None) -> None:
    """At the insertion of a run that a task has triggered.

    Raises:
        RequestRejected: it holds what may not come this way. Airflow answers the task with 400 and the text.
    """
    if found := inline_secrets(conf, is_rendered=True):
        raise RequestRejected(f"This run was not created: its task {_what(found)} {HOW_TO_SEND}")


def inline_secrets(conf: Any, *, is_rendered: bool = False) -> list[str]:
    """The members of a conf that may not come this way, by name.

    Args:
        is_rendered: nothing in it is a template any more.
    """
    if isinstance(conf, str):
        # the operator takes that as well
        with suppress(ValueError, RecursionError):
            conf = json.loads(conf)
    if not isinstance(conf, Mapping):
        return []
    found = [name for name in ("callback_url", "lead") if conf.get(name)]
    credentials = conf.get("credentials")
    if credentials and not is_sealed(conf) and not _are_connections(credentials, is_rendered=is_rendered):
        found.append("credentials")
    if has_strange({str(name): value for name, value in conf.items()}):
        found.append("airflow/…")
    return found


def _are_connections(credentials: Any, *, is_rendered: bool) -> bool:
    return isinstance(credentials, Mapping) and all(
        not given or _is_connection(str(name), given, is_rendered=is_rendered) for name, given in credentials.items()
    )


def _is_connection(integration_type: str, given: Any, *, is_rendered: bool) -> bool:
    """Whether this names a connection, and beside it nothing but what its integration shows."""
    from leadcast.core.conn_ids import is_conn_id

    if not isinstance(given, Mapping):
        return False
    conn_id, beside = given.get(_CONN_ID), given.keys() - {_CONN_ID}
    if not is_conn_id(conn_id) and (is_rendered or not _is_template(conn_id)):
        return False
    return not beside or (beside <= _shown_beside(integration_type) and all(map(_is_plain, map(given.get, beside))))


def _is_plain(value: Any) -> bool:
    return all(not isinstance(item, Mapping | list | tuple) for item in (value if isinstance(value, list) else [value]))


def _is_template(text: Any) -> bool:
    return isinstance(text, str) and text.startswith("{{") and text.endswith("}}")


def _shown_beside(integration_type: str) -> frozenset[str]:
    """The fields of an integration's credentials that go with a connection and are no secrets."""
    from pydantic import SecretStr

    from leadcast.integrations import registry

    if integration_type not in registry.types():
        return frozenset()
    integration = registry.get(integration_type)
    fields = integration.credentials_model.model_fields
    beside = fields if integration.beside_connection is None else integration.beside_connection
    shown = (name for name in beside if name in fields and SecretStr.__name__ not in repr(fields[name].annotation))
    return frozenset(shown)


def _given(task: Any, given: Mapping[str, Any] | None, member: str) -> Iterator[Any]:
    """This argument of a task, and all of a mapped one's that stand in the DAG's file."""
    yield getattr(task, member, None)
    if given is None:
        return
    yield given.get(member)
    expanded = getattr(getattr(task, "expand_input", None), "value", None)
    for item in expanded if isinstance(expanded, list | tuple) else [expanded]:
        values = item.get(member) if isinstance(item, Mapping) else None
        yield from values if isinstance(values, list | tuple) else [values]


def _what(found: list[str], member: str = "conf") -> str:
    return (
        f"hands {DAG_ID} {', '.join(found)} in its {member}, and Airflow would keep that in clear for all who may look."
    )
