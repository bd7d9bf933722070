"""The console's pages of the DICOM network: who answers, what waits and failed, what was refused.

They name application entities, counts and our own reasons. A button is a POST of a form of this
server; a form on somebody else's page is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from flask import Blueprint, Response, redirect, render_template, request, send_file
from flask.typing import ResponseReturnValue

from dicom_node import audit, failures, quarantine
from dicom_node.dimse import peers
from dicom_node.dimse.destinations import Destinations
from dicom_node.dimse.peers import Peer
from dicom_node.dimse.verify import Echoed, verify
from dicom_node.files.store import FileStore
from dicom_node.forward import overview, queue, rules
from fhir_server.authorization.grant import Grant
from fhir_server.authorization.permit import permit
from fhir_server.database.engine import Mode
from fhir_server.interactions.entry import Entry
from fhir_server.observability import disk
from fhir_server.outcome import Forbidden, Invalid, NotFound

NETWORK: Final = "/console/dicom"
MOST_SHOWN: Final = 100


@dataclass(frozen=True, slots=True)
class Site:
    """What the pages stand on; `listening` is where DIMSE listens, "" where it does not."""

    entry: Entry
    caller: Callable[[], Grant]
    files: FileStore
    destinations: Destinations
    ae_title: str
    listening: str
    data_dir: Path
    disk_warn_percent: float
    zone: ZoneInfo

    def time(self, moment: datetime | None) -> str:
        """Return a moment as people of this installation write it, "" for none."""
        return f"{moment.astimezone(self.zone):%d %b %H:%M:%S}" if moment else ""

    def may(self, interaction: str, type_name: str = "Endpoint") -> None:
        """Raise Forbidden unless the caller may do this with the network, which FHIR knows as Endpoints."""
        permit(self.caller(), interaction, type_name)


@dataclass(frozen=True, slots=True)
class Known:
    """One application entity of the list."""

    title: str
    host: str
    port: int | None
    rights: str
    marks: Sequence[str]
    callable: bool


@dataclass(frozen=True, slots=True)
class DiskRow:
    """How full one disk is, in words."""

    part: str
    used_percent: int
    free: str
    total: str
    low: bool


def create(site: Site) -> Blueprint:
    """Return the blueprint of the pages, to be mounted at the root beside the console's."""
    made = Blueprint("dicom_network", __name__, template_folder="templates")
    made.add_url_rule(NETWORK, "network", lambda: network(site))
    made.add_url_rule(f"{NETWORK}/echo", "echo", lambda: echo(site), methods=["POST"])
    made.add_url_rule(f"{NETWORK}/queue", "queue", lambda: waiting(site))
    made.add_url_rule(f"{NETWORK}/queue/retry", "retry", lambda: retry(site), methods=["POST"])
    made.add_url_rule(f"{NETWORK}/quarantine", "quarantine", lambda: refused(site))
    made.add_url_rule(f"{NETWORK}/quarantine/<id_>", "download", lambda id_: download(site, id_))
    return made


def network(site: Site, echoed: Echoed | None = None, title: str = "") -> ResponseReturnValue:
    """The application entities, what failed last, and how full the disk is."""
    site.may("search")
    known = [_known(peer) for peer in peers.peers(site.entry.engine)]
    with site.entry.engine.connection(Mode.SINGLE) as connection:
        failed = failures.recent(connection, MOST_SHOWN)
    fills = disk.fills(site.data_dir)
    return render_template(
        "dicom/network.html",
        part="network",
        ae_title=site.ae_title,
        listening=site.listening,
        known=known,
        echoed=echoed,
        echoed_title=title,
        failures=[(each, site.time(each.last_at)) for each in failed],
        disks=[_disk_row(fill, site.disk_warn_percent) for fill in fills],
        warning=disk.warning(fills, site.disk_warn_percent),
    )


def echo(site: Site) -> ResponseReturnValue:
    """C-ECHO an application entity of the list, and show what came of it."""
    site.may("update")
    _same_origin()
    title = peers.checked_title(request.form.get("title", ""))
    remote = site.destinations.find(title)
    if remote is None:
        raise NotFound(f"no application entity {title} with a host and a port is listed")
    return network(site, verify(remote, site.ae_title, site.destinations.tls), title)


