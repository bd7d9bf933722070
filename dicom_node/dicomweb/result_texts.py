"""Rows of the index → results of QIDO-RS as JSON text, which nobody parses on the way (PS3.18 F.2, 10.6.3.3).

The index keeps attributes as the JSON model has them, so an element goes from the database into the answer
as it lies there. What is asked for in parts (items of sequences), or all that is kept, takes the way of
`qido`, whose answers these are.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache

from dicom_node.dictionary import vr_of
from dicom_node.index import keys
from dicom_node.index.facts import Facts
from dicom_node.index.query import Found
from dicom_node.instance import Level

_TOLD: dict[str, Callable[[Facts], Sequence[str | int]]] = {
    keys.MODALITIES_IN_STUDY: lambda facts: facts.modalities,
    keys.SOP_CLASSES_IN_STUDY: lambda facts: facts.sop_classes,
    keys.SERIES_OF_STUDY: lambda facts: (facts.series,),
    keys.INSTANCES_OF_STUDY: lambda facts: (facts.instances,),
    keys.INSTANCES_OF_SERIES: lambda facts: (facts.of_series,),
    keys.STUDIES_OF_PATIENT: lambda facts: facts.of_patient[:1],
    keys.SERIES_OF_PATIENT: lambda facts: facts.of_patient[1:2],
    keys.INSTANCES_OF_PATIENT: lambda facts: facts.of_patient[2:],
}


class ResultTexts:
    """The shape of the results of one search.

    `wanted` are attributes that stand in each, without a value where the index has none, `known` those that
    stand where it has one; `computed` are told. The UIDs are those that the address names.
    """

    def __init__(
        self,
        level: Level,
        wanted: Iterable[str],
        known: Iterable[str],
        computed: Iterable[str],
        address: str,
        study_uid: str = "",
        series_uid: str = "",
    ) -> None:
        self._level, self._address, self._study_uid, self._series_uid = level, address, study_uid, series_uid
        empty = {name: f'{{"vr":"{vr_of(int(name, 16))}"}}' for name in wanted}
        placed = {keys.SPECIFIC_CHARACTER_SET, keys.RETRIEVE_URL, keys.AVAILABILITY, *computed}
        if level >= Level.SERIES:
            placed |= {keys.STUDY_UID, keys.SERIES_UID}
        if level is Level.INSTANCE:
            placed.add(keys.AVAILABLE_TRANSFER_SYNTAX)
        asked = sorted({*empty, *known} - placed)
        self.names = tuple(asked)
        """What is to be asked of the index (`Question.elements`)."""
        self._fields = [
            (name, f'"{name}":', asked.index(name) if name in asked else -1, empty.get(name))
            for name in sorted({*asked, *placed})
        ]

    def text(self, found: Found) -> str:
        """Return one result."""
        study_uid, series_uid, sop_uid, transfer_syntax, *elements = found.raw
        study_uid, series_uid = self._study_uid or study_uid, self._series_uid or series_uid
        out: list[str] = []
        for name, opening, at, empty in self._fields:
            if at >= 0:
                element = elements[at] or empty
                if element is not None:
                    out.append(opening + element)
            elif name == keys.RETRIEVE_URL:
                url = f"{self._address}/studies/{study_uid}"
                if self._level >= Level.SERIES:
                    url += f"/series/{series_uid}"
                if self._level is Level.INSTANCE:
                    url += f"/instances/{sop_uid}"
                out.append(f'{opening}{{"vr":"UR","Value":[{json.dumps(url)}]}}')
            elif name == keys.STUDY_UID:
                out.append(f'{opening}{{"vr":"UI","Value":["{study_uid}"]}}')
            elif name == keys.SERIES_UID:
                out.append(f'{opening}{{"vr":"UI","Value":["{series_uid}"]}}')
            elif name == keys.AVAILABLE_TRANSFER_SYNTAX:
                out.append(f'{opening}{{"vr":"UI","Value":[{json.dumps(transfer_syntax)}]}}')
            elif name in _FIXED:
                out.append(opening + _FIXED[name])
            else:
                out.append(opening + _told(name, found.facts))
        return f"{{{','.join(out)}}}"


_FIXED = {
    keys.SPECIFIC_CHARACTER_SET: '{"vr":"CS","Value":["ISO_IR 192"]}',
    keys.AVAILABILITY: '{"vr":"CS","Value":["ONLINE"]}',
}


@lru_cache(maxsize=1024)
def _told(name: str, facts: Facts) -> str:
    values = list(_TOLD[name](facts))
    vr = vr_of(int(name, 16))
    return json.dumps({"vr": vr, "Value": values} if values else {"vr": vr}, separators=(",", ":"))
