"""Field mapping under the path that integrations of before import it by; now `leadcast.integration` has it."""

from leadcast.integrations.text.mapping import Fields as Fields
from leadcast.integrations.text.mapping import filled as filled
