"""`@clause("R4/http.html#ccreate", "multiple matches: 412")`: which clause of a standard a test holds."""

from __future__ import annotations

import pytest

clause = pytest.mark.clause
