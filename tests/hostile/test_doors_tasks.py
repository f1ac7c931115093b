"""Tasks of other DAGs as doors: what Airflow keeps of them, and what of a request may go that way."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from leadcast.core.request_errors import RequestRejected
from leadcast.engine.seal.triggering_tasks import inline_secrets, refuse_inline_secrets
from leadcast.store.database import Store

NEEDLES = ("N33DLE", "+79995550000")
REQUEST = """{
    "lead_id": "{{ params.who }}",
    "lead": {"name": "{{ var.value.person }}", "phone": "{{ var.value.phone }}"},
    "integrations": [{"type": "telegram"}],
    "credentials": {"telegram": {"bot_token": "{{ var.value.bot }}", "chat_id": "@sales"}},
    "callback_url": "https://receiver.example/{{ var.value.bot }}",
}"""
IN_CLEAR = """{
    "lead_id": 7,
    "lead": {"name": "N33DLE Person", "phone": "+79995550000"},
    "integrations": [{"type": "telegram"}],
    "credentials": {"telegram": {"bot_token": "700:N33DLE-telegram-token-of-the-tests", "chat_id": "@sales"}},
    "callback_url": "https://receiver.example/N33DLE"
}"""
HEAD = """
from airflow.providers.standard.operators.trigger_dagrun import TriggerDagRunOperator
from airflow.sdk import DAG, task
from leadcast.engine.send_batch_operator import SendBatchOperator

with DAG("others", schedule=None, params={"who": "needle-7"}):
"""
SECRETS = {"person": "N33DLE Person", "phone": "+79995550000", "bot": "700:N33DLE-telegram-token-of-the-tests"}


@pytest.fixture
def parsed(tmp_path: Path, send_lead: Any, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Any]:
    """Reads a DAG file as the dag-processor does, with our policy in force; what it finds, Airflow stores."""
    from airflow.dag_processing.dagbag import DagBag, sync_bag_to_db

    from airflow import settings
    from leadcast.engine.seal import command_line, shown_rows

    shown_rows.watch()  # as the plugin does
    assert settings.get_policy_plugin_manager().is_registered(command_line), "by its entry point"
    for name, value in SECRETS.items():
        monkeypatch.setenv(f"AIRFLOW_VAR_{name.upper()}", value)

    def parse(body: str) -> Any:
        (tmp_path / "others.py").write_text(HEAD + body)
        bag = DagBag(str(tmp_path), bundle_path=tmp_path, bundle_name="dags-folder")
        if not bag.import_errors:
            sync_bag_to_db(bag, bundle_name="dags-folder", bundle_version=None)
        return bag

    return parse


def stored() -> str:
    """All that Airflow keeps of DAGs and their tasks. What another DAG's run was triggered with is its own business."""
    from airflow import settings

    tables = ("serialized_dag", "rendered_task_instance_fields", "xcom", "log", "task_instance", "import_error")
    assert settings.Session is not None
    session = settings.Session()
    session.rollback()
    return "\n".join(
        str(tuple(row)) for table in tables for row in session.execute(text(f"SELECT * FROM {table}")).all()
    )


def found(where: str) -> list[str]:
    return [line[:3000] for line in where.splitlines() if any(needle in line for needle in NEEDLES)]


def tried(dag: Any, **more: Any) -> Any:
    from airflow import settings

    try:
        return dag.test(**more)
    finally:
        assert settings.Session is not None
        settings.Session().rollback()


@pytest.mark.parametrize(
    "task",
    [
        f"TriggerDagRunOperator(task_id='send', trigger_dag_id='send_lead', conf={IN_CLEAR})",
        f"TriggerDagRunOperator(task_id='send', trigger_dag_id='send_lead', conf={REQUEST})",
        f"TriggerDagRunOperator.partial(task_id='send', trigger_dag_id='send_lead').expand(conf=[{IN_CLEAR}])",
        f"TriggerDagRunOperator.partial(task_id='send', conf={IN_CLEAR}).expand(trigger_dag_id=['send_lead'])",
        f"TriggerDagRunOperator.partial(task_id='s', trigger_dag_id='send_lead', conf={IN_CLEAR}).expand(note=['x'])",
        f"SendBatchOperator.partial(task_id='send').expand(request=[{IN_CLEAR}])",
        f"SendBatchOperator.partial(task_id='send', request={IN_CLEAR}).expand(doc=['x'])",
    ],
)
def test_a_dag_file_that_hands_on_inline_secrets_is_not_stored_and_says_what_to_do(
    parsed: Callable[[str], Any], task: str
) -> None:
    bag = parsed(f"    {task}\n")
    [error] = bag.import_errors.values()
    assert "SendBatchOperator" in error or "as a function" in error
    assert found(error) == []


@pytest.mark.parametrize(
    "conf",
    [
        "{}",
        '{"lead_id": 7, "integrations": [{"type": "telegram"}]}',
        '{"lead_id": 7, "integrations": [{"type": "email"}], "credentials": {"email": {"conn_id": "leadcast_mail"}}}',
        '{"lead_id": 7, "integrations": [{"type": "telegram"}], "credentials": {"sealed": "gAAAAAB"}}',
    ],
)
def test_connections_and_a_stored_lead_may_come_by_a_triggering_task(parsed: Callable[[str], Any], conf: str) -> None:
    bag = parsed(f"    TriggerDagRunOperator(task_id='send', trigger_dag_id='send_lead', conf={conf})\n")
    assert bag.import_errors == {}
    refuse_inline_secrets(json.loads(conf))


