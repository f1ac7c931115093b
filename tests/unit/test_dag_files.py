"""Where Airflow finds the DAG files: the bundle, a link of an earlier version, neither, both."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from airflow import settings
from leadcast.engine.setup import dag_files
from leadcast.engine.setup.bundle import LeadcastDags
from leadcast.engine.setup.dag_files import BUNDLE, FOLDER, LINK, examine, places, report, unlink
from leadcast.engine.setup.finding import Level
from tests.support.plain_airflow import BOTH_BUNDLES, BUNDLES

DAGS_FOLDER = BOTH_BUNDLES[0]


@pytest.fixture
def dags(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The DAG folder of an Airflow that has parsed nothing yet; it does not exist."""
    monkeypatch.setattr(settings, "DAGS_FOLDER", str(tmp_path / "dags"))
    monkeypatch.setattr(dag_files, "_parsed_from", lambda: None)
    monkeypatch.setenv(BUNDLES, json.dumps([DAGS_FOLDER]))
    return tmp_path / "dags"


def bundles(monkeypatch: pytest.MonkeyPatch, *listed: Mapping[str, object]) -> None:
    monkeypatch.setenv(BUNDLES, json.dumps(listed))


def link_as_before(dags: Path) -> None:
    """What an earlier version made."""
    dags.mkdir()
    (dags / LINK).symlink_to(FOLDER, target_is_directory=True)


def test_neither_it_says_what_to_set_with_the_bundles_that_are_there(dags: Path) -> None:
    assert places() == []
    assert f"(there: dags-folder): {json.dumps(BUNDLE)}" in report()


def test_by_the_bundle(dags: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundles(monkeypatch, DAGS_FOLDER, BUNDLE)
    assert report() == f"DAGs: in {FOLDER}, by Airflow's bundle 'leadcast'"
    assert list(examine()) == []


def test_a_link_of_an_earlier_version_is_found_named_and_removed(dags: Path) -> None:
    link_as_before(dags)
    assert [(place.bundle, place.folder) for place in places()] == [("dags-folder", dags / LINK)]
    (finding,) = examine()
    assert finding.level is Level.WARN
    assert str(dags / LINK) in finding.what
    assert unlink() == dags / LINK
    assert unlink() is None
    assert places() == []
    assert list(examine()) == []


def test_a_folder_or_another_link_of_that_name_is_somebodys(dags: Path, tmp_path: Path) -> None:
    (dags / LINK).mkdir(parents=True)
    assert unlink() is None
    (dags / LINK).rmdir()
    (dags / LINK).symlink_to(tmp_path)
    assert unlink() is None
    assert list(examine()) == []


def test_twice_is_said(dags: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    link_as_before(dags)
    bundles(monkeypatch, DAGS_FOLDER, BUNDLE)
    assert "more than once" in report()


def test_somebodys_own_dag_file_of_the_same_name_is_none_of_ours(dags: Path) -> None:
    dags.mkdir()
    (dags / "send_lead.py").write_text("# a DAG of somebody's")
    assert places() == []


def test_what_is_wrong_in_the_list_is_left_to_airflow(dags: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundles(monkeypatch, {"name": "a", "classpath": "nowhere.Bundle", "kwargs": {}}, {"name": "b"}, BUNDLE)
    assert [place.bundle for place in places()] == ["leadcast"]


def test_the_bundle_is_the_packages_own_folder() -> None:
    bundle = LeadcastDags(name="leadcast")
    assert {file.name for file in bundle.path.glob("*.py")} >= {"retry_leads.py", "send_lead.py", "sweep.py"}
