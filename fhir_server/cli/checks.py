"""The checks of `doctor`: each gives its findings, with what to do about them."""

from __future__ import annotations

import ctypes.util
import fcntl
import shutil
import socket
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import psycopg2
from psycopg2.extensions import parse_dsn

from cds_hooks.client_trust import mode as cds_mode
from fhir_server.cli.serve import is_loopback
from fhir_server.config import Config
from fhir_server.database import migrating
from fhir_server.database.engine import Connection
from fhir_server.definitions.structures import type_name
from fhir_server.search.compile import compile_types
from fhir_server.search.index import FORM
from fhir_server.storage import outcomes

EXTENSIONS = ("pg_trgm", "btree_gin", "btree_gist", "unaccent")
LEAST_VERSION = 15
DIMSE_CONNECTIONS = 12
_GIB = 2**30


@dataclass(frozen=True, slots=True)
class Finding:
    """`state` is ok, advice (works, but should be changed) or broken."""

    subject: str
    state: str
    says: str


def data_folder(config: Config) -> Iterator[Finding]:
    """Permissions and free space of the data folder."""
    folder = config.data_dir.absolute()
    if not folder.exists():
        yield Finding("data folder", "advice", f"{folder} is not there yet; `xinglin serve` makes it")
        return
    mode = stat.S_IMODE(folder.stat().st_mode)
    if mode & 0o007:
        yield Finding("data folder", "advice", f"everybody may enter {folder}; chmod o-rwx it")
    else:
        yield Finding("data folder", "ok", f"{folder} is closed to others")
    usage = shutil.disk_usage(folder)
    free, share = usage.free / _GIB, usage.free / usage.total
    state = "broken" if free < 0.25 else "advice" if share < 0.1 else "ok"
    yield Finding(
        "disk", state, f"{free:.1f} GiB free ({share:.0%})" + ("" if state == "ok" else "; make room")
    )


def exposure(config: Config) -> Iterator[Finding]:
    """Who can reach us, and whether they are asked who they are."""
    if config.auth == "off" and not is_loopback(config.host):
        yield Finding(
            "authorization", "broken", f"off, and {config.host} is open to the network; serve refuses"
        )
    elif config.auth == "off":
        yield Finding(
            "authorization", "advice", "off: everybody on this machine may read and change everything"
        )
    else:
        yield Finding("authorization", "ok", config.auth)
    asked = cds_mode(config.cds_auth, config.base_url or (f"http://{config.host}:{config.port}/fhir",))
    if asked != "required" and cds_mode("", config.base_url) == "required":
        yield Finding(
            "decision services", "advice",
            f"cds_auth is {asked} and base_url is public: a proxy has to know who calls",
        )  # fmt: skip
    else:
        yield Finding("decision services", "ok", f"cds_auth is {asked}")
    if not is_loopback(config.host) and not config.tls_cert:
        yield Finding(
            "encryption", "advice", "HTTP goes out unencrypted; set tls_cert and tls_key, or a proxy"
        )
    if not config.base_url:
        yield Finding(
            "base URL", "advice", "not set: links name this machine; set base_url to the public address"
        )
    if config.dimse and not is_loopback(config.dimse_host) and config.dimse_tls == "off":
        yield Finding(
            "DIMSE encryption", "advice", "images come in unencrypted; set dimse_tls where senders can do it"
        )
    if config.dimse and not config.patient_id_system:
        says = "patient_id_system is not set: studies whose PatientID names no issuer wait"
        yield Finding("patient identifiers", "advice", says)


def libraries(config: Config) -> Iterator[Finding]:
    """What the system may lack."""
    if ctypes.util.find_library("gomp") is None:
        yield Finding(
            "libgomp", "advice", "missing: serving works, training a model needs it (apt install libgomp1)"
        )


