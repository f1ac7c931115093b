"""Into an existing Airflow and out again: a clean virtualenv, plain Airflow, and what docs/install.md says."""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import URL, create_engine, inspect

from leadcast.sandbox import Sandbox, SandboxPorts
from tests.support.plain_airflow import BUNDLES, CONSTRAINTS, OWN_DAG, PlainAirflow, database_beside, plain_airflow, uv
from tests.support.stack import ROOT, until
from tests.unit.test_docs import blocks, section, text_of

pytestmark = pytest.mark.system
DAGS = ["prune", "retry_leads", "send_lead", "sweep"]
PAGES_CONSTRAINTS = "https://raw.githubusercontent.com/apache/airflow/constraints-3.3.2/constraints-3.11.txt"
PAGES_STORE = "postgresql+psycopg2://leadcast:password@127.0.0.1/leadcast"
PAGES_WEBHOOK = "https://example.com/leads"
BOTH_PLUGIN_MANAGERS = """
import json
from airflow import plugins_manager as core
from airflow.sdk import plugins_manager as sdk
found = {}
for manager in (core, sdk):
    plugins, errors = manager._get_plugins()
    found[manager.__name__] = [[[plugin.name, str(plugin.source)] for plugin in plugins], errors]
found["mounted"] = [len(items) for items in core.get_fastapi_plugins()]
print(json.dumps(found))
"""


def five_commands() -> list[str]:
    """The page's block, a command a line."""
    (block,) = blocks(section(text_of("install.md"), "Five commands"), "bash")
    return re.findall(r"^\S.*(?:\n .*)*", block, flags=re.MULTILINE)


@dataclass
class Installed:
    """A plain Airflow before, with the page's addresses replaced by ours, and what the commands printed."""

    plain: PlainAirflow
    sandbox: Sandbox
    store: URL
    running: ExitStack
    before: dict[str, Any]
    packages_before: set[str]
    printed: dict[str, str] = field(default_factory=dict)

    def follow(self, command: str) -> None:
        """Does what the page says, with our addresses in it."""
        for theirs, ours in (
            (PAGES_CONSTRAINTS, str(self.plain.constraints)),
            (PAGES_STORE, self.store.render_as_string(hide_password=False)),
            (PAGES_WEBHOOK, f"{self.sandbox.webhook_url}/leads"),
        ):
            command = command.replace(theirs, ours)
        words = shlex.split(command.replace("\\\n", " "))
        if words[0] == "export":
            self.plain.env |= dict(word.split("=", 1) for word in words[1:])
        elif words == ["airflow", "standalone"]:
            self.running.enter_context(self.plain.serving(command))
        else:
            self.printed[" ".join(words[:2])] = self.plain.type(command).stdout


@pytest.fixture(scope="module")
def installed(postgres_server: URL) -> Iterator[Installed]:
    """A plain Airflow, Leadcast brought into it by the five commands; Airflow runs."""
    with ExitStack() as stack:
        store = stack.enter_context(database_beside(postgres_server, "store"))
        sandbox = stack.enter_context(Sandbox.start(ports=SandboxPorts.any_free()))
        plain = stack.enter_context(plain_airflow(postgres_server))
        plain.dags.mkdir()
        (plain.dags / "theirs.py").write_text(OWN_DAG)
        uv("build", "--quiet", "--wheel", "--out-dir", str(plain.terminal), str(ROOT))
        there = Installed(plain, sandbox, store, ExitStack(), plain.snapshot(), plain.packages())
        stack.callback(there.running.close)
        # the receiver is on this machine, and the test button is pressed below
        plain.env |= {
            "AIRFLOW__LEADCAST__ALLOWED_NETWORKS": "127.0.0.0/8",
            "AIRFLOW__CORE__TEST_CONNECTION": "Enabled",
        }
        for command in five_commands():
            there.follow(command)
        yield there


def test_five_commands_bring_it_in_and_send_a_batch(installed: Installed) -> None:
    assert len(five_commands()) == 5
    assert all(place in "\n".join(five_commands()) for place in (PAGES_CONSTRAINTS, PAGES_STORE, PAGES_WEBHOOK))
    assert CONSTRAINTS.rpartition("-")[0] == PAGES_CONSTRAINTS.rpartition("-")[0]
    assert "Lead 1: completed" in installed.printed["leadcast send"]
    (received,) = installed.sandbox.received("webhook")
    assert received["path"] == "/leads"


def test_installing_only_adds_packages(installed: Installed) -> None:
    assert installed.packages_before <= installed.plain.packages()
    uv("pip", "check", "--python", str(installed.plain.folder / "venv"))


