"""Where in an XML text an element stands: FHIRPath location → line and column (R4/xml.html).

Asked only when something is wrong; the text is read once more then, and every element noted.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from xml.parsers import expat

from fhir_server.definitions import structures
from fhir_server.model.json_format import BYTE_ORDER_MARK
from fhir_server.model.xml_narrative import spelled_out
from fhir_server.model.xml_plan import PRIMITIVE, RESOURCE
from fhir_server.model.xml_reading import Enough, Reader

_ANY_DEPTH = 10_000


def places(data: bytes, expressions: Sequence[str | None]) -> list[tuple[int, int] | None]:
    """Return where the element of each FHIRPath location begins in an XML text.

    For an element that is missing, and for an attribute, the place is that of the element around it;
    None for a text that cannot be read.

    >>> text = b'<Patient xmlns="http://hl7.org/fhir">\\n <name>\\n  <family value="Li"/></name></Patient>'
    >>> places(text, ["Patient.name[0].family", "Patient.name[0].given[2]", "Patient.active"])
    [(3, 3), (2, 2), (1, 1)]
    """
    reader = _Noting(spelled_out(data.removeprefix(BYTE_ORDER_MARK)), _ANY_DEPTH)
    try:
        reader.parser.Parse(reader.data, True)
    except (expat.ExpatError, Enough):
        return [None] * len(expressions)
    finally:
        del reader.parser
    return [None if text is None else _nearest(reader.found, text) for text in expressions]


def _nearest(found: dict[str, tuple[int, int]], expression: str) -> tuple[int, int] | None:
    """Return the place of an element, or of the nearest one around it; the first step is the resource."""
    path = expression[len(expression.partition(".")[0]) :]
    while path and path not in found:
        path = path[: path.rindex("[")] if path.endswith("]") else path[: path.rindex(".")]
    return found.get(path)


@cache
def _step(type_path: str, key: str) -> str:
    """Return FHIRPath's step to a member: valueQuantity is value."""
    field = structures.fields(type_path).get(key)
    return "." + (key if field is None else field.element.name.removesuffix("[x]"))


class _Noting(Reader):
    """Notes the place of every element while it reads, by its path behind the resource's type."""

    def __init__(self, data: bytes, max_depth: int) -> None:
        self.found: dict[str, tuple[int, int]] = {}
        self._paths: list[str] = []
        super().__init__(data, max_depth)

    def start(self, name: str, attributes: dict[str, str]) -> None:
        """Note an element; a prefix is taken off before."""
        if name.count(" ") == 2 and name not in self.names:
            name = name.rpartition(" ")[0]
        place = self.parser.CurrentLineNumber, self.parser.CurrentColumnNumber + 1
        holder, around, slot = self.value, self.slot, self.names.get(name)
        path = self._paths[-1] if self._paths else ""
        if slot is not None and slot.kind != RESOURCE and around is not None:
            path += _step("Element" if around.kind == PRIMITIVE else around.type, slot.key)
            self.found.setdefault(path, place)
            if slot.many:
                before = () if holder is None else holder.get(slot.key, ())
                path += f"[{len(before)}]"
        self.found.setdefault(path, place)
        self._paths.append(path)
        super().start(name, attributes)

    def end(self, name: str) -> None:
        """Go back to the element around."""
        self._paths.pop()
        super().end(name)
