"""The console's actions on studies: delete, restore, correct the patient; and the list of what was removed.

Each is a form that is sent by POST and answered with a redirect (RFC 9110 15.4.4). A form of another
site is refused: while authorization is off, being on this machine is all that a browser has to show.
"""

from __future__ import annotations

from datetime import timedelta
from urllib.parse import quote, urlsplit

from flask import Blueprint, redirect, render_template, request
from flask.typing import ResponseReturnValue

from dicom_node import audit
from dicom_node.lifecycle import correction, removal, restore
from dicom_node.lifecycle.removal import Kind, Order, Target
from dicom_node.pages import STUDIES, Site
from fhir_server.authorization.permit import permit
from fhir_server.database.engine import Mode
from fhir_server.outcome import Forbidden, Invalid

REMOVED = f"{STUDIES}/removed"
MOST_SHOWN = 200
_FIELDS = {
    "patient_id": "PatientID",
    "patient_name": "PatientName",
    "issuer": "IssuerOfPatientID",
    "birth_date": "PatientBirthDate",
    "sex": "PatientSex",
    "accession": "AccessionNumber",
}


def create(site: Site, grace: timedelta) -> Blueprint:
    """Return the blueprint; `grace` is how long the files of what is deleted are kept."""
    made = Blueprint("study_actions", __name__, template_folder="templates")
    made.add_url_rule(REMOVED, "removed", lambda: removed(site))
    made.add_url_rule(
        f"{STUDIES}/<uid>/delete", "delete", lambda uid: delete(site, uid, grace), methods=["POST"]
    )
    made.add_url_rule(f"{STUDIES}/<uid>/correct", "correct", lambda uid: correct(site, uid), methods=["POST"])
    made.add_url_rule(
        f"{REMOVED}/<int:number>/restore", "restore", lambda number: again(site, number), methods=["POST"]
    )
    made.before_request(_of_our_own)
    return made


def removed(site: Site) -> ResponseReturnValue:
    """What was deleted, rejected or has expired, the newest first."""
    permit(site.caller(), "search-type", "ImagingStudy")
    with site.entry.engine.connection(Mode.SINGLE) as connection:
        found = removal.removals(connection, request.args.get("study", ""), MOST_SHOWN)
    return render_template("dicom/removed.html", removals=found, studies=STUDIES)


def delete(site: Site, uid: str, grace: timedelta) -> ResponseReturnValue:
    """Delete a study, or the series that the form names."""
    now = site.entry.clock()
    order = Order(
        Kind.DELETED,
        [Target(uid, request.form.get("series", "").strip())],
        site.caller(),
        request.form.get("reason", ""),
        now,
        now + grace,
        party=_party(),
    )
    removal.remove(site.entry.engine, order)
    return redirect(f"{REMOVED}?study={quote(uid)}", 303)


def again(site: Site, number: int) -> ResponseReturnValue:
    """Lift a removal; the worker brings back what its files still hold."""
    restore.lift(site.entry.engine, site.caller(), number, site.entry.clock(), _party())
    return redirect(REMOVED, 303)


def correct(site: Site, uid: str) -> ResponseReturnValue:
    """Order a correction of the patient; the worker carries it out. Fields left empty stay as they are."""
    wanted = {
        name: value for field, name in _FIELDS.items() if (value := request.form.get(field, "").strip())
    }
    if "PatientBirthDate" in wanted:
        wanted["PatientBirthDate"] = wanted["PatientBirthDate"].replace("-", "")
    if not wanted:
        raise Invalid("nothing was filled in; what stays empty is not changed")
    reason = request.form.get("reason", "")
    correction.order(site.entry.engine, site.caller(), uid, wanted, reason, site.entry.clock())
    return redirect(f"{STUDIES}/{quote(uid)}", 303)


def _of_our_own() -> None:
    """Refuse a form that another site has sent (Fetch Metadata, RFC 6454)."""
    if request.method != "POST":
        return
    origin = request.headers.get("Origin")
    site = request.headers.get("Sec-Fetch-Site", "same-origin")
    if site not in ("same-origin", "none") or (origin and urlsplit(origin).netloc != request.host):
        raise Forbidden("this form was not sent by a page of this server")


def _party() -> audit.Party:
    return audit.Party(address=request.remote_addr or "", requestor=True)
