"""What may go wrong with an expression, always with the place in its text."""

from __future__ import annotations

from fhir_server.outcome import Invalid


class FhirPathError(Invalid):
    """400: an expression that cannot be read or evaluated.

    `text` is the expression, `position` the offset of the first character that does not fit.

    >>> print(FhirPathError("expected an operand", "1 +", 3))
    expected an operand, at line 1 column 4 of the FHIRPath expression: 1 +⟨here⟩
    """

    def __init__(self, message: str, text: str = "", position: int = 0) -> None:
        self.message, self.text, self.position = message, text, position
        super().__init__(f"{message}, {place(text, position)}" if text else message)


class FhirPathSyntaxError(FhirPathError):
    """The text is not an expression of the grammar (N1, appendix B)."""


class FhirPathTypeError(FhirPathError):
    """The expression is well-formed, but asks something that the value or the model does not allow."""


class FhirPathTooCostly(FhirPathTypeError):
    """The evaluation passes through more items than it is allowed."""


def place(text: str, position: int) -> str:
    """Return where `position` is, in words, with a few characters around it.

    >>> place("name.given\\n  +", 13)
    'at line 2 column 3 of the FHIRPath expression: name.given ⟨here⟩+'
    """
    line = text.count("\n", 0, position) + 1
    column = position - (text.rfind("\n", 0, position) + 1) + 1
    before = " ".join(text[max(0, position - 40) : position].split())
    gap = " " if before and text[position - 1 : position].isspace() else ""
    after = " ".join(text[position : position + 40].split())
    return f"at line {line} column {column} of the FHIRPath expression: {before}{gap}⟨here⟩{after}"
