"""Where Airflow finds the DAG files: the link, the bundle, neither, both."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from airflow import settings
from leadcast.core.errors import SettingsError
from leadcast.engine.setup import dag_files
from leadcast.engine.setup.bundle import LeadcastDags
from leadcast.engine.setup.dag_files import BUNDLE, FOLDER, LINK, link, places, report, unlink

DAGS_FOLDER = {"name": "dags-folder", "classpath": "airflow.dag_processing.bundles.local.LocalDagBundle", "kwargs": {}}
LIST = "AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST"


@pytest.fixture
def dags(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The DAG folder of an Airflow that has parsed nothing yet; it does not exist."""
    monkeypatch.setattr(settings, "DAGS_FOLDER", str(tmp_path / "dags"))
    monkeypatch.setattr(dag_files, "_parsed_from", lambda: None)
    monkeypatch.setenv(LIST, json.dumps([DAGS_FOLDER]))
    return tmp_path / "dags"


def bundles(monkeypatch: pytest.MonkeyPatch, *listed: Mapping[str, object]) -> None:
    monkeypatch.setenv(LIST, json.dumps(listed))


def test_neither_it_says_both_ways_with_the_bundles_that_are_there(dags: Path) -> None:
    assert places() == []
    assert "leadcast init --link-dags" in report()
    assert f"(there: dags-folder): {json.dumps(BUNDLE)}" in report()


def test_a_link_is_found_made_once_and_removed(dags: Path) -> None:
    link()
    link()
    assert (dags / LINK).readlink() == FOLDER
    assert [(place.bundle, place.folder) for place in places()] == [("dags-folder", dags / LINK)]
    assert unlink() == dags / LINK
    assert unlink() is None
    assert places() == []


def test_a_folder_of_that_name_is_somebodys(dags: Path) -> None:
    (dags / LINK).mkdir(parents=True)
    assert unlink() is None
    with pytest.raises(SettingsError, match="cannot be made"):
        link()


def test_no_link_where_airflow_finds_them_already(dags: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundles(monkeypatch, DAGS_FOLDER, BUNDLE)
    link()
    assert not dags.exists()
    assert report() == f"DAGs: in {FOLDER}, by Airflow's bundle 'leadcast'"


def test_no_link_into_a_folder_that_airflow_does_not_read(dags: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundles(monkeypatch)
    with pytest.raises(SettingsError, match="LeadcastDags"):
        link()


def test_twice_is_said(dags: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    link()
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
