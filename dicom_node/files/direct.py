"""Writing past the page cache: large objects go to the disk from a few buffers that are used again.

Through the page cache each image takes as much memory as it is long, is copied into it, and is looked for
there again by the sync that follows; that is half of what it costs to receive one. Nothing reads an image in
the moment after it came that would not find it on disk. Short objects (reports, key objects), which are
read at once, go through the cache, and so does the end of a file behind its last whole page.
"""

from __future__ import annotations

import errno
import fcntl
import mmap
import os
import threading
from pathlib import Path

BLOCK_BYTES = 1024 * 1024
PAGE_BYTES = 4096
SHORT_BYTES = 64 * 1024
MOST_KEPT = 16
_FILE_SYSTEMS = frozenset({"ext4", "xfs"})
"""Those on which it was measured to be worth it; others may take the flag and copy all the same."""

_MOUNTS = Path("/proc/self/mountinfo")


class Blocks:
    """The buffers of one process; thread-safe. A buffer that comes back is given out again."""

    def __init__(self) -> None:
        self._free: list[memoryview] = []
        self._lock = threading.Lock()
        self.refused = False
        """Whether this disk has refused to be written to directly."""

    def take(self) -> memoryview:
        """Return a buffer of BLOCK_BYTES that begins with a page."""
        with self._lock:
            if self._free:
                return self._free.pop()
        return memoryview(mmap.mmap(-1, BLOCK_BYTES))

    def give_back(self, block: memoryview) -> None:
        """Let somebody else have a buffer."""
        with self._lock:
            if len(self._free) < MOST_KEPT:
                self._free.append(block)

    def write(self, file: int, block: memoryview, *, last: bool) -> None:
        """Write a buffer, or the last part of a file, which may have any length."""
        done, size = 0, len(block)
        direct = size // PAGE_BYTES * PAGE_BYTES if size >= SHORT_BYTES or not last else 0
        if direct and not self.refused and _switch(file, os.O_DIRECT):
            try:
                while done < direct:
                    done += os.write(file, block[done:direct])
            except OSError as error:
                if error.errno != errno.EINVAL:
                    raise
                self.refused = not done  # the device wants longer pages than ours
            _switch(file, 0)
        while done < size:  # a disk that is nearly full takes a part, and says so at the next call
            done += os.write(file, block[done:])


def blocks_for(folder: Path) -> Blocks | None:
    """Return buffers where the disk of a folder is one that is written to directly, else None."""
    try:
        device = os.stat(folder).st_dev
        number = f"{os.major(device)}:{os.minor(device)}"
        for line in _MOUNTS.read_text().splitlines():
            words = line.split()
            if words[2] == number and words[words.index("-") + 1] in _FILE_SYSTEMS:
                return Blocks()
    except (OSError, ValueError, IndexError):
        pass
    return None


def _switch(file: int, flag: int) -> bool:
    try:
        fcntl.fcntl(file, fcntl.F_SETFL, flag)
    except OSError:
        return False
    return True
