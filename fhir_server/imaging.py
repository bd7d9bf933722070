"""What the composition root wires of the DICOM node: its doors, its pages and its queues."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Any
from zoneinfo import ZoneInfo

from flask import Flask

import dicom_node.dicomweb.blueprint
import dicom_node.dicomweb.deletion
import dicom_node.dicomweb.storage
import dicom_node.dicomweb.workitems
import dicom_node.network_pages
import dicom_node.pages
import dicom_node.study_actions
from dicom_node.audit_log import AuditLog
from dicom_node.bridge import followed
from dicom_node.bridge.audit_drain import AuditDrain
from dicom_node.bridge.drain import Bridge, BridgeSettings
from dicom_node.bridge.followed import Followed
from dicom_node.dicomweb.metadata_drain import MetadataDrain
from dicom_node.dicomweb.stow import Storing
from dicom_node.dimse.delivery import Delivery
from dicom_node.dimse.destinations import Destinations
from dicom_node.dimse.secure import as_client
from dicom_node.files.store import FileStore
from dicom_node.forward.worker import Forwarder, ForwardSettings
from dicom_node.index.studies import Study
from dicom_node.ingest import Durability, Ingest
from dicom_node.lifecycle import rejection
from dicom_node.lifecycle.drain import Lifecycle
from dicom_node.lifecycle.drain import Settings as LifecycleSettings
from dicom_node.lifecycle.rejection import Rules
from dicom_node.way_in import WayIn
from dicom_node.workflow import availability, orders
from dicom_node.workflow.chart import WorkflowSettings
from dicom_node.workflow.commitment import Checks
from dicom_node.workflow.orders import Orders
from dicom_node.workflow.procedures import Procedures
from dicom_node.workitems.service import Worklist
from fhir_server.authorization.grant import Grant
from fhir_server.config import Config, ConfigError
from fhir_server.database.engine import Engine
from fhir_server.interactions.context import utc_now
from fhir_server.interactions.entry import Entry
from fhir_server.jobs.drains import Stream


def mount(app: Flask, config: Config, entry: Entry) -> None:
    """Put the doors of the DICOM node on the application: DICOMweb and its pages of the console."""
    audit_log = AuditLog(entry.engine, entry.clock)
    app.register_blueprint(
        dicom_node.dicomweb.blueprint.create(
            entry.engine,
            dicom_files(config),
            dicomweb_address(config),
            Grant.anonymous,
            {
                **dicom_node.dicomweb.deletion.routes(
                    entry.engine, timedelta(days=config.deleted_grace_days), Grant.anonymous
                ),
                **dicom_node.dicomweb.storage.routes(storing(config, entry, audit_log), Grant.anonymous),
                **dicom_node.dicomweb.workitems.routes(
                    Worklist(entry.engine, entry.clock), dicomweb_address(config), Grant.anonymous
                ),
            },
            config.time_zone,
        ),
        url_prefix="/dicom-web",
    )
    studies = dicom_node.pages.Site(entry, Grant.anonymous, dicomweb_address(config))
    app.register_blueprint(dicom_node.pages.create(studies))
    app.register_blueprint(
        dicom_node.study_actions.create(studies, timedelta(days=config.deleted_grace_days))
    )
    app.register_blueprint(dicom_node.network_pages.create(network_site(config, entry)))


def drains(config: Config, entry: Entry) -> dict[str, Callable[[], int]]:
    """Return the queues of the node that the background worker drains."""
    return {
        "dicom-patients": Stream(Followed(entry).drain, followed.ENTRIES_AT_A_TIME),
        "dicom-bridge": Bridge(
            entry, bridge_settings(config), dicom_files(config), told=partial(_notify, config)
        ).drain,
        "dicom-lifecycle": create_lifecycle(config, entry.engine).drain,
        "dicom-metadata": MetadataDrain(
            entry.engine, dicom_files(config), dicomweb_address(config), utc_now
        ).drain,
        "dicom-audit": AuditDrain(entry, bridge_settings(config), config.ae_title).drain,
        "dicom-forward": create_forwarder(config).drain,
    }


def workflow_drains(config: Config, entry: Entry) -> dict[str, Callable[[], int]]:
    """Return the queues that a modality waits for; each is drained in a thread of its own."""
    settings = workflow_settings(config)
    checks = Checks(dicom_files(config), config.ae_title, entry.clock, hashes=config.commitment_verifies_hash)
    delivery = Delivery(
        entry.engine, Destinations(entry.engine, as_client(config)), config.ae_title.strip(), entry.clock
    )
    return {
        "worklist": Stream(Orders(entry, settings).drain, orders.AT_A_TIME),
        "performed-steps": Procedures(entry, settings).drain,
        "storage-commitment": lambda: checks.drain(entry.engine),
        "dicom-messages": delivery.drain,
    }


def _notify(config: Config, cursor: Any, study: Study) -> None:
    availability.tell(cursor, config.availability_notify, study, config.ae_title.strip(), utc_now())


def network_site(config: Config, entry: Entry) -> dicom_node.network_pages.Site:
    """Return what the console's pages of the DICOM network stand on."""
    return dicom_node.network_pages.Site(
        entry,
        Grant.anonymous,
        dicom_files(config),
        Destinations(entry.engine, as_client(config)),
        config.ae_title.strip(),
        f"{config.dimse_host}:{config.dimse_port}" if config.dimse else "",
        config.data_dir,
        config.disk_warn_percent,
        ZoneInfo(config.time_zone),
    )


