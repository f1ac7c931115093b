"""The class of the DAG bundle under the path that configurations of before name."""

from leadcast.engine.setup.bundle import LeadcastDags as LeadcastDags
