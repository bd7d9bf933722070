"""Fixtures of the DICOM node: an ingest on a real folder and database, a listener on a real port."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from pydicom.dataset import Dataset

from dicom_node.audit_log import AuditLog
from dicom_node.dicomweb import blueprint, deletion, storage, workitems
from dicom_node.dicomweb.stow import Storing
from dicom_node.dimse.application_entity import ApplicationEntity
from dicom_node.files.store import FileStore
from dicom_node.ingest import Ingest
from dicom_node.workitems.service import Worklist
from fhir_server.authorization.grant import Grant
from fhir_server.config import Config
from fhir_server.database.engine import Engine
from tests.support.clock import FixedClock
from tests.support.dicom_data import encoded


@dataclass(repr=False)
class Node:
    """A DICOM node of one test: its folder, its database, its way in."""

    engine: Engine
    files: FileStore
    ingest: Ingest
    config: Config
    clock: FixedClock

    def __post_init__(self) -> None:
        self.log = AuditLog(self.engine, self.clock, every_s=3600)  # a test writes it by node.log.flush()

    def rows(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        """Return what a statement gives."""
        with self.engine.connection() as connection:
            cursor = connection.cursor()
            cursor.execute(sql, values)
            return list(cursor.fetchall())

    def kept(self, sop_uid: str) -> list[bytes]:
        """Return the data sets kept under a UID, oldest version first."""
        found = self.rows(
            "SELECT encode(hash, 'hex') FROM dicom_instance WHERE sop_uid = %s ORDER BY version", sop_uid
        )
        return [self.data_set(digest) for (digest,) in found]

    def add(self, *datasets: Dataset) -> None:
        """Store data sets through ingest, explicit little endian."""
        for dataset in datasets:
            syntax = str(dataset.file_meta.TransferSyntaxUID)
            outcome = self.ingest.store([encoded(dataset)], syntax, "CT1")
            assert outcome.verdict.name.startswith(("STORED", "NEW_VERSION")), outcome

    def data_set(self, digest: str) -> bytes:
        """Return the bytes behind the 132 bytes of preamble and the group that states its own length."""
        raw = self.files.path(digest).read_bytes()
        return raw[144 + int.from_bytes(raw[140:144], "little") :]


@pytest.fixture
def node(fresh_database_url: str, tmp_path: Path, clock: FixedClock) -> Iterator[Node]:
    engine = Engine(fresh_database_url, size=12)
    files = FileStore(tmp_path / "dicom")
    ingest = Ingest(files, engine, clock)
    config = Config(database_url=fresh_database_url, data_dir=tmp_path, dimse_port=0)
    yield Node(engine, files, ingest, config, clock)
    ingest.close()
    engine.close()


@pytest.fixture
def dimse_port(node: Node) -> Iterator[int]:
    """The port of a listener on `node`."""
    entity = ApplicationEntity(node.config, node.engine, node.ingest)
    yield entity.start()
    entity.stop()


ADDRESS = "http://node.example/dicom-web"
MOST_BYTES = 64 * 1024 * 1024


@pytest.fixture
def web(node: Node) -> FlaskClient:
    """A client of the DICOMweb services on `node`, mounted at /dicom-web."""
    app = Flask("dicomweb-test")
    storing = Storing(lambda: node.ingest, node.log, ADDRESS, "NODE", MOST_BYTES)
    worklist = Worklist(node.engine, node.clock)
    changing = {
        **storage.routes(storing, Grant.anonymous),
        **workitems.routes(worklist, ADDRESS, Grant.anonymous),
        **deletion.routes(node.engine, timedelta(days=7), Grant.anonymous),
    }
    app.register_blueprint(
        blueprint.create(node.engine, node.files, ADDRESS, Grant.anonymous, changing, "UTC"),
        url_prefix="/dicom-web",
    )
    return app.test_client()