def ports(config: Config) -> Iterator[Finding]:
    """Whether the ports are free or ours."""
    served = (config.data_dir / "serve.lock").exists() and _is_held(config)
    tls = [("DIMSE TLS", config.dimse_host, config.dimse_tls_port)] if config.dimse_tls == "own-port" else []
    for name, host, port in (
        ("HTTP", config.host, config.port),
        ("DIMSE", config.dimse_host, config.dimse_port),
        *tls,
    ):
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
                probe.listen(1)
            except OSError as error:
                state = "ok" if served else "broken"
                says = "in use by the running server" if served else f"cannot be used ({error.strerror})"
                yield Finding(
                    f"{name} port", state, f"{port} on {host} is {says}" if served else f"{port} {says}"
                )
            else:
                yield Finding(f"{name} port", "ok", f"{port} on {host} is free")


def server(config: Config, url: str) -> Iterator[Finding]:
    """Version, encoding, clock, connections and extensions of the database."""
    with _connection(url) as connection:
        major = connection.server_version // 10_000
        state = "ok" if major >= LEAST_VERSION else "broken"
        says = f"Postgres {major}" + ("" if state == "ok" else f"; at least {LEAST_VERSION} is needed")
        yield Finding("database", state, says)
        if (encoding := _show(connection, "server_encoding")) != "UTF8":
            yield Finding("encoding", "broken", f"{encoding}; the database must be UTF8")
        cursor = connection.cursor()
        cursor.execute("SELECT extract(epoch FROM clock_timestamp())::float8")
        if (apart := abs(cursor.fetchone()[0] - time.time())) > 5:
            yield Finding(
                "clock", "advice", f"the database's clock is {apart:.0f} s off ours; synchronise both"
            )
        # each worker has one more, by which it looks up definitions
        needed = config.workers * (config.threads + 1) + 4
        needed += config.dimse_workers * DIMSE_CONNECTIONS if config.dimse else 0
        if config.worker:  # three for each asynchronous request (app.create_runners), one that looks up
            needed += 3 * config.job_threads + 1
        if (most := int(_show(connection, "max_connections"))) < needed:
            yield Finding("connections", "broken", f"max_connections is {most}; we open up to {needed}")
        cursor.execute("SELECT name FROM pg_available_extensions WHERE name = ANY(%s)", (list(EXTENSIONS),))
        if missing := sorted(set(EXTENSIONS) - {name for (name,) in cursor.fetchall()}):
            yield Finding("extensions", "broken", f"{', '.join(missing)} missing; install postgresql-contrib")


def schema(config: Config, url: str) -> Iterator[Finding]:
    """Whether the schema is up to date."""
    state = migrating.schema_state(url)
    if state.up_to_date:
        yield Finding("schema", "ok", f"up to date ({state.current})")
    else:
        yield Finding(
            "schema", "advice", f"at {state.current}, newest is {state.newest}; run `xinglin migrate`"
        )


def definitions(config: Config, url: str) -> Iterator[Finding]:
    """What is installed, and how many resources fall short of the profiles that they claim."""
    with _connection(url) as connection:
        cursor = connection.cursor()
        cursor.execute("SELECT to_regclass('package') IS NOT NULL")
        if not cursor.fetchone()[0]:
            return
        cursor.execute("SELECT name || ' ' || version FROM package ORDER BY 1")
        names = [name for (name,) in cursor.fetchall()]
        yield Finding("packages", "ok", ", ".join(names) or "none is installed")
        cursor.execute(outcomes.COUNT)
        short, wrong = cursor.fetchone()
        says = f"{short} resources have an outcome of their claimed profiles, {wrong} of them with errors"
        if short:
            says += "; GET /fhir/{type}/{id}/$validation-outcome shows it"
        yield Finding("profiles", "advice" if wrong else "ok", says)


