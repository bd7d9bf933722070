"""Events as counters and histograms at /metrics (Prometheus text format 0.0.4), summed over all processes.

Each process keeps its numbers in a small memory-mapped file of its own, which outlives it:
killed and started again under the same name it counts on, so no counter ever goes back.
Whoever is asked reads all files.
"""

from __future__ import annotations

import json
import mmap
import os
import struct
import threading
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from pathlib import Path

from fhir_server.observability.events import (
    AssociationEnded,
    AssociationRejected,
    CallerRefused,
    CallSpooled,
    CardsServed,
    Crashed,
    DestinationUnreached,
    Drained,
    Event,
    FeedbackTaken,
    ForwardFailed,
    InstanceReceived,
    InstanceSent,
    Measured,
    ProcessEnded,
    ProfileBroken,
    RequestServed,
    RuleUnanswered,
    SearchServed,
)

BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

HELP = {
    "xinglin_requests_total": "HTTP requests answered",
    "xinglin_request_seconds": "time to answer an HTTP request",
    "xinglin_search_rows_total": "rows that searches gave",
    "xinglin_search_sql_seconds": "time that the SQL of a search took",
    "xinglin_instances_total": "DICOM instances received",
    "xinglin_instance_bytes_total": "bytes of DICOM instances received",
    "xinglin_instances_sent_total": "DICOM instances sent to other application entities",
    "xinglin_instance_sent_bytes_total": "bytes of DICOM instances sent",
    "xinglin_destinations_unreached_total": "times that an application entity could not be reached",
    "xinglin_forward_failed_total": "studies that could not be forwarded and wait for a person",
    "xinglin_forward_waiting_instances": "instances that wait to be forwarded",
    "xinglin_dicom_messages_waiting": "results of storage commitment and other messages that wait",
    "xinglin_forward_failed_studies": "studies whose forwarding was given up",
    "xinglin_disk_free_bytes": "free bytes of the disk of the data folder",
    "xinglin_disk_total_bytes": "size of the disk of the data folder",
    "xinglin_associations_total": "DICOM associations that ended, released or lost",
    "xinglin_associations_rejected_total": "DICOM associations refused, by source and reason of PS3.8 9.3.4",
    "xinglin_callers_refused_total": "callers whose tokens were not believed, by the code of the reason",
    "xinglin_cds_calls_total": "CDS Hooks calls answered, by how they ended",
    "xinglin_cds_reasons_total": "reasons why CDS services gave a card or none",
    "xinglin_cds_cards_total": "cards that CDS services gave",
    "xinglin_cds_feedback_total": "cards of which a client told what became of them",
    "xinglin_cds_spooled_total": "CDS calls whose record the database did not take in time",
    "xinglin_cds_unsealed_records": "records of CDS services that are not in the chain yet",
    "xinglin_cds_spool_bytes": "records of CDS calls that wait to be played back",
    "xinglin_cds_seconds": "time to answer a CDS Hooks call",
    "xinglin_profiles_broken_total": "writes that did not keep a profile they claim, stored or refused",
    "xinglin_drained_total": "entries taken off a queue by the background worker",
    "xinglin_process_restarts_total": "processes that ended by themselves and were started again",
    "xinglin_rules_unanswered_total": "rules of the specification that validation could not evaluate",
    "xinglin_crashes_total": "errors that nobody foresaw",
}

GAUGES = frozenset(
    {
        "xinglin_dicom_messages_waiting",
        "xinglin_forward_waiting_instances",
        "xinglin_forward_failed_studies",
        "xinglin_cds_unsealed_records",
        "xinglin_cds_spool_bytes",
        "xinglin_disk_free_bytes",
        "xinglin_disk_total_bytes",
    }
)

Labels = tuple[tuple[str, str], ...]
_HEAD = struct.Struct("<Q")  # bytes in use
_VALUE = struct.Struct("<d")
_ENTRY = struct.Struct("<dI")  # value, length of the key; the key follows, padded to 8 bytes


