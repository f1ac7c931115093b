"""Leadcast as Airflow's plugin, by its file. The plugin itself is in the package: leadcast/engine/plugin.py."""

from leadcast.engine.plugin import LeadcastPlugin as LeadcastPlugin
