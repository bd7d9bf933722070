"""The check of `doctor` on models: what is in use lies on disk as it was approved, and does not drift."""

from __future__ import annotations

from collections.abc import Iterator

from cds_hooks.models import catalogue, states
from cds_hooks.models.catalogue import ReleaseError
from cds_hooks.records.model_log import ModelLog
from cds_hooks.records.monitoring import Monitoring
from fhir_server.cli.checks import Finding
from fhir_server.cli.model_place import MODELS, folders
from fhir_server.config import Config
from fhir_server.database.engine import Engine, Mode


def models(config: Config, url: str) -> Iterator[Finding]:
    """Each model: which release is in use, whether it is whole, what the monitors last said."""
    engine = Engine(url, size=1)
    try:
        with engine.connection(Mode.SINGLE) as connection, connection.cursor() as cursor:
            cursor.execute("SELECT to_regclass('cds_model_event')")
            if cursor.fetchone()[0] is None:
                return  # the schema is older; its own check says so
        for model in MODELS:
            yield from _model(config, engine, model)
    finally:
        engine.close()


MODEL = (models,)


def _model(config: Config, engine: Engine, model: str) -> Iterator[Finding]:
    subject = f"model {model}"
    events = ModelLog(engine).events(model)
    found = [release for release in catalogue.releases(folders(config)) if release.model == model]
    serving = states.line(found, events).serving
    if serving is None:
        newest = next((event for event in reversed(events) if event.state in ("active", "shadow")), None)
        if newest is None:
            yield Finding(subject, "ok", "no release is in use; `xinglin model list` shows what there is")
            return
        try:
            catalogue.find(folders(config), model, newest.version)
            what = "another release of this number lies there"
        except ReleaseError as error:
            what = str(error)
        yield Finding(
            subject, "broken",
            f"version {newest.version} is {newest.state} and does not answer: {what}; bring the release back"
            " from a backup, or retire it",
        )  # fmt: skip
        return
    if not serving.fits:
        yield Finding(
            subject, "broken",
            f"version {serving.version} is {serving.state} and does not answer: it was made with another"
            " feature table than this program has; train it anew",
        )  # fmt: skip
        return
    report = Monitoring(engine).newest_report(serving)
    if report is not None and report.level in ("warning", "demotion"):
        said = "; ".join(report.report["reasons"])
        yield Finding(subject, "advice", f"version {serving.version} is {serving.state}, and drifts: {said}")
    else:
        yield Finding(subject, "ok", f"version {serving.version} is {serving.state} and whole")
