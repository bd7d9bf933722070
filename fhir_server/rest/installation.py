"""What every handler of the FHIR door works with."""

from __future__ import annotations

from dataclasses import dataclass

from fhir_server.config import Config
from fhir_server.interactions.capabilities import Capabilities
from fhir_server.interactions.entry import Entry


@dataclass(frozen=True, slots=True)
class Installation:
    """The way into the interactions, the settings, and what the server says of itself."""

    entry: Entry
    config: Config
    capabilities: Capabilities

    @property
    def base_url(self) -> str:
        """Return the address that our links begin with."""
        return self.entry.settings.base_url
