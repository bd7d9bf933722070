"""kill -9 in the middle of removals, purges, corrections: whole or gone, no file orphaned or lost."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path

import pytest

from dicom_node.lifecycle.drain import Lifecycle, Settings
from dicom_node.lifecycle.rejection import rules
from fhir_server.cli import dicom_checks
from tests.support.dicom_data import ROOT_UID, ct
from tests.support.dicom_fixtures import Node, node

__all__ = ["node"]
ROOT = Path(__file__).parents[2]
STUDIES, IMAGES = 6, 25


@pytest.mark.parametrize("what", ["remove", "correct"])
@pytest.mark.parametrize("seed", range(4))
def test_killed_at_any_moment(node: Node, what: str, seed: int) -> None:
    for study in range(1, STUDIES + 1):
        node.add(*(ct(study, number=number, pixels=16) for number in range(1, IMAGES + 1)))
    arguments = [
        *(sys.executable, "-m", "tests.support.lifecycle_work"),
        *(node.config.database_url, str(node.files.root), what, str(STUDIES)),
    ]
    process = subprocess.Popen(arguments, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    span = 0.6 if what == "remove" else 2.5
    deadline = time.monotonic() + random.Random(seed).uniform(0, span)
    while time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.002)
    process.kill()
    process.wait()
    process.stdout.close()

    for study in range(1, STUDIES + 1):
        uid = f"{ROOT_UID}.{study}"
        rows = node.rows(
            "SELECT count(*) FROM dicom_instance i JOIN dicom_study s ON s.pk = i.study_pk"
            " WHERE s.study_uid = %s AND current",
            uid,
        )
        assert rows[0][0] in (0, IMAGES), "a study is whole or gone"
        assert what == "remove" or rows[0][0] == IMAGES

    node.ingest.recover()
    node.clock.advance(days=365 * 30)
    settings = Settings(timedelta(0), rules([], ["*"], timedelta(0)))
    worker = Lifecycle(node.engine, node.files, settings, node.clock, lambda: node.ingest)
    for _ in range(200):
        if not worker.drain():
            break
    node.ingest.recover()
    findings = {one.subject: one for one in dicom_checks.files(node.config, node.config.database_url)}
    assert findings.keys() == {"DICOM files"}, findings
    assert findings["DICOM files"].state == "ok"
    assert not list(node.files.removed.iterdir())
    if what == "correct":
        for uid, patients, patient in node.rows(
            "SELECT s.study_uid, count(DISTINCT p.patient_id), max(p.patient_id) FROM dicom_study s"
            " JOIN dicom_instance i ON i.study_pk = s.pk AND i.current"
            " JOIN dicom_study_patient p ON p.pk = i.patient_pk GROUP BY 1"
        ):
            assert patients == 1, uid
            ordered = node.rows("SELECT FROM dicom_correction WHERE study_uid = %s", uid)
            assert (patient == "RIGHT") == bool(ordered)
