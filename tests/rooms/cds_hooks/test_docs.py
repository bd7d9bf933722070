"""The page of a service says what the code does."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from cds_hooks.models import features
from cds_hooks.services import cv_risk, stroke_early_aspirin, stroke_heparin_dose
from tests.support.cds import services
from tests.support.golden import FOLDER

PAGES = Path(__file__).parents[3] / "docs" / "services"
PAGE = (PAGES / "stroke-early-aspirin.md").read_text(encoding="utf-8")


def test_every_feature_stands_in_the_page_with_its_source() -> None:
    for feature in features.FEATURES:
        source = feature.source.replace("|", "&#124;")
        assert f"| {feature.name} | {feature.label} | {source} |" in PAGE


FROM_OUTSIDE = {"other-patient", "error", "timeout"}
"""What the conductor of a call says for every service."""


def told(page: str) -> set[str]:
    """The reasons in the first column of the page's table of refusals."""
    lines = page[page.index("| reason | when |") :].splitlines()[2:]
    rows = [line for line in lines[: lines.index("")] if line.startswith("|")]
    return {
        name.removesuffix("…") for row in rows for name in re.findall(r"`([a-z0-9-]+…?)`", row.split("|")[1])
    }


def test_the_refusals_of_the_page_are_those_of_the_code() -> None:
    code = Path(stroke_early_aspirin.__file__).read_text(encoding="utf-8")
    reasons = set(re.findall(r'yield f?"([a-z0-9-]+)', code)) | set(
        re.findall(r'Decision\(\("([a-z-]+)",\)', code)
    )
    assert len(reasons) >= 20
    assert told(PAGE) - FROM_OUTSIDE == reasons


@pytest.mark.parametrize("service", [cv_risk, stroke_heparin_dose])
def test_a_service_of_rules_and_its_page_know_the_same_reasons(service: Any) -> None:
    page = (PAGES / f"{service.ID}.md").read_text(encoding="utf-8")
    known = {reason.removesuffix("…") for reason in service.REASONS}
    assert told(page) - FROM_OUTSIDE == known - {"shown"}
    code = Path(service.__file__).read_text(encoding="utf-8").replace("REASONS: Mapping", "", 1)
    used = re.findall(r'"([a-z0-9]+(?:-[a-z0-9]+)*)"(?!:)', code)
    assert {reason for reason in known if not reason.endswith("-")} <= {*used, "low-molecular-weight-heparin"}
    for heading in re.findall(r"^## .*$", PAGE, re.MULTILINE):
        assert f"\n{heading}\n" in page, heading


@pytest.mark.parametrize("page", sorted(PAGES.glob("*.md")), ids=lambda page: page.stem)
def test_a_page_shows_how_its_cards_begin(page: Path) -> None:
    quoted = re.findall(
        r"^> (.+)$", page.read_text(encoding="utf-8").partition("## For whom")[0], re.MULTILINE
    )
    golden = {json.loads(card.read_text("utf-8"))["summary"] for card in FOLDER.glob(f"{page.stem}*.json")}
    assert quoted
    assert set(quoted) <= golden


def test_the_overview_lists_every_service_with_its_hooks() -> None:
    page = (PAGES.parent / "cds-hooks.md").read_text(encoding="utf-8")
    listed = dict(re.findall(r"^\| \[([a-z-]+)\]\(services/\1\.md\) \| ([a-z, -]+) \|", page, re.MULTILINE))
    assert listed == {service.id: ", ".join(service.hooks) for service in services().values()}
    assert all((PAGES / f"{name}.md").exists() for name in listed)
