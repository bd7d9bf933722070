"""What two sides agree on when an association begins (PS3.8 7.1 and 9.3, PS3.7 Annex D).

Pure functions: a request and what we offer make an answer; an answer makes the contexts in use.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from dicom_node.upper_layer import pdu
from dicom_node.upper_layer.errors import ProtocolError
from dicom_node.upper_layer.pdu import Associate, ContextItem, UserIdentity

IMPLICIT_LITTLE: Final = "1.2.840.10008.1.2"
EXPLICIT_LITTLE: Final = "1.2.840.10008.1.2.1"

MAX_PDU_BYTES: Final = 256 * 1024
"""Longest P-DATA-TF that we announce, and that we send to those who take any."""

MOST_PIPELINED: Final = 64
"""Most requests that a sender may have under way; they wait in the sockets' buffers, not in memory."""

_UID = re.compile(r"[0-9]+(\.[0-9]+)+")


@dataclass(frozen=True, slots=True)
class Context:
    """One accepted presentation context; the roles are those of the requestor of the association."""

    id: int
    abstract_syntax: str
    transfer_syntax: str
    as_scu: bool = True
    as_scp: bool = False


@dataclass(frozen=True, slots=True)
class Proposed:
    """A presentation context that we propose; the transfer syntax we like best comes first."""

    abstract_syntax: str
    transfer_syntaxes: Sequence[str] = (EXPLICIT_LITTLE, IMPLICIT_LITTLE)


@dataclass(frozen=True, slots=True)
class Terms:
    """On what terms an abstract syntax is accepted.

    `transfer_syntaxes` None: whatever is proposed first. `requestor_as_scp`: the requestor may take the
    role of the SCP. `extended` answers an extended negotiation item for this SOP class.
    """

    transfer_syntaxes: Sequence[str] | None = None
    requestor_as_scp: bool = False
    extended: Callable[[bytes], bytes] | None = None


Offer = Callable[[str, Associate], Terms | int]
"""Abstract syntax → the terms, or the result that refuses it (PS3.8 table 9-18)."""


@dataclass(frozen=True, slots=True)
class Agreed:
    """What an association works under."""

    contexts: Mapping[int, Context]
    extended: Mapping[str, bytes]
    send_bytes: int
    """Longest P-DATA-TF that the other side takes."""
    window: tuple[int, int] = (1, 1)


@dataclass(frozen=True, slots=True)
class Identity:
    """How we name our implementation (PS3.7 D.3.3.2)."""

    class_uid: str
    version: str


def answer(
    request: Associate, offer: Offer, identity: Identity, *, identity_response: bytes | None = None
) -> tuple[Associate, Agreed]:
    """Return the A-ASSOCIATE-AC to a request, and what was agreed with it.

    >>> asked = [ContextItem(1, "1.2.3", ["1.4", "1.5"]), ContextItem(3, "1.9", [])]
    >>> request = Associate("NODE", "CT1", asked)
    >>> known = lambda syntax, request: Terms() if syntax == "1.2.3" else pdu.ABSTRACT_SYNTAX_UNKNOWN
    >>> said, agreed = answer(request, known, Identity("1.1", "X"))
    >>> [item.result for item in said.contexts], agreed.contexts[1].transfer_syntax
    ([0, 3], '1.4')
    """
    if len(request.contexts) > pdu.MOST_CONTEXTS:
        raise ProtocolError(
            f"{len(request.contexts)} presentation contexts; 128 is the most", pdu.INVALID_PARAMETER
        )
    said = Associate(
        request.called_ae,
        request.calling_ae,
        max_pdu_bytes=MAX_PDU_BYTES,
        implementation_class=identity.class_uid,
        implementation_version=identity.version,
        identity_response=identity_response,
    )
    contexts: dict[int, Context] = {}
    for item in request.contexts:
        terms = offer(item.abstract_syntax, request)
        result, syntax = _result(item, terms)
        # an answer has one transfer syntax even where it means nothing (PS3.8 9.3.3.2)
        shown = syntax or (item.transfer_syntaxes[0] if item.transfer_syntaxes else IMPLICIT_LITTLE)
        said.contexts.append(ContextItem(item.id, transfer_syntaxes=[shown], result=result))
        if isinstance(terms, int) or result != pdu.ACCEPTED:
            continue
        as_scu, as_scp = _roles(said, request, item.abstract_syntax, terms)
        contexts[item.id] = Context(item.id, item.abstract_syntax, syntax, as_scu, as_scp)
        if terms.extended is not None and item.abstract_syntax not in said.extended:
            asked = request.extended.get(item.abstract_syntax)
            if asked is not None:
                said.extended[item.abstract_syntax] = terms.extended(asked)
    window = (1, 1)
    if request.window is not None:
        window = said.window = (min(request.window[0] or MOST_PIPELINED, MOST_PIPELINED), 1)
    return said, Agreed(contexts, dict(said.extended), _send_bytes(request.max_pdu_bytes), window)


