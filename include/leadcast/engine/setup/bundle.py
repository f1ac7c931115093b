"""Leadcast's DAG files as a DAG bundle of Airflow's, wherever the package is installed.

[dag_processor] dag_bundle_config_list = [
    {"name": "leadcast", "classpath": "leadcast.engine.setup.bundle.LeadcastDags", "kwargs": {}}]
"""

from __future__ import annotations

from typing import Any

from airflow.dag_processing.bundles.local import LocalDagBundle

from leadcast.engine.setup.dag_files import FOLDER


class LeadcastDags(LocalDagBundle):
    """The DAG files of the installed package. No path in the configuration, so an upgrade changes nothing there."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(path=str(FOLDER), **kwargs)
