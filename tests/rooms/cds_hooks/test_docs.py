"""The page of a service says what the code does."""

from __future__ import annotations

import re
from pathlib import Path

from cds_hooks.models import features
from cds_hooks.services import stroke_early_aspirin

PAGE = (Path(__file__).parents[3] / "docs" / "services" / "stroke-early-aspirin.md").read_text(
    encoding="utf-8"
)


def test_every_feature_stands_in_the_page_with_its_source() -> None:
    for feature in features.FEATURES:
        source = feature.source.replace("|", "&#124;")
        assert f"| {feature.name} | {feature.label} | {source} |" in PAGE


FROM_OUTSIDE = {"other-patient", "error", "timeout"}
"""What the conductor of a call says for every service."""


def test_the_refusals_of_the_page_are_those_of_the_code() -> None:
    code = Path(stroke_early_aspirin.__file__).read_text(encoding="utf-8")
    reasons = set(re.findall(r'yield f?"([a-z0-9-]+)', code)) | set(
        re.findall(r'Decision\(\("([a-z-]+)",\)', code)
    )
    table = PAGE[PAGE.index("| reason | when |") : PAGE.index("Data that are needed")]
    told = {
        name.removesuffix("…")
        for line in table.strip().splitlines()[2:]
        for name in re.findall(r"`([a-z0-9-]+…?)`", line.split("|")[1] if "|" in line else "")
    }
    assert len(reasons) >= 20
    assert told - FROM_OUTSIDE == reasons