@pytest.mark.parametrize(
    ("integration_type", "given"),
    [
        ("webhook", {"conn_id": "leadcast_x", "secret": "N33DLE"}),
        ("webhook", {"conn_id": "leadcast_x", "headers": {"X-Token": "N33DLE"}}),
        ("webhook", {"conn_id": "leadcast_x", "previous_secret": "N33DLE"}),
        ("webhook", {"conn_id": " ", "url": "https://receiver.example/N33DLE"}),
        ("webhook", {"conn_id": "x", "url": "https://receiver.example/N33DLE"}),
        ("webhook", {"conn_id": True, "url": "https://receiver.example/N33DLE"}),
        ("webhook", {"conn_id": "https://receiver.example/N33DLE"}),
        ("webhook", {"conn_id": {"url": "N33DLE"}}),
        ("telegram", {"conn_id": "x", "bot_token": "N33DLE"}),
        ("telegram", {"conn_id": "x", "chat_id": {"bot_token": "N33DLE"}}),
        ("email", {"conn_id": "x", "emails": [{"password": "N33DLE"}]}),
        ("amocrm", {"conn_id": "x", "access_token": "N33DLE"}),
        ("of nobody", {"conn_id": "x", "anything": "N33DLE"}),
        ("telegram", "N33DLE"),
    ],
)
def test_beside_a_connection_no_secret_comes_by_a_task(integration_type: str, given: Any) -> None:
    conf: dict[str, Any] = {"lead_id": 7, "integrations": [{"type": integration_type}]}
    conf["credentials"] = {integration_type: given}
    assert inline_secrets(conf) == ["credentials"]
    assert inline_secrets(json.dumps(conf)) == ["credentials"], "the operator takes JSON as well"
    with pytest.raises(RequestRejected):
        refuse_inline_secrets(conf)


@pytest.mark.parametrize(
    ("integration_type", "given"),
    [
        ("telegram", {"conn_id": "leadcast_bot", "chat_id": "@sales"}),
        ("telegram", {"conn_id": "leadcast_bot", "chat_id": -100}),
        ("email", {"conn_id": "leadcast_mail", "emails": ["a@example.com"]}),
        ("webhook", {"conn_id": "leadcast_x"}),
        ("webhook", {}),
    ],
)
def test_what_is_no_secret_may_stand_beside_a_connection(integration_type: str, given: Any) -> None:
    refuse_inline_secrets({"lead_id": 7, "credentials": {integration_type: given}})


def test_a_connection_may_be_named_by_a_template_until_it_is_filled_in() -> None:
    conf = {"lead_id": 7, "credentials": {"telegram": {"conn_id": "{{ params.bot }}"}}}
    assert inline_secrets(conf) == []
    assert inline_secrets(conf, is_rendered=True) == ["credentials"]
    conf["credentials"] = {"telegram": {"conn_id": "{{ params.bot }}", "bot_token": "N33DLE"}}
    assert inline_secrets(conf) == ["credentials"]


@pytest.mark.parametrize("name", ["lead", "callback_url", "credentials"])
def test_what_is_made_while_the_task_runs_is_refused_by_the_run(name: str) -> None:
    conf = {"lead_id": 7, "integrations": [{"type": "telegram"}], name: json.loads(IN_CLEAR)[name]}
    assert inline_secrets(conf) == [name]
    with pytest.raises(RequestRejected, match="SendBatchOperator") as caught:
        refuse_inline_secrets(conf)
    assert found(str(caught.value)) == []


def test_a_triggering_task_shows_our_sentence_and_keeps_nothing(
    parsed: Callable[[str], Any], capfd: pytest.CaptureFixture[str]
) -> None:
    """Its conf comes from a run's own: Airflow renders, and would show, it before it asks for the run."""
    conf = "'{{ dag_run.conf.asked | tojson }}'"
    bag = parsed(f"    TriggerDagRunOperator(task_id='send', trigger_dag_id='send_lead', conf={conf})\n")
    dag = bag.dags["others"]
    dag.render_template_as_native_obj = True
    made = tried(dag, run_conf={"asked": json.loads(IN_CLEAR)})
    assert [str(ti.state) for ti in made.get_task_instances()] == ["failed"]
    assert "Use SendBatchOperator" in capfd.readouterr().out, "the task's log"
    shown = stored()
    assert "***" in shown, "the rendered fields"
    assert found(shown) == []


def test_a_task_that_sends_leaves_its_batch_and_nothing_else(parsed: Callable[[str], Any], store: Store) -> None:
    bag = parsed(f"    SendBatchOperator(task_id='send', request={REQUEST})\n")
    assert bag.import_errors == {}
    made = tried(bag.dags["others"])
    assert [str(ti.state) for ti in made.get_task_instances()] == ["success"]
    with store.begin() as connection:
        [batch] = connection.execute(text("SELECT id, lead_id, lead FROM batches")).all()
    assert batch.lead_id == "needle-7"
    assert batch.lead["name"] == "N33DLE Person"
    kept = stored()
    assert batch.id in kept, "in XCom"
    assert found(kept) == []
    assert json.dumps(SECRETS["bot"]) not in kept
