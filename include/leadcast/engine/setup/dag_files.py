"""Where Airflow finds Leadcast's DAG files: by a DAG bundle. Earlier versions made a link in its DAG folder, too.

In a wheel they are leadcast/dags; in a checkout the dags/ folder beside include/.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

from leadcast.engine.dag_ids import DAG_ID
from leadcast.engine.setup.finding import Finding, Level

_IN_WHEEL = Path(__file__).resolve().parents[2] / "dags"
FOLDER = _IN_WHEEL if _IN_WHEEL.is_dir() else Path(__file__).resolve().parents[4] / "dags"
"""The package's own DAG files."""
BUNDLE = {"name": "leadcast", "classpath": "leadcast.engine.setup.bundle.LeadcastDags", "kwargs": {}}
"""What makes them a bundle, in `[dag_processor] dag_bundle_config_list`."""
_OF_BEFORE = "leadcast.engine.bundle.LeadcastDags"
"""The class's path in configurations that were written before it moved; it still leads there."""
LINK = "leadcast"
"""The name of the link, in the DAG folder."""
_FILE = f"{DAG_ID}.py"
_OURS = "leadcast.engine.dags"


@dataclass(frozen=True)
class Place:
    """A bundle of Airflow's that holds our DAG files."""

    bundle: str
    folder: Path


def places() -> list[Place]:
    """Where Airflow finds them. None: it does not. Two: it would take turns between them.

    Bundles that fetch their files, as from git, are known by what Airflow has parsed from them.
    """
    there = [Place(name, found) for name, path in _local_bundles() for found in _holding(path)]
    parsed = _parsed_from()
    if parsed is not None and not there:
        return [parsed]
    return there


def report() -> str:
    """What `leadcast init` says of them: where they are, or how to get them into Airflow."""
    found = places()
    if len(found) == 1:
        return f"DAGs: in {found[0].folder}, by Airflow's bundle {found[0].bundle!r}"
    if found:
        where = ", ".join(f"{place.folder} (bundle {place.bundle!r})" for place in found)
        return f"DAGs: there more than once, and Airflow would take turns between them. Keep one of: {where}"
    # not the list that there is: addresses in it may have tokens
    names = ", ".join(str(item.get("name")) for item in _configured())
    return (
        "DAGs: Airflow does not find them yet. Add this bundle to [dag_processor] dag_bundle_config_list "
        f"(there: {names}): {json.dumps(BUNDLE)}"
    )


def examine() -> Iterator[Finding]:
    """Names the link that an earlier version has made: it works on this machine while the package stays there."""
    if (link := _link()) is not None:
        yield Finding(
            Level.WARN,
            f"DAGs: by the link {link}, as an earlier version made it",
            "Better a DAG bundle, which holds on every machine: remove the link, and see docs/install.md",
        )


def unlink() -> Path | None:
    """Removes the link that an earlier version has made; says which."""
    if (link := _link()) is not None:
        link.unlink()
    return link


def own_bundles() -> set[str]:
    """Names of the bundles that can hold our DAG files only."""
    names = (item.get("name") for item in _configured() if item.get("classpath") in (BUNDLE["classpath"], _OF_BEFORE))
    return {str(BUNDLE["name"]), *map(str, names)}


def _link() -> Path | None:
    """The link to the package's DAG files in Airflow's DAG folder. A folder, or a link to elsewhere, is somebody's."""
    from airflow import settings

    link = Path(settings.DAGS_FOLDER) / LINK
    return link if link.is_symlink() and link.readlink().parts[-2:] == FOLDER.parts[-2:] else None


def _configured() -> list[dict[str, Any]]:
    from airflow.configuration import conf

    listed = conf.getjson("dag_processor", "dag_bundle_config_list")
    return [item for item in listed if isinstance(item, dict)] if isinstance(listed, list) else []


def _local_bundles() -> Iterator[tuple[str, Path]]:
    """Name and folder of each bundle that is a folder on this machine."""
    from airflow.dag_processing.bundles.local import LocalDagBundle

    for item in _configured():
        # what is wrong there, Airflow itself says at its start
        with suppress(ImportError, AttributeError, KeyError, TypeError, ValueError):
            kind = resolve_name(item["classpath"])
            if issubclass(kind, LocalDagBundle):
                yield item["name"], kind(name=item["name"], **item["kwargs"]).path


def _holding(folder: Path) -> Iterator[Path]:
    """The folders in there, two levels deep, that hold our files."""
    for pattern in (_FILE, f"*/{_FILE}", f"*/*/{_FILE}"):
        for file in folder.glob(pattern):
            if _OURS in file.read_text(encoding="utf-8", errors="replace"):
                yield file.parent


def _parsed_from() -> Place | None:
    from airflow.models.dag import DagModel
    from airflow.utils.session import create_session
    from sqlalchemy import select

    with create_session() as session:
        known = select(DagModel.bundle_name, DagModel.fileloc).where(DagModel.dag_id == DAG_ID, ~DagModel.is_stale)
        row = session.execute(known).first()
    return Place(row.bundle_name, Path(row.fileloc).parent) if row else None
