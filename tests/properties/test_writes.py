"""Random writes against a model: a dictionary of version chains says what each answer must be.

The model knows R4/http.html and docs/rest.md, and shares no code with the server: it is a list of
versions a resource, searched by comparing identifier values and family names.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from fhir_server.config import Config
from fhir_server.database.engine import Engine
from fhir_server.interactions.capabilities import Capabilities
from fhir_server.interactions.entry import Entry
from fhir_server.rest.door import Door
from fhir_server.rest.handlers import BUILT, Installation
from tests.support.builders import bundle, patient
from tests.support.clause import clause
from tests.support.http import FhirClient

STEPS = 150
MOST = 3  # resources that a conditional delete of this installation deletes
IDS = ("m-1", "m-2", "m-3", "m-4")
VALUES = ("v1", "v2", "v3")
FAMILIES = ("Ash", "Birch")


@pytest.fixture
def engine(fresh_database_url: str) -> Iterator[Engine]:
    engine = Engine(fresh_database_url, size=2)
    yield engine
    engine.close()


@dataclass
class Model:
    """What must be stored: the versions of each id, None for a deletion; `first` counts purged ones."""

    chains: dict[str, list[dict[str, Any] | None]] = field(default_factory=dict)

    def current(self, id_: str) -> dict[str, Any] | None:
        chain = self.chains.get(id_)
        return chain[-1] if chain else None

    def number(self, id_: str) -> int:
        return len(self.chains.get(id_, ()))

    def matching(self, criteria: str) -> list[str]:
        """Return the ids that `identifier=…` or `family=…` match now."""
        name, value = criteria.split("=")
        return sorted(
            id_
            for id_ in self.chains
            if (body := self.current(id_)) is not None
            and value
            == (body["identifier"][0]["value"] if name == "identifier" else body["name"][0]["family"])
        )

    def put(self, id_: str, body: dict[str, Any]) -> int:
        """Store under an id; return the status."""
        before = self.current(id_)
        if before == body:
            return 200
        self.chains.setdefault(id_, []).append(body)
        return 201 if before is None else 200

    def delete(self, id_: str) -> None:
        if self.current(id_) is not None:
            self.chains[id_].append(None)


@dataclass
class Run:
    """One random walk: each step asks the server, and the model what it should have said."""

    client: FhirClient
    chance: random.Random
    model: Model = field(default_factory=Model)

    def body(self) -> dict[str, Any]:
        value = self.chance.choice(VALUES)
        return patient(
            self.chance.choice(FAMILIES),
            identifier=[{"system": "urn:m", "value": value}],
            active=self.chance.random() < 0.5,
        )

    def criteria(self) -> str:
        if self.chance.random() < 0.7:
            return f"identifier={self.chance.choice(VALUES)}"
        return f"family={self.chance.choice(FAMILIES)}"

    def precondition(self, id_: str) -> tuple[dict[str, str], bool]:
        """Return an If-Match header, or none, and whether it holds."""
        drawn = self.chance.random()
        if drawn < 0.6:
            return {}, True
        if drawn < 0.7:
            return {"If_Match": "*"}, self.model.current(id_) is not None
        number = max(1, self.model.number(id_) - self.chance.choice((0, 0, 1)))
        return {"If_Match": f'W/"{number}"'}, number == self.model.number(id_)

    def learn(self, status: int, made: Any, body: dict[str, Any]) -> None:
        """Take in the id that the server gave a new resource."""
        if status == 201:
            self.model.chains[made["id"]] = [body]

    def update(self) -> None:
        id_, body = self.chance.choice(IDS), self.body()
        headers, holds = self.precondition(id_)
        only_new = self.chance.random() < 0.15
        if only_new:
            headers["If_None_Match"] = "*"
            holds = holds and self.model.current(id_) is None
        got = self.client.put(f"Patient/{id_}", {**body, "id": id_}, **headers)
        assert got.status == (self.model.put(id_, body) if holds else 412), (id_, headers, got.data)

    def patch(self) -> None:
        id_ = self.chance.choice(IDS)
        headers, holds = self.precondition(id_)
        family = self.chance.choice(FAMILIES)
        typed = {"Content-Type": "application/json-patch+json"}
        sent = f'[{{"op": "replace", "path": "/name/0/family", "value": "{family}"}}]'.encode()
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        got = self.client.send("PATCH", f"Patient/{id_}", sent, {**typed, **named})
        before = self.model.current(id_)
        if before is None:
            assert got.status == (410 if id_ in self.model.chains else 404)
            return
        assert got.status == (200 if holds else 412)
        if holds:
            name = {**before["name"][0], "family": family}
            self.model.put(id_, {**before, "name": [name]})

    def delete(self) -> None:
        id_ = self.chance.choice(IDS)
        headers, holds = self.precondition(id_)
        got = self.client.delete(f"Patient/{id_}", **headers)
        assert got.status == (204 if holds else 412), (id_, headers)
        if holds:
            self.model.delete(id_)

    def create_if_none(self) -> None:
        body, criteria = self.body(), self.criteria()
        found = self.model.matching(criteria)
        got = self.client.post("Patient", body, If_None_Exist=criteria)
        assert got.status == (201, 200, 412)[min(len(found), 2)], (criteria, found)
        self.learn(got.status, got.json, body)
        if got.status == 200:
            assert got.json["id"] == found[0]

    def update_by_criteria(self) -> None:
        body, criteria = self.body(), self.criteria()
        own = self.chance.choice((None, None, *IDS))
        found = self.model.matching(criteria)
        got = self.client.put(f"Patient?{criteria}", body if own is None else {**body, "id": own})
        if len(found) > 1:
            assert got.status == 412
        elif found and own not in (None, found[0]):
            assert got.status == 400
        elif found:
            assert got.status == self.model.put(found[0], body)
        elif own is None:
            assert got.status == 201
            self.learn(201, got.json, body)
        elif self.model.current(own) is not None:
            assert got.status == 409
        else:
            assert got.status == self.model.put(own, body) == 201

    def delete_by_criteria(self) -> None:
        criteria, most = self.criteria(), self.chance.choice((None, 1, 2, 5))
        found = self.model.matching(criteria)
        got = self.client.delete(f"Patient?{criteria}" + (f"&_count={most}" if most else ""))
        if len(found) > min(most or MOST, MOST):
            assert got.status == 412
            assert f"matches {len(found)} resources" in got.issue["diagnostics"]
            return
        assert got.status == (200 if len(found) > 1 else 204)
        for id_ in found:
            self.model.delete(id_)

    def in_transaction(self) -> None:
        """A deletion and an update together, both or none."""
        gone, id_ = self.chance.sample(IDS, 2)
        body = self.body()
        stale = self.chance.random() < 0.3
        entries = [
            {"request": {"method": "DELETE", "url": f"Patient/{gone}"}},
            {
                "resource": {**body, "id": id_},
                "request": {"method": "PUT", "url": f"Patient/{id_}"}
                | ({"ifMatch": 'W/"99"'} if stale else {}),
            },
        ]
        got = self.client.post("", bundle("transaction", *entries))
        assert got.status == (412 if stale else 200)
        if not stale:
            self.model.delete(gone)
            told = [entry["response"]["status"][:3] for entry in got.json["entry"]]
            assert told == ["204", str(self.model.put(id_, body))]

    def look(self) -> None:
        """Hold everything that can be read of one id against the model."""
        id_ = self.chance.choice((*IDS, *self.model.chains))
        chain = self.model.chains.get(id_)
        got = self.client.get(f"Patient/{id_}")
        if chain is None:
            assert got.status == 404
            assert self.client.get(f"Patient/{id_}/_history").status == 404
            return
        assert got.status == (410 if chain[-1] is None else 200)
        for number, body in enumerate(chain, 1):
            version = self.client.get(f"Patient/{id_}/_history/{number}")
            assert version.status == (410 if body is None else 200)
            if body is not None:
                assert {name: version.json[name] for name in body} == body
        assert self.client.get(f"Patient/{id_}/_history/{len(chain) + 1}").status == 404
        entries = self.client.get(f"Patient/{id_}/_history?_count=1000").json["entry"]
        assert [entry["response"]["etag"] for entry in entries] == [
            f'W/"{number}"' for number in range(len(chain), 0, -1)
        ]
        assert ["resource" in entry for entry in entries] == [body is not None for body in chain[::-1]]

    def search(self) -> None:
        criteria = self.criteria()
        found = self.client.get(f"Patient?{criteria}&_count=1000").json.get("entry", [])
        assert sorted(entry["resource"]["id"] for entry in found) == self.model.matching(criteria)


@clause(
    "R4/http.html#general", "random writes, alone, conditional and together: every answer as the model says"
)
@pytest.mark.parametrize("seed", range(4))
def test_writes_agree_with_the_model(entry: Entry, seed: int) -> None:
    settings = replace(entry.settings, max_conditional_deletes=MOST)
    here = replace(entry, settings=settings)
    capabilities = Capabilities(settings, BUILT, entry.clock())
    client = FhirClient(Door(Installation(here, Config(), capabilities)).wsgi)
    run = Run(client, random.Random(seed))
    steps = (
        run.update, run.update, run.patch, run.delete, run.create_if_none, run.update_by_criteria,
        run.delete_by_criteria, run.in_transaction, run.look, run.search,
    )  # fmt: skip
    for _ in range(STEPS):
        run.chance.choice(steps)()
