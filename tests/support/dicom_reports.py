"""Structured reports, documents and key objects for tests, built by pydicom."""

from __future__ import annotations

from typing import Any

from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from tests.support.dicom_data import ROOT_UID, ct

SR = "1.2.840.10008.5.1.4.1.1.88."
CT_CLASS = "1.2.840.10008.5.1.4.1.1.2"


def code(value: str, scheme: str, meaning: str) -> Dataset:
    """Return a code item."""
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    return item


def item(
    kind: str, name: tuple[str, str, str] | None, value: Any = None, *children: Dataset, by: str = "CONTAINS"
) -> Dataset:
    """Return a content item; `value` is what its value type asks for."""
    made = Dataset()
    made.RelationshipType = by
    made.ValueType = kind
    if name is not None:
        made.ConceptNameCodeSequence = Sequence([code(*name)])
    match kind:
        case "CONTAINER":
            made.ContinuityOfContent = "SEPARATE"
        case "TEXT":
            made.TextValue = value
        case "UIDREF":
            made.UID = value
        case "CODE":
            made.ConceptCodeSequence = Sequence([code(*value)])
        case "NUM":
            measured = Dataset()
            number, unit = value
            if number is not None:
                measured.NumericValue = number
                measured.MeasurementUnitsCodeSequence = Sequence([code(*unit)])
                made.MeasuredValueSequence = Sequence([measured])
            else:
                made.NumericValueQualifierCodeSequence = Sequence([code(*unit)])
        case "IMAGE":
            reference = Dataset()
            reference.ReferencedSOPClassUID, reference.ReferencedSOPInstanceUID = CT_CLASS, value
            made.ReferencedSOPSequence = Sequence([reference])
        case "SCOORD":
            made.GraphicType, made.GraphicData = "POLYLINE", value
    if children:
        made.ContentSequence = Sequence(children)
    return made


def report(
    title: tuple[str, str, str], *children: Dataset, last: str = "33", number: int = 1, **changes: Any
) -> Dataset:
    """Return a structured report in a series of its own of study 1."""
    made = ct(1, 50, number, SOPClassUID=f"{SR}{last}", Modality="SR")
    for name in (
        *("PixelData", "Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation"),
        *("SamplesPerPixel", "PhotometricInterpretation", "RescaleIntercept", "RescaleSlope"),
        *("WindowCenter", "WindowWidth", "ImageType"),
    ):
        delattr(made, name)
    made.ContentDate, made.ContentTime = "20260102", "040506"
    made.CompletionFlag, made.VerificationFlag = "COMPLETE", "VERIFIED"
    observer = Dataset()
    observer.VerifyingObserverName = "Reader^Rita"
    observer.VerifyingOrganization = "Hospital"
    observer.VerificationDateTime = "20260102040506"
    observer.VerifyingObserverIdentificationCodeSequence = Sequence([])
    made.VerifyingObserverSequence = Sequence([observer])
    made.PerformedProcedureCodeSequence = Sequence([])
    made.ReferencedPerformedProcedureStepSequence = Sequence([])
    made.ValueType = "CONTAINER"
    made.ConceptNameCodeSequence = Sequence([code(*title)])
    made.ContinuityOfContent = "SEPARATE"
    made.ContentSequence = Sequence(children)
    study, series, reference = Dataset(), Dataset(), Dataset()
    reference.ReferencedSOPClassUID, reference.ReferencedSOPInstanceUID = CT_CLASS, f"{ROOT_UID}.1.1.1"
    series.SeriesInstanceUID = f"{ROOT_UID}.1.1"
    series.ReferencedSOPSequence = Sequence([reference])
    study.StudyInstanceUID = f"{ROOT_UID}.1"
    study.ReferencedSeriesSequence = Sequence([series])
    made.CurrentRequestedProcedureEvidenceSequence = Sequence([study])
    for name, value in changes.items():
        setattr(made, name, value)
    return made


MM = ("mm", "UCUM", "millimeter")
HU = ("[hnsf'U]", "UCUM", "Hounsfield unit")


