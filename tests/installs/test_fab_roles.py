"""With Airflow's FAB auth manager: the roles that docs/install.md makes by commands, and what they let a user do."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from sqlalchemy import URL

from leadcast.client.api import Api, ApiError
from tests.support.plain_airflow import BOTH_BUNDLES, BUNDLES, OWN_DAG, PlainAirflow, database_beside, plain_airflow, uv
from tests.support.stack import ROOT
from tests.unit.test_docs import blocks, section, text_of

pytestmark = pytest.mark.system
FAB = "airflow.providers.fab.auth_manager.fab_auth_manager.FabAuthManager"
SENDER, VIEWER, OPERATOR = "Leadcast sender", "Leadcast viewer", "Leadcast operator"
RESOURCE = "Leadcast leads"
PASSWORD = "a-password-of-the-tests"
MAKE_USERS = f"""
from airflow.providers.fab.auth_manager.cli_commands.utils import get_application_builder
with get_application_builder() as builder:
    for name, role in (
        ("sender", "{SENDER}"), ("other", "{SENDER}"), ("viewer", "{VIEWER}"), ("operator", "{OPERATOR}"),
        ("Public", "Public"), ("root", "Admin"), ("op", "Op"),
    ):
        held = builder.sm.find_role(role) or builder.sm.add_role(role)
        assert builder.sm.add_user(name, name, name, f"{{name}}@example.com", held, password="{PASSWORD}")
print("null")
"""
RIGHTS = """
import json
from airflow.providers.fab.auth_manager.models import Resource, Role
from airflow.utils.session import create_session
from sqlalchemy import select
with create_session() as session:
    roles = session.scalars(select(Role)).unique().all()
    print(json.dumps({
        "roles": {
            role.name: sorted([right.action.name, right.resource.name] for right in role.permissions) for role in roles
        },
        "resources": sorted(session.scalars(select(Resource.name))),
    }))