def waiting(site: Site) -> ResponseReturnValue:
    """The forward queue: each destination, and what was given up."""
    site.may("search")
    with site.entry.engine.connection(Mode.SINGLE) as connection:
        places = overview.destinations(connection)
        failed = overview.failed(connection, MOST_SHOWN)
        there = rules.rules(connection)
    now = site.entry.clock()
    return render_template(
        "dicom/queue.html",
        part="queue",
        places=[
            (
                place,
                site.time(place.last_sent_at),
                site.time(place.rests_until if place.rests_until and place.rests_until > now else None),
            )
            for place in places
        ],
        failed=[(job, site.time(job.queued_at)) for job in failed],
        rules=there,
        retried=request.args.get("retried", ""),
    )


def retry(site: Site) -> ResponseReturnValue:
    """Let a job that was given up be tried again, or all of a destination, or a destination that rests."""
    site.may("update")
    _same_origin()
    number = request.form.get("job", "0")
    if not number.isascii() or not number.isdigit():
        raise Invalid(f"{number!r} is no number of a job")
    title = request.form.get("destination", "")
    with site.entry.engine.connection() as connection:
        count = queue.retry(
            connection, site.entry.clock(), peers.checked_title(title) if title else "", int(number)
        )
    return redirect(f"{NETWORK}/queue?retried={count}", 303)


def refused(site: Site) -> ResponseReturnValue:
    """What could not be understood, the newest first."""
    site.may("search", "ImagingStudy")
    found = list(islice(quarantine.refused(site.files), MOST_SHOWN + 1))
    return render_template(
        "dicom/quarantine.html",
        part="quarantine",
        rows=[(each, site.time(datetime.fromisoformat(each.received_at))) for each in found[:MOST_SHOWN]],
        more=len(found) > MOST_SHOWN,
    )


def download(site: Site, id_: str) -> ResponseReturnValue:
    """The file of an object in quarantine, which may hold anything, so it is only ever saved."""
    site.may("read", "ImagingStudy")
    found = quarantine.find(site.files, id_)
    if found is None:
        raise NotFound("no such object is in quarantine")
    told = audit.Event(
        audit.Kind.EXPORT,
        site.entry.clock(),
        source=audit.Party(site.ae_title),
        destination=audit.Party(
            address=request.remote_addr or "", user=site.caller().subject, requestor=True
        ),
        reason=f"quarantined object {id_} was downloaded",
    )
    with site.entry.engine.connection() as connection:
        audit.note(connection.cursor(), told)
        connection.commit()
    answer: Response = send_file(
        found[1].absolute(), "application/octet-stream", as_attachment=True, download_name=f"{id_}.dcm"
    )
    return answer


def _same_origin() -> None:
    """Raise Forbidden when a browser says that the form stood on another site's page."""
    site = request.headers.get("Sec-Fetch-Site", "same-origin")
    origin = request.headers.get("Origin", "")
    if site not in ("same-origin", "none") or (origin and urlsplit(origin).netloc != request.host):
        raise Forbidden("this form belongs on a page of this server")


def _known(peer: Peer) -> Known:
    rights = "all" if peers.ALL in peer.rights else ", ".join(sorted(peer.rights))
    marks = [
        *(["TLS"] if peer.tls else []),
        *(["certificate"] if peer.certificate else []),
        *(["user"] if peer.user_name else []),
        *([f"calls us {peer.called_title}"] if peer.called_title else []),
    ]
    reachable = peer.port is not None and peer.host != peers.ANY_HOST
    return Known(peer.title, "anywhere" if peer.host == peers.ANY_HOST else peer.host, peer.port, rights,
                 marks, reachable)  # fmt: skip


def _disk_row(fill: disk.Fill, warn_percent: float) -> DiskRow:
    """Return the line of a disk.

    >>> _disk_row(disk.Fill("data", 100 * 2**30, 25 * 2**30), 10)
    DiskRow(part='Data folder', used_percent=75, free='25.0 GiB', total='100.0 GiB', low=False)
    """
    return DiskRow(
        "Data folder" if fill.part == "data" else "DICOM files",
        round(fill.used_percent),
        f"{fill.free_bytes / 2**30:.1f} GiB",
        f"{fill.total_bytes / 2**30:.1f} GiB",
        fill.lacking_bytes(warn_percent) > 0,
    )