def search_index(config: Config, url: str) -> Iterator[Finding]:
    """Whether the index of every type is of this release, and whether anything is missing in it."""
    from fhir_server.app import full_text

    with _connection(url) as connection:
        cursor = connection.cursor()
        cursor.execute("SELECT to_regclass('index_form') IS NOT NULL")
        if not cursor.fetchone()[0]:
            return
        statement = compile_types()
        cursor.execute(statement.sql, statement.parameters)
        present = {code for (code,) in cursor.fetchall()}
        cursor.execute("SELECT type FROM index_form WHERE form >= %s", (FORM,))
        older = sorted(type_name(code) for code in present - {code for (code,) in cursor.fetchall()})
        cursor.execute(
            "SELECT (SELECT count(*) FROM reindex WHERE state IN ('waiting', 'running')), "
            "(SELECT count(DISTINCT (type, pk)) FROM unindexed)"
        )
        jobs, missing = cursor.fetchone()
        at_work = f"; {jobs} jobs are at work (xinglin reindex --status)" if jobs else ""
        if older:
            flags = " ".join(f"--type {name}" for name in older)
            says = f"made by an older release: {', '.join(older)}; run `xinglin reindex {flags}`{at_work}"
            yield Finding("search index", "advice", says)
        else:
            yield Finding("search index", "ok", f"of this release{at_work}")
        cursor.execute("SELECT to_regclass('text_missing') IS NOT NULL")
        if cursor.fetchone()[0]:
            cursor.execute("SELECT type FROM text_missing")
            lacking = {type_name(code) for (code,) in cursor.fetchall() if code in present}
            if wordless := sorted(lacking & full_text(config.full_text)):
                flags = " ".join(f"--type {name}" for name in wordless)
                says = f"some have no words, so _text and _content are refused: {', '.join(wordless)}; "
                yield Finding("search index", "advice", f"{says}run `xinglin reindex {flags}`{at_work}")
        if missing:
            says = (
                f"{missing} resources could not be indexed in full; xinglin reindex --status JOB lists them"
            )
            yield Finding("search index", "advice", says)


def privacy(config: Config, url: str) -> Iterator[Finding]:
    """Whether the database writes patient data to its log: our SQL holds names and identifiers."""
    with _connection(url) as connection:
        wrong = [
            f"{name} = {wanted}" for name, wanted, harmless in _LOG_SETTINGS
            if not harmless(_show(connection, name))
        ]  # fmt: skip
        if wrong:
            says = f"patient data would be logged; set in postgresql.conf: {', '.join(wrong)}"
            yield Finding("database log", "advice", says)
        else:
            yield Finding("database log", "ok", "no statements, no values")
        host = parse_dsn(url).get("host", "")
        if host and not host.startswith("/") and not is_loopback(host) and not connection.info.ssl_in_use:
            yield Finding(
                "database connection", "advice", "not encrypted; add sslmode=verify-full to the URL"
            )


def _at_least(least: str) -> Callable[[str], bool]:
    order = ("debug5", "debug4", "debug3", "debug2", "debug1", "info", "notice", "warning", "error", "log",
             "fatal", "panic")  # fmt: skip
    return lambda value: order.index(value) >= order.index(least)


_LOG_SETTINGS: tuple[tuple[str, str, Callable[[str], bool]], ...] = (
    ("log_statement", "none", lambda value: value in ("none", "ddl")),
    ("log_min_duration_statement", "-1", lambda value: value == "-1"),
    ("auto_explain.log_min_duration", "-1", lambda value: value in ("", "-1")),  # "": not loaded
    ("log_min_duration_sample", "-1", lambda value: value == "-1"),
    ("log_transaction_sample_rate", "0", lambda value: float(value) == 0),
    ("log_min_error_statement", "panic", _at_least("fatal")),
    # 'invalid input syntax for type date: "…"' quotes the value in its first line
    ("log_min_messages", "log", _at_least("log")),
    ("log_error_verbosity", "terse", lambda value: value == "terse"),
    ("log_parameter_max_length_on_error", "0", lambda value: value in ("0", "0B")),
)


def _is_held(config: Config) -> bool:
    with open(config.data_dir / "serve.lock") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        fcntl.flock(lock, fcntl.LOCK_UN)
    return False


@contextmanager
def _connection(url: str) -> Iterator[Connection]:
    connection = psycopg2.connect(url, application_name="xinglin doctor", connect_timeout=10)
    connection.autocommit = True
    try:
        yield connection
    finally:
        connection.close()


def _show(connection: Connection, name: str) -> str:
    cursor = connection.cursor()
    cursor.execute("SELECT current_setting(%s, true)", (name,))
    return str(cursor.fetchone()[0] or "")


MACHINE = (data_folder, exposure, libraries, ports)
DATABASE = (server, schema, definitions, search_index, privacy)
