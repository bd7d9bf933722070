"""The Prefer header."""

from __future__ import annotations

import pytest

from fhir_server.rest.preferences import Preferences, preferences
from tests.support.clause import clause


@clause("R4/http.html#ops", "return=minimal, representation, OperationOutcome; what is unknown is ignored")
@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (None, Preferences()),
        ("return=minimal", Preferences("minimal")),
        ("Return=Minimal", Preferences("minimal")),
        ("return=OperationOutcome", Preferences("OperationOutcome")),
        ("return=representation, handling=lenient", Preferences("representation", lenient=True)),
        ("handling=strict", Preferences()),
        ("handling=lenient;return=minimal", Preferences("minimal", lenient=True)),
        ("return=minimal, return=representation", Preferences("minimal")),
        ("respond-async", Preferences(respond_async=True)),
        ("return=42;;,=", Preferences()),
    ],
)
def test_preferences(header: str | None, expected: Preferences) -> None:
    assert preferences(header) == expected
