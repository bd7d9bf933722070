"""Where the frames of files lie, built once and kept: the thousandth frame costs no more than the first.

A table is made of the basic or extended offset table, or of the fragments where a file has none
(PS3.5 A.4); files never change, so neither do tables. What is kept is bounded by the frames in it.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, replace
from threading import Lock

from dicom_node.files.content import Content
from dicom_node.pixels.image import Frames, Image, describe, locate_frames

MOST_FRAMES = 400_000


@dataclass(frozen=True, slots=True)
class Table:
    """What a file says of its frames, without its bytes and without what only rendering needs."""

    image: Image
    frames: Frames


class FrameTables:
    """The tables of one process, the least used of them forgotten first; thread-safe."""

    def __init__(self, most_frames: int = MOST_FRAMES) -> None:
        self._most = most_frames
        self._tables: OrderedDict[str, Table] = OrderedDict()
        self._count = 0
        self._lock = Lock()

    def of(self, digest: str, content: Content) -> Table:
        """Return the table of an opened file. Raises Unprocessable when it has no frames."""
        with self._lock:
            kept = self._tables.get(digest)
            if kept is not None:
                self._tables.move_to_end(digest)
        if kept is None:
            image = describe(content)
            frames = locate_frames(content, image)
            kept = Table(replace(image, attributes={}), replace(frames, data=b""))
            self._keep(digest, kept)
        return Table(kept.image, replace(kept.frames, data=content.data))

    def _keep(self, digest: str, table: Table) -> None:
        with self._lock:
            if digest in self._tables:
                return
            self._tables[digest] = table
            self._count += len(table.frames.spans)
            while self._count > self._most and len(self._tables) > 1:
                _, forgotten = self._tables.popitem(last=False)
                self._count -= len(forgotten.frames.spans)