def workflow_settings(config: Config) -> WorkflowSettings:
    """Return how orders become a worklist in this installation."""
    return WorkflowSettings(
        zone=ZoneInfo(config.time_zone),
        patient_id_system=config.patient_id_system,
        issuers={entry.partition("=")[0]: entry.partition("=")[2] for entry in config.patient_id_issuers},
    )


def create_lifecycle(config: Config, engine: Engine) -> Lifecycle:
    """Return what carries out removals, corrections and retention in this installation."""
    settings = LifecycleSettings(timedelta(days=config.deleted_grace_days), rejection_rules(config))
    return Lifecycle(engine, dicom_files(config), settings, utc_now)


def rejection_rules(config: Config) -> Rules:
    """Return what Rejection Notes do here; raises ConfigError for a setting that is none."""
    grace = timedelta(days=config.deleted_grace_days)
    try:
        return rejection.rules(config.rejection_notes, config.rejection_notes_from, grace)
    except ValueError as error:
        raise ConfigError(str(error)) from error


def create_forwarder(config: Config) -> Forwarder:
    """Return who sends on what the forward rules ask for; it has connections of its own."""
    engine = Engine(
        config.database_url,
        size=2 + 2 * config.forward_threads,
        statement_timeout_ms=config.statement_timeout_ms,
        application_name="xinglin forward",
    )
    settings = ForwardSettings(
        config.ae_title.strip(),
        connections=config.forward_connections,
        threads=config.forward_threads,
        tries=config.forward_tries,
        max_age_hours=config.forward_max_age_hours,
        zone=ZoneInfo(config.time_zone),
    )
    return Forwarder(engine, dicom_files(config), Destinations(engine, as_client(config)), settings, utc_now)


def storing(config: Config, entry: Entry, log: AuditLog) -> Storing:
    """Return what a store over the web works with; it is indexed in batches before its answer."""

    def ingest() -> Ingest:
        engine = Engine(config.database_url, size=2, application_name="xinglin stow")
        return Ingest(dicom_files(config), engine, entry.clock, Durability.JOURNAL, config.dimse_backlog)

    return Storing(WayIn(ingest), log, dicomweb_address(config), config.ae_title, config.max_stow_bytes)


def bridge_settings(config: Config) -> BridgeSettings:
    """Return how studies become FHIR in this installation."""
    return BridgeSettings(
        quiet_s=config.study_quiet_s,
        quiet_max_s=config.study_quiet_max_s,
        patient_id_system=config.patient_id_system,
        address=dicomweb_address(config),
        issuers={entry.partition("=")[0]: entry.partition("=")[2] for entry in config.patient_id_issuers},
        zone=ZoneInfo(config.time_zone),
        accession_system=config.accession_system,
        rejection=rejection_rules(config),
    )


def dicomweb_address(config: Config) -> str:
    """Return where DICOMweb is, for links and the Endpoint."""
    return f"{root_address(config)}/dicom-web"


def dicom_files(config: Config) -> FileStore:
    """Return the folder of the DICOM files."""
    return FileStore(config.data_dir / "dicom", direct=config.dicom_direct_io)


def root_address(config: Config) -> str:
    """Return the public address of the installation, without a slash at the end."""
    base = config.base_url[0] if config.base_url else f"http://{config.host}:{config.port}"
    return base.removesuffix("/fhir")
