"""The composition root: the one room that knows all the others and wires them."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from flask import Flask

from fhir_server.config import Config
from fhir_server.database.engine import Engine, Mode
from fhir_server.outcome import Unavailable
from fhir_server.rest import health
from fhir_server.rest.health import Check

LEAST_FREE_BYTES = 256 * 1024 * 1024


def create_app(config: Config) -> Flask:
    """Return the WSGI application of one HTTP worker; opens no connection yet."""
    app = Flask("xinglin", static_folder=None)
    engine = Engine(
        config.database_url,
        size=config.threads,
        statement_timeout_ms=config.statement_timeout_ms,
        application_name="xinglin http",
    )
    app.register_blueprint(health.blueprint(readiness(engine, config), numbers_folder(config)))
    return app


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
        free = shutil.disk_usage(config.data_dir).free
        return (
            None if free >= LEAST_FREE_BYTES else f"only {free // 2**20} MiB are free under the data folder"
        )

    return {"database": database, "disk": disk}


def numbers_folder(config: Config) -> Path:
    """Return the folder where the processes of this installation keep their metrics."""
    return config.data_dir / "run" / "metrics"


def create_drains(config: Config) -> dict[str, Callable[[], int]]:
    """Return the queues of the background worker: name → function that takes the next few entries."""
    return {}