def test_the_dags_are_there_once_beside_theirs_and_wait_for_nothing(installed: Installed) -> None:
    api = installed.plain.api()
    dags = {dag["dag_id"]: dag for dag in api.call("GET", "/api/v2/dags?exclude_stale=false")["dags"]}
    assert sorted(dags) == [*DAGS, "their_own"]
    assert {dags[dag_id]["bundle_name"] for dag_id in DAGS} == {"leadcast"}
    assert not any(dags[dag_id]["is_paused"] for dag_id in DAGS)
    assert dags["their_own"]["is_paused"], "Airflow's own default has changed, so the line above proves nothing"
    assert api.call("GET", "/api/v2/importErrors")["import_errors"] == []


def test_the_plugin_comes_by_its_entry_point(installed: Installed) -> None:
    api = installed.plain.api()
    (plugin,) = api.call("GET", "/api/v2/plugins")["plugins"]
    assert plugin["name"] == "leadcast"
    assert "EntryPoint" in plugin["source"]
    assert [view["name"] for view in plugin["external_views"]] == ["Leadcast"]
    assert api.call("GET", "/api/v2/plugins/importErrors")["import_errors"] == []
    assert api.call("GET", "/api/integrations/health")["hints"] == []


@pytest.mark.parametrize("name", ["leadcast_plugin.py", "renamed.py"])
def test_with_its_file_and_its_entry_point_the_plugin_is_registered_once(installed: Installed, name: str) -> None:
    folder = installed.plain.folder / "plugins"
    folder.mkdir(exist_ok=True)
    file = folder / name
    file.write_bytes((ROOT / "plugins" / "leadcast_plugin.py").read_bytes())
    try:
        found = installed.plain.python(BOTH_PLUGIN_MANAGERS, AIRFLOW__CORE__PLUGINS_FOLDER=str(folder))
    finally:
        file.unlink()
    by_its_file = [[["leadcast", f"$PLUGINS_FOLDER/{name}"]], {}]
    assert found == {
        "airflow.plugins_manager": by_its_file,
        "airflow.sdk.plugins_manager": by_its_file,
        "mounted": [1, 2],
    }


def test_the_connection_types_have_forms_and_a_test_button(installed: Installed) -> None:
    api = installed.plain.api()
    forms = {form["connection_type"]: form for form in api.call("GET", "/ui/connections/hook_meta")}
    assert forms["amocrm"]["standard_fields"]["host"]["title"] == "Account's address"
    assert "refresh_token" in forms["amocrm"]["extra_fields"]
    assert forms["bitrix24"]["standard_fields"]["host"]["title"] == "Portal's address"
    bitrix24 = {
        "connection_id": "leadcast_bitrix24",
        "conn_type": "bitrix24",
        "host": f"{installed.sandbox.bitrix24_url}/rest/1/awebhookcodeofthetests/",
    }
    pressed = api.call("POST", "/api/v2/connections/test", json=bitrix24)
    assert pressed["status"], pressed["message"]


def test_init_and_upgrade_again_are_harmless(installed: Installed) -> None:
    first = installed.printed["leadcast init"]
    assert "(was empty)" in first
    assert first.count("made with 10 slots") == 6
    for command in ("leadcast init", "leadcast upgrade"):
        again = installed.plain.type(command).stdout
        assert "made" not in again
        assert "was" not in again
        assert "by Airflow's bundle 'leadcast'" in again


def test_it_is_not_taken_out_while_airflow_would_bring_it_back(installed: Installed) -> None:
    refused = installed.plain.type("leadcast uninstall --yes", check=False)
    assert refused.returncode == 1
    assert "Stop Airflow first" in refused.stderr
    assert installed.plain.api().call("GET", "/api/v2/dags/send_lead")["dag_id"] == "send_lead"