def proposal(
    calling_ae: str,
    called_ae: str,
    proposed: Sequence[Proposed],
    identity: Identity,
    *,
    roles: Mapping[str, tuple[bool, bool]] | None = None,
    extended: Mapping[str, bytes] | None = None,
    user: UserIdentity | None = None,
) -> Associate:
    """Return the A-ASSOCIATE-RQ that proposes these contexts; ids are given in their order: 1, 3, 5 ..."""
    if not 0 < len(proposed) <= pdu.MOST_CONTEXTS:
        raise ValueError(
            f"{len(proposed)} presentation contexts; an association has 1 to {pdu.MOST_CONTEXTS}"
        )
    return Associate(
        called_ae,
        calling_ae,
        [
            ContextItem(2 * number + 1, one.abstract_syntax, list(one.transfer_syntaxes))
            for number, one in enumerate(proposed)
        ],
        max_pdu_bytes=MAX_PDU_BYTES,
        implementation_class=identity.class_uid,
        implementation_version=identity.version,
        roles=dict(roles or {}),
        extended=dict(extended or {}),
        identity=user,
    )


def agreed(request: Associate, said: Associate) -> Agreed:
    """Return what an A-ASSOCIATE-AC to our request allows."""
    proposed = {item.id: item for item in request.contexts}
    contexts: dict[int, Context] = {}
    for item in said.contexts:
        asked = proposed.get(item.id)
        if asked is None or item.result != pdu.ACCEPTED:
            continue
        if len(item.transfer_syntaxes) != 1 or item.transfer_syntaxes[0] not in asked.transfer_syntaxes:
            raise ProtocolError(
                f"presentation context {item.id} was accepted with a transfer syntax that we did not propose",
                pdu.INVALID_PARAMETER,
            )
        as_scu, as_scp = True, False
        if asked.abstract_syntax in request.roles and asked.abstract_syntax in said.roles:
            as_scu, as_scp = said.roles[asked.abstract_syntax]
        contexts[item.id] = Context(item.id, asked.abstract_syntax, item.transfer_syntaxes[0], as_scu, as_scp)
    return Agreed(contexts, dict(said.extended), _send_bytes(said.max_pdu_bytes), said.window or (1, 1))


@dataclass(frozen=True, slots=True)
class Refusal:
    """An association is not wanted: the three numbers of its A-ASSOCIATE-RJ (PS3.8 table 9-21)."""

    result: int
    source: int
    reason: int
    words: str = field(default="", compare=False)


CALLED_UNKNOWN: Final = Refusal(1, 1, 7, "called AE title not recognized")
CALLING_UNKNOWN: Final = Refusal(1, 1, 3, "calling AE title not recognized, or not from there")
NOT_IDENTIFIED: Final = Refusal(1, 2, 1, "user identity or certificate missing, or not the right one")
NO_PROTOCOL: Final = Refusal(1, 2, 2, "protocol version not supported")
NO_APPLICATION_CONTEXT: Final = Refusal(1, 1, 2, "application context name not supported")
CONGESTED: Final = Refusal(2, 3, 1, "temporary congestion")
LIMIT_REACHED: Final = Refusal(2, 3, 2, "local limit exceeded")


def _result(item: ContextItem, terms: Terms | int) -> tuple[int, str]:
    """Return the result and, when it is accepted, the transfer syntax: the first proposed that we take."""
    if isinstance(terms, int):
        return terms, ""
    for syntax in item.transfer_syntaxes:
        if terms.transfer_syntaxes is None:
            if _UID.fullmatch(syntax) and len(syntax) <= 64:
                return pdu.ACCEPTED, syntax
        elif syntax in terms.transfer_syntaxes:
            return pdu.ACCEPTED, syntax
    return pdu.TRANSFER_SYNTAXES_UNKNOWN, ""


def _roles(said: Associate, request: Associate, syntax: str, terms: Terms) -> tuple[bool, bool]:
    """Return the roles of the requestor, and answer its proposal of roles (PS3.7 D.3.3.4)."""
    asked = request.roles.get(syntax)
    if asked is None:
        return True, False
    given = (asked[0], asked[1] and terms.requestor_as_scp)
    said.roles[syntax] = given
    return given


def _send_bytes(announced: int) -> int:
    return min(announced, MAX_PDU_BYTES) if announced else MAX_PDU_BYTES
