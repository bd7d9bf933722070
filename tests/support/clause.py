"""The marker that ties a test to the clause of a standard that it holds."""

from __future__ import annotations

import pytest


def clause(reference: str, says: str) -> pytest.MarkDecorator:
    """Mark a test with the clause it holds, for instance ("R4/http.html#ccreate", "several matches: 412")."""
    return pytest.mark.clause(reference, says)