def test_what_the_doctor_names_is_mended_as_the_pages_say(installed: Installed) -> None:
    """A link of an earlier version, which goes on working until it is changed, and Airflow's own LocalExecutor."""
    plain = installed.plain
    installed.running.close()
    bundles = plain.env.pop(BUNDLES)
    link_as_before(plain)
    assert [dag for dag in plain.snapshot()["dags"] if dag[0] in DAGS] == [[dag, "dags-folder", False] for dag in DAGS]
    doctor = plain.type("leadcast doctor", check=False, COLUMNS="300").stdout
    assert f"DAGs: by the link {plain.dags / 'leadcast'}" in doctor
    assert "executor: Airflow's LocalExecutor" in doctor
    (executor,) = blocks(section(text_of("running.md"), "The executor"), "bash")
    installed.follow(executor)
    (command,) = blocks(section(text_of("install.md"), "The DAG files"), "bash")
    plain.type(command)
    plain.env[BUNDLES] = bundles
    now = plain.snapshot()
    assert [dag for dag in now["dags"] if dag[0] in DAGS] == [[dag, "leadcast", False] for dag in DAGS]
    assert now["import errors"] == []
    doctor = plain.type("leadcast doctor", check=False, COLUMNS="300").stdout
    assert "by the link" not in doctor
    assert "RevokingLocalExecutor" in doctor
    assert "executor: Airflow's" not in doctor
    sent = five_commands()[-1]
    with plain.serving("airflow standalone"):
        until(lambda: plain.api().call("GET", "/api/v2/monitor/health")["scheduler"]["status"] == "healthy")
        installed.follow(sent)
    assert "Lead 1: completed" in installed.printed["leadcast send"]


def link_as_before(plain: PlainAirflow) -> None:
    """What `leadcast init --link-dags` made."""
    code = "import json; from leadcast.engine.setup.dag_files import FOLDER; print(json.dumps(str(FOLDER)))"
    folder = plain.python(code)
    (plain.dags / "leadcast").symlink_to(folder, target_is_directory=True)


def test_taken_out_it_leaves_airflow_as_it_was(installed: Installed) -> None:
    plain = installed.plain
    installed.running.close()
    link_as_before(plain)

    def printed_at_last() -> str:
        """A dag-processor that did not end in time was killed, and counts as running for a while."""
        done = plain.type("leadcast uninstall --store --yes", check=False)
        assert not done.returncode or "counts as running" in done.stderr, done.stderr
        return "" if done.returncode else done.stdout

    printed = until(printed_at_last)
    assert f"link {plain.dags / 'leadcast'}: removed" in printed
    assert "connection" not in printed
    assert "Then: pip uninstall leadcast" in printed
    ours = ("AIRFLOW__LEADCAST", "AIRFLOW__DAG_PROCESSOR", "AIRFLOW__CORE__EXECUTOR")
    for name in [name for name in plain.env if name.startswith(ours)]:
        del plain.env[name]
    (plain.terminal / "before.txt").write_text("\n".join(sorted(installed.packages_before)) + "\n")
    plain.type("pip uninstall --yes leadcast")
    (rest,) = blocks(section(text_of("install.md"), "Taking it out again"), "bash")[1:]
    plain.type(rest)

    assert plain.packages() == installed.packages_before
    assert plain.snapshot() == installed.before
    assert sorted(path.name for path in plain.dags.iterdir() if path.name != "__pycache__") == ["theirs.py"]
    assert inspect(create_engine(installed.store)).get_table_names() == []
    with plain.serving("airflow standalone"):
        api = plain.api()
        until(lambda: api.call("GET", "/api/v2/monitor/health")["dag_processor"]["status"] == "healthy")
        assert [dag["dag_id"] for dag in api.call("GET", "/api/v2/dags")["dags"]] == ["their_own"]
        assert api.call("GET", "/api/v2/importErrors")["import_errors"] == []
        assert api.call("GET", "/api/v2/plugins")["plugins"] == []


def test_the_source_distribution_holds_what_the_wheel_needs(tmp_path: Path) -> None:
    uv("build", "--quiet", "--sdist", "--out-dir", str(tmp_path / "sdist"), str(ROOT))
    (sdist,) = (tmp_path / "sdist").glob("*.tar.gz")
    uv("build", "--quiet", "--wheel", "--out-dir", str(tmp_path / "wheel"), str(sdist))
    uv("build", "--quiet", "--wheel", "--out-dir", str(tmp_path / "direct"), str(ROOT))
    built = [next((tmp_path / folder).glob("*.whl")).read_bytes() for folder in ("wheel", "direct")]
    assert built[0] == built[1]
    # not tarfile: Debian's Python 3.11 does not know the filter that a newer one asks for
    (tmp_path / "unpacked").mkdir()
    subprocess.run(
        ["tar", "--extract", f"--file={sdist}", f"--directory={tmp_path / 'unpacked'}"], check=True, timeout=60
    )
    (unpacked,) = (tmp_path / "unpacked").iterdir()
    for project, folder in ((unpacked, "local"), (ROOT, "direct-local")):
        uv("build", "--quiet", "--wheel", "--out-dir", str(tmp_path / folder), str(project / "leadcast-local"))
    built = [next((tmp_path / folder).glob("*.whl")).read_bytes() for folder in ("local", "direct-local")]
    assert built[0] == built[1]
