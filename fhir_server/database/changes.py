"""A Change: what one write did to one resource, for those who listen inside its transaction."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Change:
    """One new version of one resource.

    `interaction` is create, update, patch or delete; `resource` is the new content (None
    after a delete); `actor` is the subject of the grant.
    """

    type_name: str
    id: str
    version: int
    interaction: str
    resource: dict[str, Any] | None
    actor: str
