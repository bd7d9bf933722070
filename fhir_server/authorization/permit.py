"""Whether a grant allows an interaction, and how it narrows a search.

Every interaction asks here before it looks: the answer must not depend on whether the
resource exists.
"""

from __future__ import annotations

from fhir_server.authorization.grant import Grant
from fhir_server.search.ast import Query


def permit(grant: Grant, interaction: str, type_name: str | None) -> None:
    """Raise Forbidden unless `grant` allows `interaction` on resources of a type (None: on all)."""


def narrow(grant: Grant, query: Query) -> Query:
    """Return `query` with the clauses that keep it inside what `grant` may see."""
    return query
