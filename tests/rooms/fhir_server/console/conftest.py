"""The whole web application over a database of the test's own, with a patient, her stroke and a head CT."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from werkzeug.serving import make_server

from conformance.samples import ct, stroke
from dicom_node.ingest import Ingest
from fhir_server.app import create_app, create_drains, create_entry
from fhir_server.authorization.grant import Grant
from fhir_server.config import Config
from fhir_server.imaging import dicom_files
from fhir_server.interactions import read, transaction
from fhir_server.interactions.context import utc_now
from fhir_server.interactions.entry import Entry
from fhir_server.model import json_format
from tests.support.dicom_data import encoded

SYSTEM = Grant.system("test")


@dataclass
class House:
    """An installation in this process."""

    app: Flask
    entry: Entry
    config: Config
    url: str

    def store(self, *resources: dict[str, Any]) -> None:
        """Store resources under their own ids, in one transaction."""
        entries = [
            {"resource": each, "request": {"method": "PUT", "url": f"{each['resourceType']}/{each['id']}"}}
            for each in resources
        ]
        bundle = {"resourceType": "Bundle", "type": "transaction", "entry": entries}
        transaction.execute(self.entry, SYSTEM, bundle)

    def get(self, path: str, status: int = 200) -> str:
        """Return a page of this status."""
        answer = self.app.test_client().get(path)
        assert answer.status_code == status, answer.text
        return answer.text

    def admit(self) -> str:
        """Store the sample stroke patient; return the id."""
        transaction.execute(self.entry, SYSTEM, stroke.transaction(utc_now()))
        return stroke.PATIENT_ID

    def scan(self, patient_id: str, slices: int = 4) -> str:
        """Take a head CT of a patient, into files, index and record; return the study's UID."""
        version = self.entry.read(SYSTEM, lambda context: read.read(context, "Patient", patient_id)).version
        assert version is not None
        files, uid = dicom_files(self.config), ""
        ingest = Ingest(files, self.entry.engine, utc_now)
        for image in ct.study(json_format.parse(version.text().encode()), slices=slices):
            ingest.store([encoded(image)], str(image.file_meta.TransferSyntaxUID), "CT1")
            uid = str(image.StudyInstanceUID)
        ingest.close()
        drain: Callable[[], int] = create_drains(self.config)["dicom-bridge"]
        assert drain() == 1
        return uid


@pytest.fixture
def house(fresh_database_url: str, tmp_path: Path) -> Iterator[House]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    config = Config(
        port=port,
        database_url=fresh_database_url,
        data_dir=tmp_path,
        demonstration=True,
        study_quiet_s=0.0,
        patient_id_system="urn:xinglin:demo:mrn",
        worker=False,
    )
    entry = create_entry(config, fresh_database_url, connections=2)
    yield House(create_app(config), entry, config, f"http://127.0.0.1:{port}")
    entry.engine.close()


@pytest.fixture
def served(house: House) -> Iterator[House]:
    """The house on its port."""
    server = make_server("127.0.0.1", house.config.port, house.app, threaded=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield house
    server.shutdown()
    thread.join()
