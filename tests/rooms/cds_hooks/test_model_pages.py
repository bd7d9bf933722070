"""The console's pages of models: what they show, and the steps of two persons by form."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flask import Flask
from flask.testing import FlaskClient

from cds_hooks.evaluation import local
from cds_hooks.evaluation.local import Place
from cds_hooks.evaluation.sample import Sample, groups
from cds_hooks.models import blocks, states
from cds_hooks.models.catalogue import Release
from cds_hooks.monitoring import examine
from cds_hooks.records.model_log import ModelLog
from cds_hooks.records.monitoring import Kept, Monitoring
from fhir_server.app import create_app
from fhir_server.config import Config
from fhir_server.database.engine import Engine
from tests.support.models import ASSESSED, MODEL, NOW, draft, drawn, order

PAGE = f"/console/cds/models/{MODEL}/2"


@pytest.fixture
def engine(fresh_database_url: str) -> Iterator[Engine]:
    engine = Engine(fresh_database_url, size=2)
    yield engine
    engine.close()


@pytest.fixture
def book(engine: Engine) -> ModelLog:
    return ModelLog(engine)


@pytest.fixture
def release(tmp_path: Path) -> Release:
    return draft(tmp_path / "models")


@pytest.fixture
def console(fresh_database_url: str, tmp_path: Path, release: Release) -> FlaskClient:
    app: Flask = create_app(Config(database_url=fresh_database_url, data_dir=tmp_path, worker=False))
    return app.test_client()


def send(console: FlaskClient, action: str, by: str, **headers: str) -> Any:
    return console.post(f"{PAGE}/{action}", data={"by": by, "reason": "for a test"}, headers=headers)


def state(book: ModelLog, release: Release) -> str:
    return states.standing(release, book.events(MODEL)).state


def test_the_list_shows_every_release_and_which_one_answers(console: FlaskClient) -> None:
    page = console.get("/console/cds/models").text
    assert f'href="{PAGE}"' in page
    rows = re.findall(r"<tr>.*?</tr>", page, re.DOTALL)
    (serving,) = [row for row in rows if "in use" in row]
    assert "demonstration" in serving
    assert "/console/cds/models" in console.get("/console/cds").text


def test_a_release_shows_card_drawings_and_attributes(console: FlaskClient, release: Release) -> None:
    page = console.get(PAGE).text
    assert release.identity in page
    assert release.sha256 in page
    assert str(release.card["data"]["sha256"]) in page
    assert page.count("<svg") == 4
    assert page.count('<th scope="row">') == 31
    assert page.count("not assessed</span>") == 4
    assert "was not evaluated on data of this place" in page
    assert "style=" not in page
    assert "<script>" not in page


def test_two_persons_show_a_model_and_one_takes_it_back(
    console: FlaskClient, book: ModelLog, release: Release
) -> None:
    book.carry_out(order("assess", release, evidence=ASSESSED), blocks.blocks)
    answer = send(console, "promote", "Ada Lovelace")
    assert (answer.status_code, answer.headers["Location"]) == (303, PAGE)
    send(console, "propose", "Ada Lovelace")
    page = console.get(PAGE).text
    assert "Ada Lovelace proposed to show this release" in page
    refused = send(console, "promote", "ada lovelace")
    assert refused.status_code == 409
    assert "takes the approval of another person" in refused.text
    assert 'value="ada lovelace"' in refused.text, "what was typed is kept"
    assert state(book, release) == states.SHADOW
    assert send(console, "promote", "Charles Babbage").status_code == 303
    assert state(book, release) == states.ACTIVE
    assert "model 2, active" in console.get("/console/cds").text, "who did it sees it at once"
    assert send(console, "demote", "Ada Lovelace").status_code == 303
    assert state(book, release) == states.SHADOW


def test_what_blocks_is_said_and_nothing_happens(
    console: FlaskClient, book: ModelLog, release: Release
) -> None:
    send(console, "promote", "Ada Lovelace")
    refused = send(console, "propose", "Ada Lovelace")
    assert refused.status_code == 409
    assert "cannot become active" in refused.text
    assert send(console, "retire", " ").status_code == 400
    assert state(book, release) == states.SHADOW


@pytest.mark.parametrize(
    "headers",
    [{"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "same-site"}],
)
def test_a_form_of_another_site_is_refused(
    console: FlaskClient, book: ModelLog, release: Release, headers: dict[str, str]
) -> None:
    assert send(console, "promote", "Ada Lovelace", **headers).status_code == 403
    assert state(book, release) == states.DRAFT


def test_the_name_of_who_is_signed_in_cannot_be_another(
    fresh_database_url: str, engine: Engine, book: ModelLog, release: Release, tmp_path: Path
) -> None:
    from cds_hooks import model_pages, registry
    from fhir_server.authorization.grant import Grant
    from fhir_server.interactions.context import utc_now

    services = registry.services([tmp_path / "models"], log=book)
    site = model_pages.Site(services, book, Monitoring(engine), lambda: Grant("Practitioner/7"), utc_now)
    app = Flask(__name__)
    app.register_blueprint(model_pages.create(site))
    send(app.test_client(), "promote", "Somebody Else")
    assert book.events(MODEL)[-1].actor == "Practitioner/7"


def test_a_page_says_that_a_typed_name_is_not_proven(console: FlaskClient) -> None:
    for path in (PAGE, "/console/cds/switches"):
        page = console.get(path).text
        assert "Nobody is signed in: a name is what somebody types." in page, path
        assert "nothing proves who typed" in page


def test_a_recalibrated_release_shows_its_parent_and_its_patients(
    console: FlaskClient, release: Release, tmp_path: Path, engine: Engine
) -> None:
    y, p = drawn(800, shift=0.7)
    sample = Sample(y, p, groups(["M", "F"] * 400, [70.0] * 800, ["ward"] * 800))
    place = Place("Ward 7", "Ada Lovelace", "0" * 64, 800)
    made = local.recalibrate(release, sample, place, [tmp_path / "models"], NOW)
    report = examine.examine(None, examine.Seen((), np.empty((0, 0)), p[:0], p, y))
    Monitoring(engine).keep_report(
        Kept(NOW, MODEL, "3", made.digest, report["level"], NOW, 0, 800, report | {"reference": "none"})
    )
    page = console.get(PAGE.replace("/2", "/3")).text
    assert release.identity in page
    assert page.count("<svg") == 8
    assert "Ward 7" in page
    assert "800 matured outcomes" not in page
    assert report["findings"][1]["words"].split(" (")[0] in page
    assert "Keeps it from being shown" not in page
    assert console.get(f"{PAGE.replace('/2', '/3')}/local-calibration.svg").status_code == 200


def test_a_drawing_is_a_file_of_its_own(console: FlaskClient) -> None:
    answer = console.get(f"{PAGE}/calibration.svg")
    assert answer.content_type.startswith("image/svg+xml")
    assert answer.text.startswith("<svg")
    assert console.get(f"{PAGE}/other.svg").status_code == 404
    assert console.get(PAGE.replace("/2", "/9")).status_code == 404
    assert console.get(f"{PAGE}/promote").status_code == 405


def test_what_a_monitor_did_stands_on_the_page(
    console: FlaskClient, book: ModelLog, release: Release
) -> None:
    book.carry_out(order("assess", release, evidence=ASSESSED), blocks.blocks)
    for action, actor in (("promote", "Ada"), ("propose", "Ada"), ("promote", "Charles")):
        book.carry_out(order(action, release, actor), blocks.blocks)
    book.carry_out(
        order("demote", release, "drift monitor", monitor=True, reason="AGE: PSI 0.41"), blocks.blocks
    )
    page = console.get(PAGE).text
    assert "Taken back by the drift monitor: AGE: PSI 0.41" in page
    assert "and it was not evaluated since" in page