def measurement_report(number: int = 1, longest: str = "12.5", **changes: Any) -> Dataset:
    """Return a TID 1500 report with two groups, a finding, sites, tracking, a code and image references."""
    image = f"{ROOT_UID}.1.1.1"
    lesion = item(
        "CONTAINER",
        ("125007", "DCM", "Measurement Group"),
        None,
        item("TEXT", ("112039", "DCM", "Tracking Identifier"), "Lesion 1", by="HAS OBS CONTEXT"),
        item("UIDREF", ("112040", "DCM", "Tracking UID"), f"{ROOT_UID}.77", by="HAS OBS CONTEXT"),
        item("CODE", ("121071", "DCM", "Finding"), ("52988006", "SCT", "Lesion")),
        item(
            "CODE",
            ("363698007", "SCT", "Finding Site"),
            ("10200004", "SCT", "Liver"),
            item(
                "CODE",
                ("272741003", "SCT", "Laterality"),
                ("24028007", "SCT", "Right"),
                by="HAS CONCEPT MOD",
            ),
            by="HAS CONCEPT MOD",
        ),
        item("CODE", ("370129005", "SCT", "Method"), ("126401", "DCM", "SUV"), by="HAS CONCEPT MOD"),
        item("IMAGE", None, image),
        item(
            "NUM",
            ("103339001", "SCT", "Long Axis"),
            (longest, MM),
            item(
                "SCOORD",
                ("121055", "DCM", "Path"),
                [1.0, 2.0, 3.0, 4.0],
                item("IMAGE", None, image, by="SELECTED FROM"),
                by="INFERRED FROM",
            ),
        ),
        item(
            "NUM",
            ("112031", "DCM", "Attenuation Coefficient"),
            ("-17", HU),
            item("CODE", ("121401", "DCM", "Derivation"), ("373098007", "SCT", "Mean"), by="HAS CONCEPT MOD"),
        ),
        item("CODE", ("246112005", "SCT", "Severity"), ("24484000", "SCT", "Severe")),
    )
    second = item(
        "CONTAINER",
        ("125007", "DCM", "Measurement Group"),
        None,
        item("CODE", ("363698007", "SCT", "Site"), ("78961009", "SCT", "Spleen"), by="HAS CONCEPT MOD"),
        item("NUM", ("118565006", "SCT", "Volume"), (None, ("114006", "DCM", "Measurement failure"))),
    )
    return report(
        ("126000", "DCM", "Imaging Measurement Report"),
        item("CODE", ("121049", "DCM", "Language of Content Item"), ("en", "RFC5646", "English")),
        item("CONTAINER", ("126010", "DCM", "Imaging Measurements"), None, lesion, second),
        item("CONTAINER", ("121072", "DCM", "Impressions"), None,
             item("TEXT", ("121073", "DCM", "Impression"), "Lesion of the liver <grown> & stable")),
        number=number,
        **changes,
    )  # fmt: skip


def mammography_cad() -> Dataset:
    """Return a mammography CAD report with a composite feature of two findings, one not to be shown."""
    image = f"{ROOT_UID}.1.1.1"

    def finding(shown: bool, certainty: str) -> Dataset:
        intent = (
            ("111150", "DCM", "Presentation Required") if shown else ("111152", "DCM", "Not for Presentation")
        )
        return item(
            "CODE",
            ("111059", "DCM", "Single Image Finding"),
            ("129769000", "SCT", "Calcification"),
            item("CODE", ("111056", "DCM", "Rendering Intent"), intent, by="HAS CONCEPT MOD"),
            item("NUM", ("111012", "DCM", "Certainty of Finding"), (certainty, ("%", "UCUM", "percent")),
                 by="HAS PROPERTIES"),
            item("SCOORD", ("111010", "DCM", "Center"), [10.0, 20.0],
                 item("IMAGE", None, image, by="SELECTED FROM"), by="HAS PROPERTIES"),
            by="INFERRED FROM",
        )  # fmt: skip

    feature = item(
        "CODE",
        ("111015", "DCM", "Composite Feature"),
        ("129793001", "SCT", "Mass"),
        item("CODE", ("111056", "DCM", "Rendering Intent"), ("111150", "DCM", "Presentation Required")),
        finding(True, "80"),
        finding(False, "10"),
    )
    impression = item("CONTAINER", ("111034", "DCM", "Individual Impression/Recommendation"), None, feature)
    summary = item(
        "CODE",
        ("111017", "DCM", "CAD Processing and Findings Summary"),
        ("111242", "DCM", "All algorithms succeeded; with findings"),
        impression,
    )
    return report(("111036", "DCM", "Mammography CAD Report"), summary, last="50")


def basic_text(number: int = 1, **changes: Any) -> Dataset:
    """Return a basic text report."""
    return report(
        ("11528-7", "LN", "Radiology Report"),
        item("CONTAINER", ("121070", "DCM", "Findings"), None,
             item("TEXT", ("121071", "DCM", "Finding"), "Nothing to be seen")),
        item("CONTAINER", ("121076", "DCM", "Conclusions"), None,
             item("TEXT", ("121077", "DCM", "Conclusion"), "Normal")),
        last="11",
        number=number,
        **changes,
    )  # fmt: skip


def pdf(content: bytes = b"%PDF-1.4 hello", **changes: Any) -> Dataset:
    """Return an encapsulated PDF in a series of its own of study 1."""
    made = report(("18748-4", "LN", "Diagnostic imaging study"))
    del made.ContentSequence, made.CurrentRequestedProcedureEvidenceSequence, made.ValueType
    made.SOPClassUID = "1.2.840.10008.5.1.4.1.1.104.1"
    made.SOPInstanceUID = f"{ROOT_UID}.1.60.1"
    made.SeriesInstanceUID = f"{ROOT_UID}.1.60"
    made.Modality = "DOC"
    made.DocumentTitle = "Letter"
    made.MIMETypeOfEncapsulatedDocument = "application/pdf"
    made.EncapsulatedDocument = content + b"\0" * (len(content) % 2)
    made.EncapsulatedDocumentLength = len(content)
    made.ConversionType = "WSD"
    for name, value in changes.items():
        setattr(made, name, value)
    return made


def key_object(title: tuple[str, str, str] = ("113000", "DCM", "Of Interest")) -> Dataset:
    """Return a key object selection of the first image of study 1."""
    made = report(
        title,
        item("TEXT", ("113012", "DCM", "Key Object Description"), "the lesion"),
        item("IMAGE", None, f"{ROOT_UID}.1.1.1"),
        last="59",
    )
    made.SOPInstanceUID = f"{ROOT_UID}.1.70.1"
    made.SeriesInstanceUID = f"{ROOT_UID}.1.70"
    made.Modality = "KO"
    return made
