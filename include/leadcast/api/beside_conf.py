"""What stands beside `conf` in a call of Airflow's trigger: Airflow logs it before it looks at it, and keeps notes."""

from __future__ import annotations

import re
from functools import cache
from typing import Any

from leadcast.core.request_errors import FieldError, InvalidRequest
from leadcast.engine.seal.request_shape import holds_request
from leadcast.flow.request import SendBatch

_RUN_ID = re.compile(r"[A-Za-z0-9_.~:+-]{1,250}")
"""As Airflow takes it by default (3.3.2), and as long as its column is."""


@cache
def _airflows_own() -> frozenset[str]:
    """What the trigger of the Airflow that is installed takes."""
    from airflow.api_fastapi.core_api.datamodels.dag_run import TriggerDAGRunPostBody

    schema = TriggerDAGRunPostBody.model_json_schema()
    return frozenset(TriggerDAGRunPostBody.model_fields) | frozenset(schema["properties"])


def refuse_misplaced(data: dict[str, Any]) -> None:
    """Airflow would refuse these too, but only after it wrote them into its audit log.

    Raises:
        InvalidRequest: there are members that the trigger does not take.
    """
    misplaced = data.keys() - _airflows_own()
    if misplaced:
        said = {True: "belongs into conf", False: "there is no such field; is conf meant?"}
        ours = SendBatch.model_fields
        errors = [FieldError(("body", name), said[name in ours]) for name in sorted(misplaced)]
        raise InvalidRequest('Put the request into "conf": {"logical_date": null, "conf": {…}}.', errors=errors)


def refuse_request_beside_conf(data: dict[str, Any]) -> None:
    """Looks through all members of a trigger's body but `conf`, which Airflow would log as they come.

    Raises:
        InvalidRequest: one holds a request, or is no id of a run. Nothing of it is repeated.
    """
    errors = []
    for name, value in data.items():
        if name == "dag_run_id" and value not in (None, "") and not _is_run_id(value):
            errors.append(FieldError(("body", name), "must be of 250 letters A to Z, digits and _ . ~ : + - at most"))
        elif name != "conf" and holds_request(value):
            errors.append(FieldError(("body", name), "holds a request, which belongs into conf"))
    if errors:
        raise InvalidRequest(f"{errors[0].loc[1]}: {errors[0].msg}.", errors=errors)


def _is_run_id(value: Any) -> bool:
    return isinstance(value, str) and _RUN_ID.fullmatch(value) is not None
