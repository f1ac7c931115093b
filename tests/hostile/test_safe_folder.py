"""`leadcast` below somebody else's folder takes nothing from it: no DAG, no port that a lead would go to."""

from __future__ import annotations

import grp
import os
import pwd
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from leadcast.cli import app
from leadcast.client.api import Api
from leadcast.local import home as homes
from leadcast.local import trust
from leadcast.local.home import Home, State, find_project
from leadcast.local.keys import Keys
from leadcast.local.ports import Ports
from leadcast.local.trust import VARIABLE, Trust, UntrustedFolder

US, THEM = os.geteuid(), 65_534
TRUST = Trust(owners=frozenset({US, 0}))
runner = CliRunner()

needs_root = pytest.mark.skipif(US != 0, reason="only root can make a folder that is somebody else's")


@pytest.fixture(autouse=True)
def _only_us(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where our code may be written by nobody else, which a checkout of CI may."""
    ours = Trust.of
    monkeypatch.setattr(Trust, "of", lambda environ: replace(ours(environ), open_too=False))


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project that is ours, with all that is obeyed in one."""
    folder = tmp_path / "project"
    for name in ("dags", "plugins", "include"):
        (folder / name).mkdir(parents=True)
    (folder / "dags" / "send_lead.py").touch()
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
    return folder.resolve()


def found(folder: Path, **environ: str) -> Home:
    return Home.find(environ, cwd=folder)


PARTS = (".", "dags", "plugins", "include", "dags/send_lead.py")
KEPT = (".leadcast", ".leadcast/run", ".leadcast/keys.json", ".leadcast/run/state.json")


@pytest.fixture
def kept(project: Path) -> Path:
    """The project, after a stack was started in it."""
    home = found(project)
    home.prepare()
    Keys.ensure(home)
    home.write_state(State(ports=Ports(api=9000)))
    return project


def test_ours_is_obeyed(kept: Path) -> None:
    below = kept / "include" / "deep"
    below.mkdir()
    assert found(below).project == kept
    assert found(below).root == kept / ".leadcast"


@needs_root
@pytest.mark.parametrize("part", PARTS + KEPT)
def test_what_belongs_to_somebody_else_is_not_obeyed(kept: Path, part: str) -> None:
    os.chown(kept / part, THEM, -1)
    with pytest.raises(UntrustedFolder, match=r"belongs to .*65534.*not to you") as refused:
        found(kept)
    folder = kept / ".leadcast" if part in KEPT else kept
    assert f"{VARIABLE}={folder}" in refused.value.mend


@pytest.mark.parametrize("part", PARTS + KEPT)
def test_what_everybody_may_write_is_not_obeyed(kept: Path, part: str) -> None:
    (kept / part).chmod(0o1777 if (kept / part).is_dir() else 0o666)
    with pytest.raises(UntrustedFolder, match="can be written by everybody"):
        found(kept)


def test_what_a_group_may_write_counts_where_others_are_in_it(kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (kept / "dags").chmod(0o775)
    monkeypatch.setattr(Trust, "_is_private", lambda self, gid: False)
    with pytest.raises(UntrustedFolder, match="can be written by the group"):
        found(kept)
    monkeypatch.setattr(Trust, "_is_private", lambda self, gid: True)
    assert found(kept).project == kept


def test_a_group_is_private_where_nobody_but_us_is_in_it(monkeypatch: pytest.MonkeyPatch) -> None:
    accounts = [("me", 1000, 1000), ("other", 1001, 1001), ("third", 1002, 100)]
    groups = {1000: [], 1001: ["me"], 100: [], 50: ["me"], 51: ["me", "other"]}
    monkeypatch.setattr(
        pwd,
        "getpwall",
        lambda: [pwd.struct_passwd((name, "x", uid, gid, "", "/", "/")) for name, uid, gid in accounts],
    )
    monkeypatch.setattr(grp, "getgrgid", lambda gid: grp.struct_group(("g", "x", gid, groups[gid])))
    me = Trust(owners=frozenset({0, 1000}))
    assert {gid: me._is_private(gid) for gid in groups} == {1000: True, 1001: False, 100: False, 50: True, 51: False}


def test_a_link_into_another_folder_is_judged_by_where_it_leads(project: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    elsewhere.chmod(0o777)
    shutil.rmtree(project / "plugins")
    (project / "plugins").symlink_to(elsewhere)
    with pytest.raises(UntrustedFolder, match="everybody"):
        found(project)


def test_who_trusts_a_folder_says_so_by_its_path(project: Path, tmp_path: Path) -> None:
    (project / "dags").chmod(0o777)
    for wrong in ("", str(tmp_path), str(project / "dags"), f"{project}-2", "relative"):
        with pytest.raises(UntrustedFolder):
            found(project, **{VARIABLE: wrong})
    for right in (str(project), f"/nowhere{os.pathsep}{project}/", "*", str(project / "dags" / "..")):
        assert found(project, **{VARIABLE: right}).project == project


def test_a_home_of_its_own_is_looked_at_too(project: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    home.chmod(0o777)
    with pytest.raises(UntrustedFolder, match="home can be written by everybody"):
        found(project, LEADCAST_HOME=str(home))
    assert found(project, LEADCAST_HOME=str(home), **{VARIABLE: str(home)}).root == home.resolve()


@needs_root
def test_the_way_up_ends_at_a_folder_of_somebody_elses(project: Path) -> None:
    theirs = project / "theirs"
    (theirs / "ours").mkdir(parents=True)
    os.chown(theirs, THEM, -1)
    assert find_project(theirs / "ours", environ={}) != project  # the one beside this package
    assert find_project(project, environ={}) == project


def test_the_way_up_ends_at_the_home_folder(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (project / "home" / "x").mkdir(parents=True)
    monkeypatch.setenv("HOME", str(project / "home"))
    assert find_project(project / "home" / "x", environ={}) != project
    monkeypatch.setenv("HOME", str(project))
    assert find_project(project / "home" / "x", environ={}) == project


def test_the_way_up_ends_at_another_file_system(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(homes, "_upwards", lambda cwd, trust: iter(()))
    assert find_project(project, environ={}) != project
    monkeypatch.undo()
    assert [*homes._upwards(Path("/dev/shm"), TRUST)] == [Path("/dev/shm")]


def test_root_by_sudo_trusts_whom_it_stands_for_and_nobody_else_is_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert 1234 in Trust.of({"SUDO_UID": "1234"}).owners
    assert not {1234, -1} & Trust.of({"SUDO_UID": "-1"}).owners
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert 1234 not in Trust.of({"SUDO_UID": "1234"}).owners


def test_who_owns_the_code_that_runs_is_trusted_and_as_open_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    found = Trust.of({})
    package = Path(trust.__file__).resolve().parents[1].stat()
    assert found.owners == {US, 0, package.st_uid}
    assert found.open_too == bool(package.st_mode & 0o002)


@needs_root
@pytest.mark.parametrize(
    "command",
    [
        ["send", "-"],
        ["batch", "1"],
        ["token"],
        ["status"],
        ["up"],
        ["down"],
        ["airflow", "version"],
        ["doctor"],
        ["prune", "--dry-run"],
        ["rotate-keys"],
        ["init"],
        ["test-connection", "telegram"],
    ],
)
def test_every_command_says_whose_folder_it_is_and_calls_nobody(
    kept: Path, command: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for path in (kept, *kept.rglob("*")):
        os.chown(path, THEM, -1)
    monkeypatch.chdir(kept)
    for name in [name for name in os.environ if name.startswith(("AIRFLOW", "LEADCAST"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AIRFLOW_HOME", str(kept.parent / "no-airflow"))
    calls: list[object] = []
    monkeypatch.setattr(Api, "call", lambda self, *args, **more: calls.append((self.url, args)))
    done = runner.invoke(app, command, input="{}")
    assert done.exit_code == 1
    said = " ".join(done.stderr.split())
    assert f"{kept} belongs to" in said
    assert f"{VARIABLE}={kept}" in said
    assert calls == []
