"""Whether an issue says which rule it is about."""

from __future__ import annotations

from fhir_server.clauses import CLAUSES
from fhir_server.outcome import Issue, stated


def is_ruled(issue: Issue) -> bool:
    """Say whether an issue has a rule with an id and a link: a page of R4, or the definition's canonical.

    >>> is_ruled(Issue("error", "value", "…", rule="bundle-fullurl-id"))
    True
    >>> [is_ruled(Issue("error", "value", "…", rule=rule)) for rule in (None, "no-such-id", "http://x/p#")]
    [False, False, False]
    """
    if issue.rule is None or "#" not in issue.rule:
        return issue.rule in CLAUSES
    system, key, page = stated(issue.rule)
    return bool(key and (page or ":" in system))
