"""What the composition root wires of the decision services: their door, their pages, their records."""

from __future__ import annotations

from collections.abc import Callable
from zoneinfo import ZoneInfo

from flask import Flask

import cds_hooks.door
import cds_hooks.model_pages
import cds_hooks.pages
import cds_hooks.record_pages
from cds_hooks import registry
from cds_hooks.calls import Calls
from cds_hooks.client_trust import ClientTrust, mode
from cds_hooks.fhir_access import Access
from cds_hooks.monitoring.monitors import Monitors
from cds_hooks.operation.burden import Burden
from cds_hooks.operation.chores import Chores
from cds_hooks.operation.modes import Modes
from cds_hooks.operation.spool import Spool
from cds_hooks.records.clients import Clients
from cds_hooks.records.model_log import ModelLog
from cds_hooks.records.monitoring import Monitoring
from cds_hooks.records.store import Store
from cds_hooks.records.switches import Switches
from fhir_server.authorization.grant import Grant
from fhir_server.authorization.used_tokens import StoredTokens
from fhir_server.config import Config
from fhir_server.database.engine import Engine
from fhir_server.imaging import root_address
from fhir_server.interactions.entry import Entry
from fhir_server.rest.front import in_front

_STATEMENT_MS = 2000
"""A record that takes longer comes too late for every answer that waits for it."""


def mount(app: Flask, config: Config, entry: Entry) -> None:
    """Put the door of CDS Hooks and its pages of the console on the application."""
    # connections of their own: a call must not wait behind the searches of this process
    engine = Engine(
        config.database_url, size=3, statement_timeout_ms=_STATEMENT_MS, application_name="xinglin cds"
    )
    log = ModelLog(engine)
    services = registry.services([config.data_dir / "models"], demonstration=config.demonstration, log=log)
    burden = alert_burden(config)
    records = Store(engine, repeat_hours=burden.repeat_hours, most_a_day=burden.most_a_day)
    calls = Calls(
        services,
        records,
        access=Access(entry, entry.settings.base_urls, open_store=config.auth == "off"),
        modes=Modes(Switches(engine).newest),
        burden=burden,
        spool=spool(config),
    )
    door = cds_hooks.door.Door(calls, records, client_trust(config, engine, entry))
    app.wsgi_app = in_front(cds_hooks.door.PATH, door.wsgi, app.wsgi_app)  # type: ignore[method-assign, assignment]
    site = cds_hooks.pages.Site(entry, calls, Grant.anonymous, cds_address(config))
    app.register_blueprint(cds_hooks.pages.create(site))
    kept = cds_hooks.record_pages.Site(calls, entry, Grant.anonymous, entry.clock)
    app.register_blueprint(cds_hooks.record_pages.create(kept))
    app.register_blueprint(
        cds_hooks.model_pages.create(
            cds_hooks.model_pages.Site(services, log, Monitoring(engine), Grant.anonymous, entry.clock)
        )
    )


def client_trust(config: Config, engine: Engine, entry: Entry) -> ClientTrust:
    """Return who may call an installation, each of whose addresses a token may be made for."""
    base_urls = entry.settings.base_urls
    return ClientTrust(
        mode(config.cds_auth, base_urls),
        [url.removesuffix("/fhir") for url in base_urls],
        Clients(engine).all,
        StoredTokens(engine),
    )


def drains(config: Config, entry: Entry) -> dict[str, Callable[[], int]]:
    """Return the queues of the decision services that the background worker drains."""
    chores = Chores(entry, spool(config), config.cds_repeat_hours, config.cds_input_days).drains()
    monitors = Monitors(
        ModelLog(entry.engine), Monitoring(entry.engine), [config.data_dir / "models"], entry.clock
    )
    return {**chores, "cds-monitor": monitors.drain}


def alert_burden(config: Config) -> Burden:
    """Return how much an installation lets its services show."""
    return Burden(config.cds_repeat_hours, config.cds_cards_a_day, ZoneInfo(config.time_zone))


def spool(config: Config) -> Spool:
    """Return where records wait that the database did not take."""
    return Spool(config.data_dir / "cds-spool")


def cds_address(config: Config) -> str:
    """Return where the CDS Hooks services are, for people."""
    return f"{root_address(config)}/cds-services"
