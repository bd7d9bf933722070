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


def test_every_reason_to_refuse_stands_in_the_page() -> None:
    code = Path(stroke_early_aspirin.__file__).read_text(encoding="utf-8")
    reasons = set(re.findall(r'yield "([a-z0-9-]+)"', code)) | set(
        re.findall(r'Decision\(\("([a-z-]+)",\)', code)
    )
    assert len(reasons) >= 12
    assert {reason for reason in reasons if f"`{reason}`" not in PAGE} == set()