"""
BODY = {
    "lead_id": "1",
    "lead": {"name": "Ann Lee"},
    "integrations": [{"type": "webhook"}],
    "credentials": {"webhook": {"url": "https://example.com/leads"}},
}
SEND = ("POST", "/api/integrations/send-batch", BODY)
TRIGGER = ("POST", "/api/v2/dags/send_lead/dagRuns", {"logical_date": None})
LOOK = [
    ("GET", "/api/integrations/batches", None),
    ("GET", "/api/v2/dags/send_lead/dagRuns", None),
    ("GET", "/api/v2/plugins", None),
]
OVER_ALL = {"can_read", "can_edit", "can_delete"}
COMMANDS = blocks(section(text_of("install.md"), "Who may do what"), "bash")[0].splitlines()
READ = [["can_read", name] for name in ("DAG Run:send_lead", "DAG:send_lead", "Plugins", "Website")]
SENDS = [["can_create", "DAG Run:send_lead"], ["can_edit", "DAG:send_lead"]]
NOT_THEIRS = [
    ("GET", "/api/v2/dags/their_own", None),
    ("GET", "/api/v2/dags/their_own/dagRuns", None),
    ("GET", "/api/v2/connections", None),
]


@pytest.fixture(scope="module")
def with_fab(postgres_server: URL) -> Iterator[PlainAirflow]:
    """An Airflow with FAB and Leadcast in it; a user for each role, and one without rights; only the API runs."""
    with ExitStack() as stack:
        store = stack.enter_context(database_beside(postgres_server, "store"))
        plain = stack.enter_context(
            plain_airflow(
                postgres_server,
                "apache-airflow-providers-fab",
                AIRFLOW__CORE__AUTH_MANAGER=FAB,
                AIRFLOW__LEADCAST__STORE_URL=store.render_as_string(hide_password=False),
            )
        )
        plain.dags.mkdir()
        (plain.dags / "theirs.py").write_text(OWN_DAG)
        uv("pip", "install", "--quiet", "--python", str(plain.folder / "venv"), str(ROOT))
        plain.env[BUNDLES] = json.dumps(BOTH_BUNDLES)
        said = plain.type("leadcast init").stdout
        assert f"not there yet: {OPERATOR}, {SENDER}, {VIEWER}. The commands that make them: docs/install.md" in said
        for command in COMMANDS:
            plain.type(command)
        plain.python(MAKE_USERS)
        plain.type("airflow dags reserialize")
        yield plain


def answer(api: Api, call: tuple[str, str, object]) -> int:
    """The status that this call is answered with; 200 for any success."""
    method, path, body = call
    try:
        api.call(method, path, json=body)
    except ApiError as error:
        return error.status
    return 200


def test_a_sender_sends_and_a_viewer_only_looks_on(with_fab: PlainAirflow) -> None:
    with with_fab.serving("airflow api-server"):
        sender, viewer, nobody = (with_fab.api(user, PASSWORD) for user in ("sender", "viewer", "Public"))
        assert {answer(sender, call) for call in [*LOOK, SEND, TRIGGER]} == {200}
        assert {answer(viewer, call) for call in LOOK} == {200}
        assert {answer(viewer, call) for call in [SEND, TRIGGER]} == {403}
        assert {answer(nobody, call) for call in [*LOOK, SEND, TRIGGER]} == {403}
        assert {answer(user, call) for user in (sender, viewer) for call in NOT_THEIRS} == {403}


def test_a_lead_is_for_its_sender_and_for_operators(with_fab: PlainAirflow) -> None:
    with with_fab.serving("airflow api-server"):
        names = ("sender", "other", "viewer", "operator", "root", "op")
        users = {name: with_fab.api(name, PASSWORD) for name in names}
        batch = users["sender"].call(*SEND[:2], json=BODY | {"lead_id": "2"})["links"]["self"]
        seen = {name: api.call("GET", batch) for name, api in users.items()}
        assert {name for name, body in seen.items() if not body["masked"]} == {"sender", "operator", "root"}
        assert {body["sent_by"] for body in seen.values()} == {"sender"}
        leads = {name: api.call("GET", "/api/integrations/leads/2")["lead"] for name, api in users.items()}
        assert {name for name, lead in leads.items() if lead and lead["name"] == "Ann Lee"} == {
            "sender",
            "operator",
            "root",
        }
        for call in (("POST", f"{batch}/cancel", None), ("DELETE", "/api/integrations/leads/2", None)):
            assert {name: answer(users[name], call) for name in ("viewer", "other", "op")} == dict.fromkeys(
                ("viewer", "other", "op"), 403
            )
        assert answer(users["operator"], ("POST", f"{batch}/cancel", None)) == 200
        assert answer(users["sender"], ("DELETE", "/api/integrations/leads/2", None)) == 200


def test_they_have_these_rights_and_no_other(with_fab: PlainAirflow) -> None:
    roles = with_fab.python(RIGHTS)["roles"]
    assert roles[VIEWER] == READ
    assert roles[SENDER] == sorted(READ + SENDS)
    assert roles[OPERATOR] == sorted(READ + SENDS + [[action, RESOURCE] for action in OVER_ALL])


def test_a_role_that_is_there_stays_as_it_is_and_uninstalling_removes_all(with_fab: PlainAirflow) -> None:
    before = with_fab.python(RIGHTS)
    with_fab.type(f"airflow roles del-perms '{VIEWER}' --resource Plugins --action can_read")
    printed = with_fab.type("leadcast init").stdout
    assert "roles: there" in printed
    assert {action for action, name in before["roles"]["Admin"] if name == RESOURCE} == OVER_ALL
    assert {action for action, name in before["roles"][OPERATOR] if name == RESOURCE} == OVER_ALL
    with_it = {role for role, rights in before["roles"].items() if any(name == RESOURCE for _, name in rights)}
    assert with_it == {"Admin", OPERATOR}
    after = with_fab.python(RIGHTS)
    assert after["roles"][SENDER] == before["roles"][SENDER]
    assert [right for right in before["roles"][VIEWER] if right not in after["roles"][VIEWER]] == [
        ["can_read", "Plugins"]
    ]

    refused = with_fab.type("leadcast uninstall", check=False)
    assert refused.returncode == 1
    assert "Batches that have not ended: 1." in refused.stderr
    with_fab.type("leadcast uninstall --yes")
    left = with_fab.python(RIGHTS)
    assert not {SENDER, VIEWER, OPERATOR} & set(left["roles"])
    assert RESOURCE not in left["resources"]
    assert not [name for name in left["resources"] if name.endswith((":send_lead", ":sweep"))]
    assert {"DAG:send_lead", "DAG:their_own"} <= set(before["resources"])
    assert "DAG:their_own" in left["resources"]
