"""Which presentation contexts we propose for a set of instances (PS3.8 9.3.2.2, PS3.4 B.3.1).

Each stored transfer syntax gets a context of its own: in one context with several, the acceptor chooses,
and many choose the plainest. Behind them stands, for each SOP class, one context with the plain
syntaxes that we can bring every plain data set into. One association has at most 128 contexts;
what does not fit goes into the next.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from dicom_node.pixels.transcode import DEFLATED, LOSSLESS, convertible
from dicom_node.upper_layer.negotiation import EXPLICIT_LITTLE, IMPLICIT_LITTLE, Context, Proposed

MOST_CONTEXTS = 128
"""Context ids are the odd numbers of a byte (PS3.8 9.3.2.2)."""

PLAIN = (EXPLICIT_LITTLE, IMPLICIT_LITTLE)
"""What everybody takes, the syntax that keeps more first."""

Pair = tuple[str, str]
"""SOP class and stored transfer syntax."""


def plan(pairs: Iterable[Pair], most: int = MOST_CONTEXTS) -> list[tuple[frozenset[Pair], list[Proposed]]]:
    """Return, for each association that is needed, the pairs it is for and its proposals.

    >>> [(_, proposals)] = plan([("1.2", "1.2.840.10008.1.2.4.50"), ("1.2", "1.2.840.10008.1.2.1")])
    >>> [proposed.transfer_syntaxes for proposed in proposals]
    [('1.2.840.10008.1.2.1',), ('1.2.840.10008.1.2.4.50',), ('1.2.840.10008.1.2',)]
    """
    by_class: dict[str, list[str]] = {}
    for sop_class, syntax in sorted(set(pairs)):
        by_class.setdefault(sop_class, []).append(syntax)
    found: list[tuple[set[Pair], list[Proposed]]] = []
    for sop_class, syntaxes in by_class.items():
        for first in range(0, len(syntaxes), most - 1):
            some = syntaxes[first : first + most - 1]
            proposals = [Proposed(sop_class, (syntax,)) for syntax in some]
            if others := tuple(syntax for syntax in PLAIN if syntax not in some):
                proposals.append(Proposed(sop_class, others))
            if not found or len(found[-1][1]) + len(proposals) > most:
                found.append((set(), []))
            found[-1][0].update((sop_class, syntax) for syntax in some)
            found[-1][1].extend(proposals)
    return [(frozenset(pairs), proposals) for pairs, proposals in found]


def choices(
    contexts: Sequence[Context], sop_class: str, stored: str, *, as_scp: bool = False
) -> list[Context]:
    """Return the accepted contexts for an instance, the best first: as stored, plain, coded without loss.

    `as_scp` asks for contexts in which the requestor took the role of the SCP: those that C-GET sends on.
    """
    fitting = [
        context
        for context in contexts
        if context.abstract_syntax == sop_class and (context.as_scp if as_scp else context.as_scu)
    ]
    order = [stored, *PLAIN, DEFLATED, *LOSSLESS]
    return sorted(
        (context for context in fitting if convertible(stored, context.transfer_syntax)),
        key=lambda context: order.index(context.transfer_syntax),
    )
