"""The orders that a study carries out: ServiceRequests, by the UID minted for them or by accession number.

IHE RAD SWF.b: the Study Instance UID is made when the order is placed, so it finds its order without an
accession number. One study may carry out several orders (grouped procedure): each request in its
series counts.
"""

from __future__ import annotations

from dicom_node.bridge.codes import clean, items, text
from dicom_node.bridge.imaging_study import UID_SYSTEM, accession_identifier, study_identifier
from dicom_node.bridge.patient import token
from dicom_node.index.studies import Study
from fhir_server.interactions.context import Context
from fhir_server.interactions.search_type import resources

MOST_ORDERS = 20


def orders(context: Context, found: Study, subject: str, accession_system: str = "") -> list[str]:
    """Return references to the ServiceRequests that ordered a study; what is not certain is left out.

    An accession number whose issuer has a system is looked for with that system; without one, among the
    subject's orders. More than one match is none.
    """
    matches = resources(
        context, "ServiceRequest", [("identifier", token(UID_SYSTEM, study_identifier(found.study_uid)))]
    )
    if matches:
        return [f"ServiceRequest/{one['id']}" for one in matches[:MOST_ORDERS]] if len(matches) == 1 else []
    references: list[str] = []
    for system, value in accessions(found, accession_system):
        pairs = [("identifier", token(system, value) if system else token("", value)[1:])]
        asked = resources(context, "ServiceRequest", [*pairs, ("subject", subject), ("_count", "2")])
        if not asked and system:  # orders seldom say the issuer of their accession numbers
            pairs = [("identifier", token("", value)[1:]), ("subject", subject), ("_count", "2")]
            asked = [
                one for one in resources(context, "ServiceRequest", pairs) if _no_other(one, system, value)
            ]
        if len(asked) == 1:
            references.append(f"ServiceRequest/{asked[0]['id']}")
    return list(dict.fromkeys(references))[:MOST_ORDERS]


def accessions(found: Study, accession_system: str) -> list[tuple[str, str]]:
    """Return system and value of every accession number that a study and its series give."""
    stated = [accession_identifier(found.attributes, found.accession, accession_system)]
    for series in found.series:
        for item in items(series.attributes, "00400275"):
            stated.append(accession_identifier(item, text(item, "00080050"), accession_system))
    pairs = [(str(one.get("system", "")), clean(str(one["value"]))) for one in stated if one]
    return list(dict.fromkeys(pairs))[:MOST_ORDERS]


def _no_other(order: dict[str, object], system: str, value: str) -> bool:
    """Whether an order does not give this accession number to another issuer."""
    identifiers = order.get("identifier", [])
    assert isinstance(identifiers, list)
    systems = {one.get("system") for one in identifiers if one.get("value") == value}
    return bool(systems & {None, "", system}) or not any(
        str(one or "").startswith(("urn:oid:", "urn:uuid:", "urn:xinglin:issuer:")) for one in systems
    )
