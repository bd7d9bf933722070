"""Tokens → syntax tree, by operator precedence (N1 §6.8 and appendix B)."""

from __future__ import annotations

from decimal import Decimal
from functools import lru_cache

from fhir_server.fhirpath import nodes
from fhir_server.fhirpath.errors import FhirPathSyntaxError
from fhir_server.fhirpath.lexer import Token, tokens

BINDING = {
    "*": 11, "/": 11, "div": 11, "mod": 11,
    "+": 10, "-": 10, "&": 10,
    "is": 9, "as": 9,
    "|": 8,
    "<=": 7, "<": 7, ">": 7, ">=": 7,
    "=": 6, "~": 6, "!=": 6, "!~": 6,
    "in": 5, "contains": 5,
    "and": 4,
    "or": 3, "xor": 3,
    "implies": 2,
}  # fmt: skip
POLARITY, INDEXER, INVOCATION = 12, 13, 14
# Words that are no names of elements and functions; the grammar allows `as`, `is`, `in` and `contains`.
_HARD = frozenset(("div", "mod", "and", "or", "xor", "implies", "true", "false"))
_CALENDAR = frozenset(
    f"{unit}{plural}"
    for unit in ("year", "month", "week", "day", "hour", "minute", "second", "millisecond")
    for plural in ("", "s")
)
# A hostile expression must not exhaust Python's stack, neither here nor in what walks the tree.
MAX_DEPTH = 60
MAX_HEIGHT = 250
MAX_LENGTH = 40_000


@lru_cache(maxsize=2048)
def parse(text: str) -> nodes.Expression:
    """Return the syntax tree of `text`; raises FhirPathSyntaxError with the position.

    >>> parse("a.b = 1")
    BinaryExpression(operator='=', left=InvocationExpression(subject=MemberInvocation(name='a'), \
invocation=MemberInvocation(name='b')), right=NumberLiteral(value=1))
    """
    if len(text) > MAX_LENGTH:
        raise FhirPathSyntaxError(f"an expression may have {MAX_LENGTH} characters, got {len(text)}")
    return _Parser(text).whole()


