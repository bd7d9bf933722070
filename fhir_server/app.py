"""The composition root: the one room that knows all the others and wires them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from zoneinfo import ZoneInfo

from flask import Flask

from dicom_node.workflow import changes as worklist_changes
from fhir_server import decision_support, imaging
from fhir_server.config import Config, ConfigError
from fhir_server.console.pages import Room, Site, State
from fhir_server.console.pages import blueprint as console
from fhir_server.database.activity import Activity
from fhir_server.database.engine import Engine, Mode
from fhir_server.definitions.core import Core
from fhir_server.definitions.structures import is_resource_type, resource_types
from fhir_server.interactions import integrity
from fhir_server.interactions.capabilities import Capabilities
from fhir_server.interactions.context import Settings, utc_now
from fhir_server.interactions.entry import Entry
from fhir_server.interactions.policy import Policy
from fhir_server.interactions.registry import Registry
from fhir_server.interactions.reindex import Reindexer
from fhir_server.observability import events, heartbeat
from fhir_server.observability.disk import Watch, fills
from fhir_server.observability.disk import warning as disk_warning
from fhir_server.operations.calls import prepare
from fhir_server.operations.registry import definitions, offered
from fhir_server.outcome import Unavailable
from fhir_server.rest import health
from fhir_server.rest.async_run import Runner
from fhir_server.rest.door import Door
from fhir_server.rest.front import in_front
from fhir_server.rest.handlers import BUILT, Installation
from fhir_server.rest.health import Check, Warned
from fhir_server.rest.routes import BASE
from fhir_server.search.index import Indexer
from fhir_server.search.types.protocol import Environment
from terminology.terms import Terms

ROOMS = (
    Room("Patients", "/console/patients"),
    Room("Studies", "/console/studies"),
    Room("DICOM", "/console/dicom"),
    Room("Decision support", "/console/cds"),
    Room("Server", "/console/jobs"),
)

LEAST_FREE_BYTES = 256 * 1024 * 1024


def create_app(config: Config) -> Flask:
    """Return the WSGI application of one HTTP worker; opens no connection yet."""
    app = Flask("xinglin", static_folder=None)
    started = utc_now()
    entry = create_entry(config, config.database_url, connections=config.threads)
    capabilities = Capabilities(entry.settings, BUILT, started, auth=config.auth, operations=offered())
    door = Door(Installation(entry, config, capabilities), _observe)
    app.wsgi_app = in_front(BASE, door.wsgi, app.wsgi_app)  # type: ignore[method-assign, assignment]
    imaging.mount(app, config, entry)
    ready = readiness(entry.engine, config)
    app.register_blueprint(console(Site(entry, config, ROOMS, started, lambda: _states(ready))))
    decision_support.mount(app, config, entry)
    app.register_blueprint(health.blueprint(ready, numbers_folder(config)))
    return app


def create_runners(config: Config, stopping: Callable[[], bool]) -> list[Runner]:
    """Return who carries out asynchronous requests in the background worker, each in a thread of its own."""
    slow = replace(config, statement_timeout_ms=config.job_statement_timeout_ms)
    # each holds a connection for its lock, one for its unit and one for what it writes down meanwhile
    entry = create_entry(slow, config.database_url, connections=3 * config.job_threads)
    capabilities = Capabilities(entry.settings, BUILT, utc_now(), auth=config.auth, operations=offered())
    here = Installation(entry, config, capabilities)
    return [Runner(here, stopping) for _ in range(config.job_threads)]


def create_entry(config: Config, database_url: str, *, connections: int) -> Entry:
    """Return the way into the interactions of the installation whose database is at `database_url`."""
    base_urls = config.base_url or (f"http://{config.host}:{config.port}/fhir",)
    environment = Environment(
        zone=ZoneInfo(config.time_zone), base_urls=base_urls, full_text=full_text(config.full_text)
    )
    settings = Settings(
        base_urls=base_urls,
        indexer=Indexer(environment=environment, references=config.referential_integrity != "off"),
        default_count=config.default_count,
        max_count=config.max_count,
        max_includes=config.max_includes,
        total_budget_ms=config.total_budget_ms,
        max_bundle_entries=config.max_bundle_entries,
        max_patch_operations=config.max_patch_operations,
        max_resource_bytes=config.max_body_bytes,
        max_conditional_deletes=config.max_conditional_deletes,
        upsert=config.upsert,
        referential_integrity=integrity.action(config.referential_integrity),
        max_response_bytes=config.max_response_bytes,
        operations=prepare,
        operation_definitions=definitions(base_urls[0]),
        registry=create_registry(config, database_url),
        policy=Policy(config.profile_policy),
        reindex_rate=config.reindex_rate,
    )
    engine = Engine(
        database_url,
        size=connections,
        statement_timeout_ms=config.statement_timeout_ms,
        application_name="xinglin",
    )
    return Entry(engine, settings, utc_now, listeners=(worklist_changes.notice,))


def full_text(names: Sequence[str]) -> frozenset[str]:
    """Return the types that the setting full_text names; raises ConfigError for what is no type."""
    if "off" in names:
        return frozenset()
    for name in names:
        if name != "*" and not is_resource_type(name):
            raise ConfigError(f"full_text names {name!r}, which is no resource type of R4")
    return frozenset(resource_types() if "*" in names else names)


def create_registry(config: Config, database_url: str) -> Registry:
    """Return what a process of the installation knows of its definitions."""
    lookups = Engine(
        database_url,
        size=1,
        statement_timeout_ms=config.statement_timeout_ms,
        application_name="xinglin definitions",
    )
    return Registry(lookups, (Core(),), lambda conformance: Terms(conformance.find))


def _observe(
    interaction: str, method: str, type_name: str, status: int, seconds: float, bytes_out: int
) -> None:
    events.emit(events.RequestServed(method, interaction, type_name, status, seconds * 1000, bytes_out))


def _states(checks: dict[str, Check]) -> list[State]:
    """Return the readiness checks as lines of the console's server page."""
    states = []
    for name, check in checks.items():
        problem = check()
        degraded = isinstance(problem, Warned)
        states.append(State(name, problem is None or degraded, problem or "", degraded))
    return states


