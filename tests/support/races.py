"""Many clients at once, all released at the same moment."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from fhir_server.authorization.grant import Grant
from fhir_server.interactions.context import Context, Result
from fhir_server.interactions.entry import Entry
from fhir_server.outcome import FhirError

RACERS = 64
ANYONE = Grant("test")

Answer = Result | FhirError


def race(entry: Entry, work: Callable[[Context, int], Result], racers: int = RACERS) -> list[Answer]:
    """Run `work` once per racer, each in a unit of its own, all released at the same moment."""
    return at_once(lambda number: entry.write(ANYONE, lambda context: work(context, number)), racers)


def at_once(work: Callable[[int], Result], racers: int = RACERS) -> list[Answer]:
    """Run `work` once per racer; return what each came to, its answer or its refusal."""
    gate = threading.Barrier(racers)

    def one(number: int) -> Answer:
        gate.wait()
        try:
            return work(number)
        except FhirError as error:
            return error

    with ThreadPoolExecutor(racers) as pool:
        return list(pool.map(one, range(racers)))


def statuses(answers: list[Answer]) -> list[int]:
    """Return the statuses of all answers, sorted."""
    return sorted(answer.status for answer in answers)


def ids(answers: list[Answer]) -> set[str]:
    """Return the ids that the answers speak of."""
    return {answer.version.id for answer in answers if isinstance(answer, Result) and answer.version}


def holding(entry: Entry, value: str) -> int:
    """Return how many resources carry an identifier with this value."""
    sql = "SELECT count(*) FROM resource WHERE NOT deleted AND content @> %s::jsonb"
    given = f'{{"identifier": [{{"value": "{value}"}}]}}'
    rows = entry.read(ANYONE, lambda context: context.unit.execute(sql, (given,)))
    return int(rows[0][0])


def chain(entry: Entry, id_: str) -> list[int]:
    """Return the numbers of all versions of a resource, ascending."""
    sql = (
        "SELECT array_agg(version ORDER BY version) FROM (SELECT version FROM resource WHERE id = %s "
        "UNION ALL SELECT version FROM resource_version WHERE id = %s) AS chain"
    )
    found: list[int] = entry.read(ANYONE, lambda context: context.unit.execute(sql, (id_, id_)))[0][0]
    return found
