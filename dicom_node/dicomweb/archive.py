"""What the DICOMweb routes work on: index, files, their own address, and who is asking."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import BoundedSemaphore

from dicom_node.files.store import FileStore
from dicom_node.index.locate import Located, located
from dicom_node.pixels.frame_tables import FrameTables
from dicom_node.pixels.pictures import Pictures
from fhir_server.authorization.grant import Grant
from fhir_server.authorization.permit import permit
from fhir_server.database.engine import Engine, Mode
from fhir_server.outcome import FhirError, NotFound, Unavailable

DECODERS = 2
"""Frames that one process decodes at a time, so that searches and plain retrievals find it free."""

LONGEST_WAIT_S = 20.0


@dataclass(frozen=True, slots=True)
class Archive:
    """One DICOM node as its web services see it.

    `address` is where they are mounted, without a slash at the end; `caller` gives the Grant of
    the request that is being answered. `time_zone` is that of data sets which name none.
    """

    engine: Engine
    files: FileStore
    address: str
    caller: Callable[[], Grant]
    time_zone: str = "UTC"
    decoders: BoundedSemaphore = field(default_factory=lambda: BoundedSemaphore(DECODERS))
    frame_tables: FrameTables = field(default_factory=FrameTables)
    pictures: Pictures = field(default_factory=Pictures)

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Hold the right to decode or render a frame for the block: few may at a time. Raises Unavailable."""
        if not self.decoders.acquire(timeout=LONGEST_WAIT_S):
            raise Unavailable(f"{DECODERS} images are being decoded by this process; try again")
        try:
            yield
        finally:
            self.decoders.release()

    def may(self, interaction: str) -> None:
        """Raise Forbidden unless the caller may do this with imaging studies."""
        permit(self.caller(), interaction, "ImagingStudy")

    def locate(self, study_uid: str, series_uid: str = "", sop_uid: str = "") -> list[Located]:
        """Return the instances of an address, at least one. Raises NotFound."""
        self.may("read")
        with self.engine.connection(Mode.SINGLE) as connection:
            found = located(connection, study_uid, series_uid, sop_uid)
        if not found:
            named = [("study", study_uid), ("series", series_uid), ("instance", sop_uid)]
            wanted = ", ".join(f"{name} {uid}" for name, uid in named if uid)
            raise NotFound(f"nothing is kept here of {wanted}")
        return found

    def file(self, instance: Located) -> Path:
        """Return the file of an instance, which is there; a missing one is our failure (500)."""
        path = self.files.path(instance.digest)
        if not path.exists():
            raise FhirError(
                f"the file of instance {instance.sop_uid} is missing on disk; `xinglin doctor` says more"
            )
        return path

    def address_of(self, instance: Located) -> str:
        """Return the address of an instance."""
        series = f"{self.address}/studies/{instance.study_uid}/series/{instance.series_uid}"
        return f"{series}/instances/{instance.sop_uid}"