def readiness(engine: Engine, config: Config) -> dict[str, Check]:
    """Return the parts of /readyz: each says what is wrong, or None."""

    def database() -> str | None:
        try:
            with engine.connection(Mode.SINGLE) as connection:
                connection.cursor().execute("SELECT 1")
        except Unavailable as error:
            return str(error)
        return None

    def disk() -> str | None:
        found = fills(config.data_dir)
        free = min((fill.free_bytes for fill in found), default=0)
        if free < LEAST_FREE_BYTES:
            return f"only {free // 2**20} MiB are free under the data folder"
        warned = disk_warning(found, config.disk_warn_percent)
        return Warned(warned) if warned else None

    def queue() -> str | None:
        return heartbeat.problem(worker_heartbeat(config), "the background worker") if config.worker else None

    return {"database": database, "disk": disk, "queue": queue}


def worker_heartbeat(config: Config) -> Path:
    """Return the file by which the background worker shows that it lives."""
    return config.data_dir / "run" / "worker.beat"


def numbers_folder(config: Config) -> Path:
    """Return the folder where the processes of this installation keep their metrics."""
    return config.data_dir / "run" / "metrics"


def create_drains(config: Config) -> dict[str, Callable[[], int]]:
    """Return the queues of the background worker: name → function that takes the next few entries."""
    entry = create_entry(config, config.database_url, connections=4)
    return {
        **imaging.drains(config, entry),
        **decision_support.drains(config, entry),
        "reindex": Reindexer(entry).drain,
        "disk": Watch(config.data_dir, config.disk_warn_percent).drain,
    }


def create_activity(config: Config) -> Activity:
    """Return what knows whether anything happens in the installation."""
    return Activity(Engine(config.database_url, size=1, application_name="xinglin activity"))


def create_workflow_drains(config: Config) -> dict[str, Callable[[], int]]:
    """Return the queues that a modality waits for; each is drained in a thread of its own."""
    return imaging.workflow_drains(config, create_entry(config, config.database_url, connections=8))
