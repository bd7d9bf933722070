"""The console in a real browser: journeys of a person, without a word of complaint from the browser."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.rooms.fhir_server.console.conftest import House
from tests.support import browser as support
from tests.support.browser import Page, browser
from tests.support.server import wait_for

pytestmark = pytest.mark.skipif(support.missing() is not None, reason=f"no browser: {support.missing()}")

ARROW_DOWN = "\ue015"


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    with browser() as made:
        yield made


def test_a_record_from_search_to_what_changed(served: House, page: Page, tmp_path: Path) -> None:
    served.admit()
    page.open(f"{served.url}/console")
    page.press("/")
    page.type("#name", "beisp")
    page.click(".find button")
    page.click("td .go")
    assert page.text("h1") == "Martha Beispiel"
    assert page.find(".timeline .day")
    page.click("input[value=observations]")  # applies by itself
    wait_for(lambda: "kind=" in page.address())
    assert not page.find(".timeline .measure")
    page.click(".timeline .events a")
    assert page.text(".json").startswith("{")
    page.click(".same summary")
    assert page.text(".same pre").startswith("curl -s 'http://")
    page.screenshot(tmp_path / "record.png")
    assert (tmp_path / "record.png").stat().st_size > 10_000
    assert page.problems() == []


def test_the_images_of_a_study(served: House, page: Page) -> None:
    served.scan(served.admit(), slices=6)
    page.open(f"{served.url}/console/studies")
    page.click(".studies a")
    wait_for(lambda: page.run("return document.getElementById('picture').naturalWidth") == 256)
    assert page.text("#place") == "4 / 6"
    page.run("document.getElementById('stage').focus()")
    page.press(ARROW_DOWN)
    wait_for(lambda: page.text("#place") == "5 / 6")  # number and window change with the picture
    page.run("document.querySelector('input[value=\"40,80\"]').click()")
    wait_for(lambda: page.text("#window-shown") == "C 40 W 80")
    assert str(page.run("return document.getElementById('picture').src")).endswith("rendered?window=40,80")
    wait_for(lambda: page.run("return document.getElementById('picture').complete"))
    assert page.run("return document.getElementById('picture').naturalWidth") == 256
    page.click("aside + *, .head a.button")
    assert page.problems() == []


def test_a_card_as_an_ehr_shows_it(served: House, page: Page) -> None:
    served.admit()
    page.open(f"{served.url}/console/cds")
    page.click(".people button")
    assert "fewer dead or dependent" in page.text(".cds-card h3")
    assert page.find(".cds-card table")
    assert page.problems() == []


@pytest.mark.parametrize(
    "path",
    [
        "/console/patients",
        "/console/studies",
        "/console/dicom",
        "/console/dicom/queue",
        "/console/dicom/quarantine",
        "/console/cds",
        "/console/jobs",
    ],
)
def test_every_control_has_a_name(served: House, page: Page, path: str) -> None:
    """WCAG 2.2, 1.3.1 and 4.1.2: fields have labels, buttons and links a text, images an alternative."""
    served.admit()
    page.open(f"{served.url}{path}")
    nameless = page.run(
        "return [...document.querySelectorAll('input:not([type=hidden]), select, button, a, img')]"
        ".filter(e => !(e.labels && e.labels.length) && !e.getAttribute('aria-label')"
        " && !e.textContent.trim() && e.getAttribute('alt') === null).map(e => e.outerHTML)"
    )
    assert nameless == []
    assert page.run("return document.documentElement.lang") == "en"
    assert page.run("return document.querySelectorAll('h1').length") == 1
    assert page.run("return document.documentElement.scrollWidth <= window.innerWidth")
    assert page.problems() == []