class _Parser:
    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens = tokens(text)
        self.at = 0
        self.depth = 0

    def whole(self) -> nodes.Expression:
        tree = self.expression(0)
        if self.token.kind != "end":
            raise self.unexpected("an operator or the end of the expression")
        if nodes.height(tree) > MAX_HEIGHT:
            raise FhirPathSyntaxError("the expression has too many steps in a row", self.text, 0)
        return tree

    @property
    def token(self) -> Token:
        return self.tokens[self.at]

    def advance(self) -> Token:
        token = self.tokens[self.at]
        self.at += 1
        return token

    def follows(self, symbol: str) -> bool:
        token = self.tokens[self.at]
        return token.text == symbol and token.kind == "symbol"

    def expect(self, symbol: str) -> Token:
        if not self.follows(symbol):
            raise self.unexpected(f"{symbol!r}")
        return self.advance()

    def unexpected(self, wanted: str) -> FhirPathSyntaxError:
        token = self.token
        got = "the end" if token.kind == "end" else repr(token.text)
        return FhirPathSyntaxError(f"expected {wanted}, got {got}", self.text, token.position)

    def expression(self, strength: int) -> nodes.Expression:
        """Read an expression whose operators bind tighter than `strength`."""
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise FhirPathSyntaxError("the expression is nested too deeply", self.text, self.token.position)
        left = self.prefix()
        while (operator := self.operator()) is not None and self.binding(operator) > strength:
            left = self.infix(left, operator)
        self.depth -= 1
        return left

    def operator(self) -> str | None:
        token = self.token
        if token.kind == "symbol" or (token.kind == "identifier" and token.text in BINDING):
            return token.text
        return None

    def binding(self, operator: str) -> int:
        if operator == ".":
            return INVOCATION
        if operator == "[":
            return INDEXER
        return BINDING.get(operator, 0)

    def infix(self, left: nodes.Expression, operator: str) -> nodes.Expression:
        position = self.advance().position
        if operator == ".":
            if self.token.kind == "identifier" and self.token.text == "div":
                # Narrative.div: behind a dot nobody divides, and the cases of FHIRPath Patch write it bare
                return nodes.InvocationExpression(
                    position, left, nodes.MemberInvocation(self.advance().position, "div")
                )
            return nodes.InvocationExpression(position, left, self.invocation())
        if operator == "[":
            index = self.expression(0)
            self.expect("]")
            return nodes.IndexerExpression(position, left, index)
        if operator in ("is", "as"):
            return nodes.TypeExpression(position, operator, left, self.type_specifier())
        return nodes.BinaryExpression(position, operator, left, self.expression(BINDING[operator]))

    def prefix(self) -> nodes.Expression:
        token = self.token
        if token.kind == "symbol":
            return self.prefix_symbol(token)
        if token.kind == "number":
            return self.number()
        if token.kind == "long":
            self.advance()
            return nodes.NumberLiteral(token.position, int(token.text[:-1]))
        if token.kind == "string":
            self.advance()
            return nodes.StringLiteral(token.position, token.text)
        if token.kind in ("date", "dateTime", "time"):
            self.advance()
            return nodes.TemporalLiteral(token.position, token.kind, token.text)
        if token.kind == "identifier" and token.text in ("true", "false"):
            self.advance()
            return nodes.BooleanLiteral(token.position, token.text == "true")
        return self.invocation()

    def prefix_symbol(self, token: Token) -> nodes.Expression:
        if token.text == "(":
            self.advance()
            inner = self.expression(0)
            self.expect(")")
            return inner
        if token.text == "{":
            self.advance()
            self.expect("}")
            return nodes.NullLiteral(token.position)
        if token.text in ("+", "-"):
            self.advance()
            return nodes.PolarityExpression(token.position, token.text, self.expression(POLARITY - 1))
        if token.text == "%":
            self.advance()
            name = self.token
            if name.kind not in ("identifier", "delimited", "string"):
                raise self.unexpected("the name of a constant after %")
            self.advance()
            return nodes.ExternalConstant(token.position, name.text)
        raise self.unexpected("an operand")

    def number(self) -> nodes.Expression:
        token = self.advance()
        value = Decimal(token.text) if "." in token.text else int(token.text)
        unit = self.token
        if unit.kind == "string":
            self.advance()
            return nodes.QuantityLiteral(token.position, value, unit.text, False)
        if unit.kind == "identifier" and unit.text in _CALENDAR:
            self.advance()
            return nodes.QuantityLiteral(token.position, value, unit.text, True)
        return nodes.NumberLiteral(token.position, value)

    def invocation(self) -> nodes.Expression:
        token = self.token
        if token.kind == "variable":
            self.advance()
            if token.text == "$this":
                return nodes.ThisInvocation(token.position)
            if token.text == "$index":
                return nodes.IndexInvocation(token.position)
            return nodes.TotalInvocation(token.position)
        name = self.identifier("an element, a function or a literal")
        if not self.follows("("):
            return nodes.MemberInvocation(token.position, name)
        self.advance()
        arguments: list[nodes.Expression] = []
        if not self.follows(")"):
            arguments.append(self.argument(name))
            while self.follows(","):
                self.advance()
                arguments.append(self.argument(name))
        self.expect(")")
        return nodes.FunctionInvocation(token.position, name, tuple(arguments))

    def argument(self, function: str) -> nodes.Expression:
        tree = self.expression(0)
        token = self.token
        if function == "sort" and token.kind == "identifier" and token.text in ("asc", "desc"):
            self.advance()
            return nodes.SortKey(token.position, tree, token.text == "desc")
        return tree

    def identifier(self, wanted: str) -> str:
        token = self.token
        if token.kind == "delimited" or (token.kind == "identifier" and token.text not in _HARD):
            self.advance()
            return token.text
        raise self.unexpected(wanted)

    def type_specifier(self) -> str:
        name = self.identifier("the name of a type")
        while self.follows("."):
            self.advance()
            name += "." + self.identifier("the name of a type")
        return name