class Numbers:
    """The numbers of one process, in a memory-mapped file."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = open(path, "a+b")  # noqa: SIM115  # lives as long as the process
        if os.fstat(self._file.fileno()).st_size == 0:
            self._file.truncate(64 * 1024)
        self._map = mmap.mmap(self._file.fileno(), 0)
        self._lock = threading.Lock()
        (self._used,) = _HEAD.unpack_from(self._map, 0)
        self._used = self._used or 8
        self._places: dict[str, int] = {key: place for key, _, place in _entries(self._map)}
        self._known: dict[tuple[str, Labels], int] = {}  # the same places by what callers say

    def add(self, name: str, labels: Labels, amount: float = 1.0) -> None:
        """Add to a counter."""
        with self._lock:
            place = self._known.get((name, labels))
            if place is None:
                key = json.dumps([name, labels])
                place = self._places[key] if key in self._places else self._make(key)
                self._known[name, labels] = place
            (value,) = _VALUE.unpack_from(self._map, place)
            _VALUE.pack_into(self._map, place, value + amount)

    def put(self, name: str, labels: Labels, value: float) -> None:
        """Say what a gauge shows now; only one process may do so for one gauge and its labels."""
        self.add(name, labels, 0.0)
        with self._lock:
            _VALUE.pack_into(self._map, self._known[name, labels], value)

    def observe(self, name: str, labels: Labels, seconds: float) -> None:
        """Add to a histogram of seconds."""
        bound = bisect_left(BUCKETS_S, seconds)
        edge = f"{BUCKETS_S[bound]:g}" if bound < len(BUCKETS_S) else "+Inf"
        self.add(f"{name}_bucket", (*labels, ("le", edge)))
        self.add(f"{name}_sum", labels, seconds)

    def _make(self, key: str) -> int:
        place: int = self._used
        text = key.encode()
        size = _ENTRY.size + len(text)
        size += -size % 8
        while self._used + size > len(self._map):
            self._map.resize(2 * len(self._map))
        _ENTRY.pack_into(self._map, place, 0.0, len(text))
        self._map[place + _ENTRY.size : place + _ENTRY.size + len(text)] = text
        self._used += size
        _HEAD.pack_into(self._map, 0, self._used)  # last: a reader sees whole entries only
        self._places[key] = place
        return place


class Meter:
    """A listener that counts events into Numbers."""

    def __init__(self, numbers: Numbers) -> None:
        self._numbers = numbers

    def __call__(self, event: Event) -> None:
        add, observe = self._numbers.add, self._numbers.observe
        match event:
            case RequestServed(method, interaction, resource_type, status, ms, _):
                labels = (("interaction", interaction), ("type", resource_type))
                add("xinglin_requests_total", (("method", method), *labels, ("status", str(status))))
                observe("xinglin_request_seconds", (("interaction", interaction),), ms / 1000)
            case SearchServed(resource_type, _, rows, sql_ms):
                add("xinglin_search_rows_total", (("type", resource_type),), rows)
                observe("xinglin_search_sql_seconds", (), sql_ms / 1000)
            case AssociationEnded(_, _, lost):
                add("xinglin_associations_total", (("end", "lost" if lost else "released"),))
            case AssociationRejected(_, source, reason):
                numbers = (("source", str(source)), ("reason", str(reason)))
                add("xinglin_associations_rejected_total", numbers)
            case InstanceReceived(outcome, size_bytes, _):
                add("xinglin_instances_total", (("outcome", outcome),))
                add("xinglin_instance_bytes_total", (("outcome", outcome),), size_bytes)
            case InstanceSent(service, outcome, size_bytes, _):
                labels = (("service", service), ("outcome", outcome))
                add("xinglin_instances_sent_total", labels)
                add("xinglin_instance_sent_bytes_total", labels, size_bytes)
            case DestinationUnreached(destination):
                add("xinglin_destinations_unreached_total", (("destination", destination),))
            case ForwardFailed(destination, studies):
                add("xinglin_forward_failed_total", (("destination", destination),), studies)
            case Measured(name, part, value):
                self._numbers.put(name, (("part", part),), value)
            case CardsServed(service, ending, reasons, cards, ms):
                add("xinglin_cds_calls_total", (("service", service), ("outcome", ending)))
                for code in reasons:
                    add("xinglin_cds_reasons_total", (("service", service), ("reason", code)))
                add("xinglin_cds_cards_total", (("service", service),), cards)
                observe("xinglin_cds_seconds", (("service", service),), ms / 1000)
            case FeedbackTaken(service, outcome):
                add("xinglin_cds_feedback_total", (("service", service), ("outcome", outcome)))
            case CallerRefused(door, reason):
                add("xinglin_callers_refused_total", (("door", door), ("reason", reason)))
            case CallSpooled(service, kept):
                told = ("kept", "yes" if kept else "no")
                add("xinglin_cds_spooled_total", (("service", service), told))
            case ProfileBroken(resource_type, action):
                add("xinglin_profiles_broken_total", (("type", resource_type), ("action", action)))
            case Drained(queue, count, _):
                add("xinglin_drained_total", (("queue", queue),), count)
            case ProcessEnded(name):
                add("xinglin_process_restarts_total", (("process", name),))
            case RuleUnanswered(rule, error):
                add("xinglin_rules_unanswered_total", (("rule", rule), ("error", error)))
            case Crashed():
                add("xinglin_crashes_total", ())


def render(folder: Path) -> str:
    """Return the sums over all files of `folder` in the Prometheus text format."""
    sums: dict[tuple[str, Labels], float] = {}
    for path in sorted(folder.glob("*.numbers")):
        for key, value, _ in _entries(path.read_bytes()):
            name, labels = json.loads(key)
            place = name, tuple((label, text) for label, text in labels)
            sums[place] = sums.get(place, 0.0) + value
    return "".join(f"{line}\n" for line in _lines(sums))


def _lines(sums: dict[tuple[str, Labels], float]) -> Iterator[str]:
    for family, words in HELP.items():
        kind = "counter" if family.endswith("_total") else "histogram"
        if family in GAUGES:
            kind = "gauge"
        series = {
            key: value
            for key, value in sums.items()
            if key[0].removesuffix("_bucket").removesuffix("_sum") == family
        }
        if not series:
            continue
        yield f"# HELP {family} {words}"
        yield f"# TYPE {family} {kind}"
        if kind != "histogram":
            for (name, labels), value in sorted(series.items()):
                yield f"{name}{_braces(labels)} {value:.17g}"
        else:
            yield from _histogram(family, series)


def _histogram(family: str, series: dict[tuple[str, Labels], float]) -> Iterator[str]:
    for labels in sorted({labels for name, labels in series if name == f"{family}_sum"}):
        total = 0.0
        for edge in (*(f"{bound:g}" for bound in BUCKETS_S), "+Inf"):
            total += series.get((f"{family}_bucket", (*labels, ("le", edge))), 0.0)
            yield f"{family}_bucket{_braces((*labels, ('le', edge)))} {total:.17g}"
        yield f"{family}_sum{_braces(labels)} {series[f'{family}_sum', labels]:.17g}"
        yield f"{family}_count{_braces(labels)} {total:.17g}"


def _braces(labels: Iterable[tuple[str, str]]) -> str:
    r"""Write labels as the format wants them.

    >>> _braces([("type", 'a"b')])
    '{type="a\\"b"}'
    """
    escaped = [
        (name, text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")) for name, text in labels
    ]
    return "{" + ",".join(f'{name}="{text}"' for name, text in escaped) + "}" if escaped else ""


def _entries(data: bytes | mmap.mmap) -> Iterator[tuple[str, float, int]]:
    """Give (key, value, place of the value) of every entry."""
    if len(data) < 8:
        return
    (used,) = _HEAD.unpack_from(data, 0)
    place = 8
    while place < min(used, len(data)):
        value, length = _ENTRY.unpack_from(data, place)
        start = place + _ENTRY.size
        yield data[start : start + length].decode(), value, place
        size = _ENTRY.size + length
        place += size + -size % 8
