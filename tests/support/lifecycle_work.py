"""Removes or corrects one study after another, for tests that kill it; prints when it begins and ends.

python -m tests.support.lifecycle_work DATABASE_URL DICOM_FOLDER remove|correct STUDIES
"""

from __future__ import annotations

import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

from dicom_node.files.store import FileStore
from dicom_node.lifecycle import correction, removal
from dicom_node.lifecycle.drain import Lifecycle, Settings
from dicom_node.lifecycle.rejection import rules
from dicom_node.lifecycle.removal import Kind, Order, Target
from fhir_server.authorization.grant import Grant
from fhir_server.database.engine import Engine
from tests.support.dicom_data import ROOT_UID


def main(url: str, root: str, what: str, studies: str) -> None:
    """Work until all is done."""
    engine, files, grant = Engine(url, size=4), FileStore(Path(root)), Grant("test")
    settings = Settings(timedelta(0), rules([], ["*"], timedelta(0)))
    lifecycle = Lifecycle(engine, files, settings, _now)
    print("ready", flush=True)
    for number in range(1, int(studies) + 1):
        uid = f"{ROOT_UID}.{number}"
        if what == "remove":
            removal.remove(engine, Order(Kind.DELETED, [Target(uid)], grant, "wrong", _now(), _now()))
            lifecycle.drain()
        else:
            correction.order(engine, grant, uid, {"PatientID": "RIGHT"}, "wrong", _now())
            lifecycle.correct(uid)
    print("done", flush=True)


def _now() -> datetime:
    return datetime.now(UTC)


if __name__ == "__main__":
    main(*sys.argv[1:])
