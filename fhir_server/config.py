"""The settings: one frozen value, read once, handed down from `app.py`.

Each field is an environment variable `XINGLIN_<NAME>` and a key of the TOML file named by
`--config`; a flag wins over the variable, the variable over the file, the file over the
default. A name carries its unit. No other room reads the environment.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import Field, dataclass, field, fields
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError


class ConfigError(ValueError):
    """A setting that cannot be used; the message names it and says what would work."""


def _setting(default: Any, reason: str) -> Any:
    """Declare a field with the sentence that explains it in docs/configuration.md."""
    return field(default=default, metadata={"reason": reason})


@dataclass(frozen=True, slots=True)
class Config:
    """Everything an installation may set.

    >>> Config.read({"XINGLIN_PORT": "9090"}).port
    9090
    """

    host: str = _setting("127.0.0.1", "address that HTTP listens on")
    port: int = _setting(8080, "TCP port of HTTP")
    base_url: tuple[str, ...] = _setting(
        (), "public addresses of this server; links use the first, all are recognised as ours"
    )
    data_dir: Path = _setting(Path("data"), "folder of the embedded Postgres and the DICOM files")
    database_url: str = _setting("", "outside Postgres (15 or later); empty: the embedded one under data_dir")
    postgres_user: str = _setting(
        "",
        "account that the embedded Postgres drops to when root starts it; empty: the owner of the "
        "data folder, else postgres, else nobody",
    )
    workers: int = _setting(2, "HTTP worker processes")
    threads: int = _setting(4, "requests that one worker process serves at the same time")
    auth: str = _setting("off", "smart or off; off is refused on any address but loopback")
    fhir_cors_origins: tuple[str, ...] = _setting(
        ("*",),
        "origins whose pages browsers let read the answers of /fhir, such as https://app.example; *, off, or "
        "a list. Without authorization * means every page that is open on this machine",
    )
    tls_cert: str = _setting("", "PEM file of the certificate chain; empty: plain HTTP")
    tls_key: str = _setting("", "PEM file of the private key")
    dimse: bool = _setting(True, "whether the DIMSE listener is started")
    dimse_host: str = _setting("127.0.0.1", "address that DIMSE listens on")
    dimse_port: int = _setting(11112, "TCP port of DIMSE")
    ae_title: str = _setting("XINGLIN", "our application entity title (PS3.8 9.3.2), at most 16 characters")
    dimse_workers: int = _setting(2, "processes that take DIMSE associations, all on the same port")
    dimse_max_associations: int = _setting(
        128, "most associations at once; a further one is rejected for the moment (temporary congestion)"
    )
    dimse_max_associations_per_ae: int = _setting(
        32, "most associations at once of one calling AE title; `xinglin ae add` can say otherwise for one"
    )
    dimse_artim_s: float = _setting(
        30.0, "how long a caller may take to say who it is, TLS handshake included (ARTIM timer of PS3.8)"
    )
    dimse_idle_s: float = _setting(
        300.0, "longest silence of the other side within an association; then it is aborted"
    )
    dimse_tls: str = _setting(
        "off",
        "off; own-port (TLS on dimse_tls_port beside plain DIMSE); same-port (both on dimse_port, told apart "
        "by the first byte); or only (dimse_port speaks nothing but TLS)",
    )
    dimse_tls_port: int = _setting(2762, "TCP port of DIMSE over TLS, with dimse_tls = own-port")
    dimse_tls_cert: str = _setting("", "PEM file of the certificate chain of DIMSE, as server and as client")
    dimse_tls_key: str = _setting("", "PEM file of its private key")
    dimse_tls_ca: str = _setting(
        "", "PEM file or folder of the authorities that sign the certificates of application entities"
    )
    dimse_tls_profile: str = _setting(
        "bcp195", "PS3.15 Annex B: bcp195 (non-downgrading, B.10) or extended (B.11, keys of 256 bits only)"
    )
    dimse_tls_clients: str = _setting(
        "required", "certificate of a caller over TLS: required, optional or none"
    )
    dimse_jwt_key: str = _setting(
        "",
        "file with the key of the JSON Web Tokens (HS256) that callers may identify themselves with; empty: "
        "such callers are rejected",
    )
    dimse_durability: str = _setting(
        "journal",
        "what must have happened before a C-STORE is answered with success: journal (the file and its record "
        "are on disk, the index follows within a fraction of a second) or index (its row is committed too)",
    )
    dicom_direct_io: bool = _setting(
        True,
        "whether received instances go to the disk past the page cache (ext4 and XFS): half the CPU and less "
        "memory; the first who reads one waits for the disk",
    )
    dimse_backlog: int = _setting(
        20_000,
        "instances of one receiving process that are on disk and have no index row yet, which grow in number "
        "while the database is away; beyond it senders are told to try again later",
    )
    patient_id_system: str = _setting(
        "", "identifier system of a DICOM PatientID without an issuer; needed before studies become FHIR"
    )
    patient_id_issuers: tuple[str, ...] = _setting(
        (),
        "identifier systems of PatientIDs, as ISSUER=SYSTEM; an issuer is its name, its OID or AE:TITLE",
    )
    commitment_verifies_hash: bool = _setting(
        False,
        "whether storage commitment reads every file again and compares its hash, besides looking that it is "
        "there in its full length",
    )
    availability_notify: tuple[str, ...] = _setting(
        (), "AE titles that are told (PS3.4 Annex R) which instances of a study are here once it is quiet"
    )
    study_quiet_s: float = _setting(5.0, "a study is announced once nothing has arrived for so long")
    study_quiet_max_s: float = _setting(30.0, "and at the latest after so long")
    accession_system: str = _setting(
        "", "identifier system of DICOM accession numbers that name no issuer; empty: they have no system"
    )
    deleted_grace_days: float = _setting(
        7.0, "how long the files of deleted DICOM instances are kept, so that they can be restored"
    )
    rejection_notes: tuple[str, ...] = _setting(
        (),
        "what DICOM Rejection Notes do, as CODE=hide, CODE=delete or CODE=keep; without an entry "
        "113001, 113037 and 113038 hide, 113039 deletes",
    )
    rejection_notes_from: tuple[str, ...] = _setting(
        ("*",), "AE titles whose Rejection Notes are carried out; *: those of everybody who may send"
    )
    forward_connections: int = _setting(2, "associations at once to one destination of forward rules")
    forward_threads: int = _setting(16, "associations at once to all destinations of forward rules together")
    forward_tries: int = _setting(
        10, "how often an instance that a destination refuses is sent to it before a person must decide"
    )
    forward_max_age_hours: float = _setting(
        168.0, "how long a destination that is not reached is tried before a person must decide"
    )
    disk_warn_percent: float = _setting(
        10.0,
        "percent of the data folder's disk; with less of it free, /readyz, the log and the console say so",
    )
    demonstration: bool = _setting(
        False, "models in the state demonstration answer; for trying out, never for patients"
    )
    cds_auth: str = _setting(
        "",
        "whether callers of decision services must show a JSON Web Token of a registered client (`xinglin "
        "cds client add`): required, optional (may, and then it must be good) or off; empty: required, "
        "unless all of base_url is this machine itself, then off. off with a public base_url is for a proxy "
        "that knows its callers itself, for example by mutual TLS",
    )
    cds_repeat_hours: float = _setting(
        24.0,
        "hours until a decision service shows a user the same card about a patient again; 0: at once",
    )
    cds_cards_a_day: int = _setting(
        100, "most cards that decision services show one user on a day, critical ones not counted; 0: any"
    )
    cds_input_days: float = _setting(
        365.0,
        "how long is kept what a CDS Hooks call was decided from; until then its cards can be computed again",
    )
    worker: bool = _setting(True, "whether the background worker is started")
    stop_grace_s: float = _setting(30.0, "how long running requests may take to finish when the server stops")
    log_requests: bool = _setting(
        True, "whether the log has a line for each request, received instance and other routine event"
    )
    dimse_find_limit: int = _setting(
        50_000, "most matches of one C-FIND; then it ends with status A700 (out of resources)"
    )
    time_zone: str = _setting("UTC", "zone of dates and times that come without one")
    max_body_bytes: int = _setting(64 * 1024 * 1024, "largest request body; a longer one answers 413")
    max_response_bytes: int = _setting(
        16 * 1024 * 1024,
        "most bytes of resources in one answer: a page of a search or history ends early with a next link, "
        "an entry of a batch tells that its body did not fit",
    )
    body_wait_s: float = _setting(
        30.0, "longest wait for the next 256 KiB of a request body; then the request answers 408"
    )
    max_binary_bytes: int = _setting(
        2 * 1024**3,
        "largest body of a Binary sent in its own media type, which is stored piece by piece; a longer one "
        "answers 413",
    )
    max_stow_bytes: int = _setting(
        16 * 1024**3, "largest body of a store over the web (STOW-RS), which is kept part by part; else 413"
    )
    max_form_bytes: int = _setting(
        1024 * 1024, "largest form of a search sent by POST; a longer one answers 413"
    )
    max_bundle_entries: int = _setting(20_000, "most entries of one batch or transaction")
    max_patch_bytes: int = _setting(8 * 1024 * 1024, "largest body of a PATCH; a longer one answers 413")
    max_patch_operations: int = _setting(10_000, "most operations of one patch")
    max_conditional_deletes: int = _setting(
        100,
        "most resources that one conditional delete deletes; it refuses (412) criteria that match more. "
        "1: a single match only",
    )
    upsert: bool = _setting(
        True, "whether an update may create a resource under an id that the client gives it; otherwise 405"
    )
    referential_integrity: str = _setting(
        "off",
        "references to resources of this server that lead to nothing, and deletions of what others refer to: "
        "off, warn (done, and told) or enforce (422, 409); see docs/rest.md before it is turned on later",
    )
    max_json_depth: int = _setting(64, "deepest nesting of a JSON body")
    job_threads: int = _setting(2, "asynchronous requests that the background worker carries out at once")
    job_result_hours: float = _setting(24.0, "how long the result of an asynchronous request is kept")
    job_statement_timeout_ms: int = _setting(600_000, "longest database statement of an asynchronous request")
    max_jobs: int = _setting(50, "asynchronous requests that one caller may have under way; more answer 429")
    statement_timeout_ms: int = _setting(30_000, "longest database statement of a request")
    default_count: int = _setting(20, "entries of a page when _count is not given")
    max_count: int = _setting(1000, "most entries of a page")
    max_includes: int = _setting(1000, "most resources that _include and _revinclude add to a page")
    total_budget_ms: int = _setting(
        2000,
        "longest count for _total=accurate and _summary=count; then the total is an estimate and says so",
    )
    full_text: tuple[str, ...] = _setting(
        ("*",),
        "types whose words are indexed for _text and _content: * is all, off is none, or for example "
        "DocumentReference,DiagnosticReport; what was stored before gets its words by $reindex",
    )
    reindex_rate: int = _setting(
        1000, "resources a second that a job indexes in the background; 0: as many as it can"
    )
    profile_policy: tuple[str, ...] = _setting(
        ("warn",),
        "what becomes of a write that breaks a profile it claims: off, warn (stored, and told) or reject "
        "(422); by type and endpoint (fhir, load, dicom, cds): `Patient=reject`, `load:*=off`; "
        "the most exact entry decides",
    )

    @classmethod
    def read(
        cls,
        environment: Mapping[str, str] | None = None,
        file: Path | None = None,
        flags: Mapping[str, Any] | None = None,
    ) -> Config:
        """Return the settings from flags, environment and file, in this order of strength.

        A flag of None counts as not given. Raises ConfigError for an unknown key of the
        file and for a value of the wrong form.
        """
        environment = os.environ if environment is None else environment
        known = {setting.name: setting for setting in fields(cls)}
        values: dict[str, Any] = {}
        if file is not None:
            try:
                values = tomllib.loads(file.read_text())
            except (OSError, tomllib.TOMLDecodeError) as error:
                raise ConfigError(f"{file} cannot be read as TOML: {error}") from error
            # A table holds the flags of one command, which cli/main.py reads.
            values = {name: value for name, value in values.items() if not isinstance(value, dict)}
            if unknown := sorted(values.keys() - known.keys()):
                names = ", ".join(sorted(known))
                raise ConfigError(f"{file}: {unknown[0]!r} is no setting; known are {names}")
        for name in known:
            if (text := environment.get(variable(name))) is not None:
                values[name] = text
        values.update({name: value for name, value in (flags or {}).items() if value is not None})
        return cls(**{name: _convert(known[name], value) for name, value in values.items()})._checked()

    def as_environment(self) -> dict[str, str]:
        """Return the variables from which `read` makes this value again: how a child process gets it.

        >>> Config.read(Config(base_url=("http://a", "http://b")).as_environment()).base_url
        ('http://a', 'http://b')
        """
        values = {setting.name: getattr(self, setting.name) for setting in fields(self)}
        return {
            variable(name): ",".join(value) if isinstance(value, tuple) else str(value)
            for name, value in values.items()
        }

    def _checked(self) -> Config:
        if self.auth not in ("off", "smart"):
            raise ConfigError(f"auth is {self.auth!r}; it can be smart or off")
        if self.cds_auth not in ("", "off", "optional", "required"):
            raise ConfigError(f"cds_auth is {self.cds_auth!r}; it can be off, optional or required")
        if self.dimse_durability not in ("journal", "index"):
            raise ConfigError(f"dimse_durability is {self.dimse_durability!r}; it can be journal or index")
        if not 0 < len(self.ae_title.strip()) <= 16 or not self.ae_title.isascii():
            raise ConfigError(f"ae_title is {self.ae_title!r}; it needs 1 to 16 ASCII characters")
        if bool(self.tls_cert) != bool(self.tls_key):
            raise ConfigError("tls_cert and tls_key go together; only one of them is set")
        self._check_dimse()
        for origin in self.fhir_cors_origins:
            if origin not in ("*", "off") and not re.fullmatch(r"https?://[^/\s]+", origin):
                raise ConfigError(
                    f"fhir_cors_origins has {origin!r}; write *, off, or origins such as https://app.example"
                )
        if unknown := [name for name in self.full_text if name not in ("*", "off") and not name.isalpha()]:
            raise ConfigError(f"full_text has {unknown[0]!r}; write *, off, or types such as Patient")
        for entry in self.patient_id_issuers:
            if not all(entry.partition("=")):
                raise ConfigError(
                    f"patient_id_issuers has {entry!r}; write for example HOSPITAL=urn:oid:1.2.3"
                )
        for name in (
            "workers",
            "threads",
            "default_count",
            "dimse_backlog",
            "max_count",
            "max_json_depth",
            "max_response_bytes",
            "max_conditional_deletes",
            "forward_connections",
            "forward_threads",
            "forward_tries",
            "dimse_workers",
            "dimse_max_associations",
            "dimse_max_associations_per_ae",
        ):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}; it must be 1 or more")
        try:
            ZoneInfo(self.time_zone)
        except (ZoneInfoNotFoundError, ValueError) as error:
            raise ConfigError(f"time_zone is {self.time_zone!r}; write for example Europe/Berlin") from error
        return self

    def _check_dimse(self) -> None:
        for name, known in (
            ("dimse_tls", ("off", "own-port", "same-port", "only")),
            ("dimse_tls_profile", ("bcp195", "extended")),
            ("dimse_tls_clients", ("required", "optional", "none")),
        ):
            if getattr(self, name) not in known:
                raise ConfigError(f"{name} is {getattr(self, name)!r}; it can be {', '.join(known)}")
        if self.dimse_tls == "off":
            return
        if not self.dimse_tls_cert or not self.dimse_tls_key:
            raise ConfigError(f"dimse_tls is {self.dimse_tls}; it needs dimse_tls_cert and dimse_tls_key")
        if self.dimse_tls_clients != "none" and not self.dimse_tls_ca:
            raise ConfigError(
                f"dimse_tls_clients is {self.dimse_tls_clients}; that needs dimse_tls_ca, whose authorities "
                "sign the certificates of callers"
            )


def variable(name: str) -> str:
    """Return the environment variable of a field.

    >>> variable("max_count")
    'XINGLIN_MAX_COUNT'
    """
    return f"XINGLIN_{name.upper()}"


def _convert(setting: Field[Any], value: Any) -> Any:
    """Bring a text or TOML value to the type that the field declares."""
    kind = setting.type
    try:
        if kind == "bool":
            return value if isinstance(value, bool) else _BOOLEANS[str(value).strip().lower()]
        if kind == "tuple[str, ...]":
            parts = value.split(",") if isinstance(value, str) else value
            return tuple(str(part).strip().rstrip("/") for part in parts if str(part).strip())
        return {"int": int, "float": float, "Path": Path}.get(str(kind), str)(value)
    except (KeyError, TypeError, ValueError) as error:
        raise ConfigError(f"{variable(setting.name)} is {value!r}, which is no {kind}") from error


_BOOLEANS = {
    **dict.fromkeys(("1", "true", "yes", "on"), True),
    **dict.fromkeys(("0", "false", "no", "off"), False),
}
