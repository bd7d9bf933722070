"""An archive of made-up studies to search in, and one who asks it over an association."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pynetdicom import AE
from pynetdicom.pdu_primitives import SOPClassExtendedNegotiation

from dicom_node.files.store import FileStore
from dicom_node.ingest import Ingest
from fhir_server.config import Config
from fhir_server.database.engine import Engine
from tests.support import cluster
from tests.support.clock import FixedClock
from tests.support.dicom_data import ROOT_UID, ct
from tests.support.dicom_fixtures import Node

PATIENT_ROOT = "1.2.840.10008.5.1.4.1.2.1.1"
STUDY_ROOT = "1.2.840.10008.5.1.4.1.2.2.1"
PATIENT_STUDY_ONLY = "1.2.840.10008.5.1.4.1.2.3.1"

NAMES = (
    "Abbott^Ann",
    "Abbot^Anne^^Dr",
    "Müller^Jörg",
    "Mueller^Joerg",
    "O'Neil^Sean",
    "van der Berg^Jan-Piet",
    "Smith^John",
    "Schmidt^Johann",
    "Smyth^Jonathan",
    "Yamada^Tarou=山田^太郎=やまだ^たろう",
    "Hong^Gildong=洪^吉洞=홍^길동",
    "Wang^XiaoDong=王^小东",
    "Διονυσιος",
    "Люкceмбypг",
    "100%^Under_score",
    "SMITH^JANE",
    "",
)
MODALITIES = ("CT", "MR", "US", "SR")
ZONES = (None, None, "+0100", "-0500", "+0530")


def studies(count: int, seed: int = 5) -> list[Dataset]:
    """Return the instances of so many studies: one to three series, one to three instances each."""
    chance = random.Random(seed)
    found = []
    for number in range(1, count + 1):
        patient = chance.randrange(1, count // 2 + 2)
        name = NAMES[patient % len(NAMES)]
        common: dict[str, Any] = {
            "SpecificCharacterSet": "ISO_IR 192",
            "PatientName": name,
            "PatientID": f"P{patient:03d}" if patient % 7 else "",
            "PatientBirthDate": f"19{patient % 90 + 10}0{patient % 9 + 1}1{patient % 10}",
            "PatientSex": chance.choice(["M", "F", "O", ""]),
            "AccessionNumber": f"A{number:04d}" if number % 5 else "",
            "StudyDate": chance.choice(
                ["", f"2025{chance.randrange(1, 13):02d}{chance.randrange(1, 29):02d}"]
            ),
            "StudyTime": chance.choice(
                ["", "0000", "2330", f"{chance.randrange(24):02d}{chance.randrange(60):02d}30.5"]
            ),
            "StudyDescription": chance.choice(["Thorax", "Kopf nativ", "ABDOMEN", "thorax_2"]),
            "ReferringPhysicianName": chance.choice(["", "Größmann^Hans", "House^Gregory", "山田^花子"]),
        }
        zone = chance.choice(ZONES)
        for series in range(1, chance.randrange(1, 4) + 1):
            item = Dataset()
            item.ScheduledProcedureStepID = f"SPS{chance.randrange(4)}"
            item.RequestedProcedureID = f"RP{chance.randrange(4)}"
            of_series: dict[str, Any] = {
                "Modality": chance.choice(MODALITIES),
                "SeriesDescription": chance.choice(["axial", "Coronal 3mm", "LOC"]),
                "BodyPartExamined": chance.choice(["CHEST", "HEAD", ""]),
                "SeriesDate": common["StudyDate"],
                "SeriesTime": chance.choice(["", "120000", "2359"]),
            }
            for instance in range(1, chance.randrange(1, 4) + 1):
                made = ct(number, series, instance, pixels=2, **common, **of_series)
                made.RequestAttributesSequence = Sequence([item])
                if zone:
                    made.TimezoneOffsetFromUTC = zone
                made.AcquisitionDateTime = chance.choice(["", "20250601", "20250601120000.5+0200", "2025"])
                found.append(made)
    return found


@contextmanager
def archive(template: tuple[str, str], name: str, folder: Path, datasets: list[Dataset]) -> Iterator[Node]:
    """Give a node with these instances on a database of its own, for the tests of a whole module."""
    url, model = template
    cluster.make(url, f'CREATE DATABASE "{name}" TEMPLATE "{model}"')
    database = cluster.database(url, name)
    engine = Engine(database, size=6)
    clock = FixedClock()
    files = FileStore(folder / "dicom")
    ingest = Ingest(files, engine, clock)
    config = Config(database_url=database, data_dir=folder, dimse_port=0, dimse_find_limit=1000)
    node = Node(engine, files, ingest, config, clock)
    try:
        node.add(*datasets)
        yield node
    finally:
        ingest.close()
        engine.close()
        cluster.make(url, f'DROP DATABASE "{name}" WITH (FORCE)')


def identifier(level: str, **keys: Any) -> Dataset:
    """Return an identifier in UTF-8."""
    asked = Dataset()
    asked.SpecificCharacterSet = keys.pop("SpecificCharacterSet", "ISO_IR 192")
    if level:
        asked.QueryRetrieveLevel = level
    for keyword, value in keys.items():
        setattr(asked, keyword, value)
    return asked


def c_find(
    port: int, asked: Dataset, root: str = STUDY_ROOT, options: bytes = b"", title: str = "ASKER"
) -> tuple[list[Dataset], list[int], Dataset]:
    """Ask by pynetdicom; return the identifiers, the statuses, and the last response."""
    ae = AE(title)
    ae.acse_timeout = ae.dimse_timeout = 60
    ae.add_requested_context(root)
    negotiated = []
    if options:
        item = SOPClassExtendedNegotiation()
        item.sop_class_uid = root
        item.service_class_application_information = options
        negotiated.append(item)
    association = ae.associate("127.0.0.1", port, ae_title="XINGLIN", ext_neg=negotiated)
    assert association.is_established
    try:
        identifiers, statuses, last = [], [], Dataset()
        for status, found in association.send_c_find(asked, root):
            statuses.append(status.Status)
            last = status
            if found is not None:
                identifiers.append(found)
        return identifiers, statuses, last
    finally:
        association.release()


def study(number: int) -> str:
    """Return the UID of a study."""
    return f"{ROOT_UID}.{number}"
