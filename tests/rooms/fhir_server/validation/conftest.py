"""Every issue that a test of this room provokes has a rule, whatever else the test asks."""

from __future__ import annotations

import sys

import pytest

from fhir_server.outcome import Issue
from tests.support.ruled import is_ruled

WATCHED = ("fhir_server.validation", "fhir_server.model")


@pytest.fixture(scope="module", autouse=True)
def every_issue_has_a_rule():
    """Look at the issues while they are made."""
    bare: set[tuple[str, int, str | None]] = set()
    make = Issue.__init__

    def watched(self, *args, **kwargs):
        make(self, *args, **kwargs)
        frame = sys._getframe(1)
        if frame.f_globals["__name__"].startswith(WATCHED) and not is_ruled(self):
            bare.add((frame.f_globals["__name__"], frame.f_lineno, self.rule))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Issue, "__init__", watched)
        yield
    assert bare == set()
