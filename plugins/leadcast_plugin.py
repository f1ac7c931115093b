"""Leadcast as Airflow's plugin, by its file. The plugin itself is in the package: leadcast/plugin.py."""

from leadcast.plugin import LeadcastPlugin as LeadcastPlugin
