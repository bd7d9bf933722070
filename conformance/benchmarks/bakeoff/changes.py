"""What it costs to change, and what the body costs: run on a cluster that the bake-off left with --keep.

`python -m conformance.benchmarks.bakeoff.changes --data-dir DIR --resources 1000000` measures updates that change
keys and updates that do not, deletes, the upkeep of the chart index, the price of a key, statistics targets, and
jsonb against text for the body.
"""

from __future__ import annotations

import argparse
import io
import json
import time
import zlib
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from random import Random
from statistics import median
from typing import Any

from conformance.benchmarks.bakeoff.cluster import Cluster
from conformance.benchmarks.bakeoff.extraction import TYPE_CODE, index, key
from conformance.benchmarks.bakeoff.layouts import BODY, ROW
from conformance.benchmarks.bakeoff.loading import Seen, load, stored
from conformance.samples import resources

OBSERVATION = TYPE_CODE["Observation"]
FINAL, AMENDED = (
    [key("Observation", "status", f"{system}{code}") for system in ("urn:fixed|", "")]
    for code in ("final", "amended")
)


_BODY = next(r for r in resources(seed=6, count=5000) if "valueQuantity" in r)
BODY_OF = {
    kind: "'" + json.dumps({**_BODY, **change}).replace("'", "''") + "'::jsonb"
    for kind, change in (("value", {}), ("status", {"status": "amended"}), ("delete", {}))
}


class Meter:
    """Server CPU, WAL and wall clock of a piece of work, per unit."""

    def __init__(self, cluster: Cluster, connection: Any) -> None:
        self.cluster, self.connection = cluster, connection

    def _wal(self) -> int:
        with self.connection.cursor() as cursor:
            cursor.execute("select pg_current_wal_insert_lsn() - '0/0'::pg_lsn")
            return int(cursor.fetchone()[0])

    def measure(self, units: int, work: Callable[[], None]) -> dict[str, float]:
        wal, cpu, wall = self._wal(), self.cluster.cpu_s(), time.perf_counter()
        work()
        self.connection.commit()
        return {
            "us": 1e6 * (time.perf_counter() - wall) / units,
            "server_us": 1e6 * (self.cluster.cpu_s() - cpu) / units,
            "wal_bytes": (self._wal() - wal) / units,
        }


def statements(layout: str, kind: str, pk: int) -> list[str]:
    """One change of one Observation: "value" keeps all keys, "status" replaces two, "delete" ends it."""
    where = f"tenant = 0 and type = {OBSERVATION} and pk = {pk}"
    content = BODY_OF[kind]  # the client sends the new body, as it would
    old, new = (FINAL, AMENDED) if kind == "status" else ([], [])
    uuids = "array[" + ",".join(f"'{k}'" for k in new) + "]::uuid[]"
    swap = (
        f", keys = (select array_agg(k) from unnest(keys) k where k <> all('{{{','.join(old)}}}'::uuid[])) || {uuids}"
        if old
        else ""
    )
    next_version = "version = version + 1, last_updated = now()"
    if layout == "split":
        if kind == "delete":
            return [
                f"insert into split_body select tenant, type, pk, version + 1, now(), pk, 'D', true, null, null from split where {where}",
                f"update split set {next_version}, deleted = true, keys = '{{}}' where {where}",
            ]
        return [
            f"insert into split_body select tenant, type, pk, version + 1, now(), pk, 'U', false, '{{}}', {content} from split where {where}",
            f"update split set {next_version}{swap} where {where}",
        ]
    history = [f"insert into {layout}_version select {COLUMNS} from {layout} where {where}"]
    if kind == "delete":
        clear = ", keys = '{}'" if layout != "b" else ""
        history.append(
            f"update {layout} set {next_version}, deleted = true, content = null, meta = null{clear} where {where}"
        )
        return history + ([f"delete from b_key where tenant = 0 and pk = {pk} and key = any("
                           f"(select keys from a128 where {where})::uuid[])"] if layout == "b" else [])  # fmt: skip
    if layout == "b":
        history.append(f"update b set {next_version}, content = {content} where {where}")
        if old:
            history.append(
                f"delete from b_key where tenant = 0 and pk = {pk} and key in ({','.join(repr(k) for k in old)})"
            )
            history.append("insert into b_key values " + ",".join(f"(0, '{k}', {pk}, {OBSERVATION})" for k in new)
                           + " on conflict do nothing")  # fmt: skip
        return history
    return [*history, f"update {layout} set {next_version}, content = {content}{swap} where {where}"]


COLUMNS = "tenant, type, pk, rid, id, version, last_updated, stamp, method, deleted, meta, content"


def updates(meter: Meter, last_pk: int, each: int = 600) -> list[dict[str, Any]]:
    found: dict[tuple[str, str], list[dict[str, float]]] = {}
    with meter.connection.cursor() as cursor:
        for layout in ("a128", "b"):
            cursor.execute(
                f"create table if not exists {layout}_version ({ROW}, primary key (tenant, type, pk, version))"
            )
        cursor.execute(
            f"select pk from a128 where tenant = 0 and type = {OBSERVATION} and pk > {last_pk // 2} and not deleted"
        )
        pks = [row[0] for row in cursor.fetchall()]
        Random(11).shuffle(pks)
        for number in range(5):
            for kind in ("value", "status", "delete"):
                mine, pks = pks[:each], pks[each:]
                for layout in sorted(("a128", "split", "b"), key=lambda name, n=number: hash((n, name))):
                    if kind == "delete" and layout == "a128":
                        continue
                    for_all = [statements(layout, kind, pk) for pk in mine]

                    def work(lists: list[list[str]] = for_all) -> None:
                        for one in lists:
                            cursor.execute("; ".join(one))

                    found.setdefault((layout, kind), []).append(meter.measure(each, work))
                if kind == "delete":  # b looks up its keys in a128, so a128 goes last
                    for_all = [statements("a128", kind, pk) for pk in mine]
                    found.setdefault(("a128", kind), []).append(meter.measure(each, work_of(cursor, for_all)))
    return [
        {"layout": layout, "kind": kind, **_medians(values)}
        for (layout, kind), values in sorted(found.items())
    ]


def work_of(cursor: Any, lists: list[list[str]]) -> Callable[[], None]:
    def work() -> None:
        for one in lists:
            cursor.execute("; ".join(one))

    return work


def _medians(values: list[dict[str, float]]) -> dict[str, float]:
    return {name: round(median(v[name] for v in values), 1) for name in values[0]}


def chart_upkeep(
    cluster: Cluster, connection: Any, start: int, each: int = 5000, rounds: int = 4
) -> dict[str, float]:
    stream = resources(seed=2, count=each * rounds * 2)
    costs: dict[str, list[float]] = {"without": [], "with": []}
    first = start
    for _ in range(rounds):
        for which in costs:
            with connection.cursor() as cursor:
                cursor.execute("drop index if exists split_chart")
                if which == "with":
                    cursor.execute(
                        "create index split_chart on split (tenant, type, patient, clinical desc nulls last, pk desc)"
                    )
            connection.commit()
            rows = [stored(r, pk, Seen()) for pk, r in enumerate(islice(stream, each), first)]
            first += each
            costs[which].append(1e6 * load(cluster, "split", rows).server_s / each)
    return {which: round(median(values), 1) for which, values in costs.items()}


def key_price(cluster: Cluster, connection: Any, count: int = 40_000) -> list[dict[str, float]]:
    """GIN upkeep by the number of keys a row, at the front, without marker keys, and with half as many again."""
    kept = [index(r) for r in resources(seed=3, count=count)]
    made = []
    for share in ("12 keys", "no markers", "all", "+12 keys"):
        with connection.cursor() as cursor:
            cursor.execute("drop table if exists price; create table price (pk bigint, keys uuid[])")
            cursor.execute("create index price_keys on price using gin (keys) with (fastupdate = off)")
            connection.commit()
            markers = {key(name, code, "") for name in TYPE_CODE for code in _CODES}
            lines = []
            for pk, rows in enumerate(kept):
                keys = rows.keys
                if share == "12 keys":
                    keys = keys[:12]
                elif share == "no markers":
                    keys = [k for k in keys if k not in markers]
                elif share == "+12 keys":
                    keys = keys + [k[:7] + ("0" if k[7] != "0" else "1") + k[8:] for k in keys[:12]]
                lines.append((len(keys), f"{pk}\t{{{','.join(keys)}}}"))
            cpu = cluster.cpu_s()
            for start in range(0, count, 500):
                cursor.copy_expert(
                    "copy price from stdin",
                    io.StringIO("\n".join(t for _, t in lines[start : start + 500]) + "\n"),
                )
                connection.commit()
            spent = 1e6 * (cluster.cpu_s() - cpu) / count
            cursor.execute("vacuum price") if connection.autocommit else None
            cursor.execute("select pg_relation_size('price'), pg_relation_size('price_keys')")
            heap, gin = cursor.fetchone()
            made.append({"which": share, "keys": round(sum(n for n, _ in lines) / count, 1), "server_us": round(spent, 1),
                         "heap_bytes": heap // count, "gin_bytes": gin // count})  # fmt: skip
    return made


_CODES = ("status category code patient encounter performer value-concept clinical-status verification-status identifier class "
          "type reason-code service-provider result intent requester author vaccine-code lot-number criticality condition gender "
          "general-practitioner organization telecom date onset-date recorded-date abatement-date issued authoredon birthdate "
          "death-date value-quantity component-code").split()  # fmt: skip


def statistics(connection: Any) -> list[dict[str, float]]:
    made = []
    with connection.cursor() as cursor:
        for target in (0, 100, 400, 1000, 4000):
            cursor.execute(f"alter table split alter column keys set statistics {target}")
            connection.commit()
            began = time.perf_counter()
            cursor.execute("analyze split (keys)" if target else "delete from pg_statistic where starelid = 'split'::regclass "
                           "and staattnum = (select attnum from pg_attribute where attrelid = 'split'::regclass and attname = 'keys')")  # fmt: skip
            took = time.perf_counter() - began
            connection.commit()
            cursor.execute("select array_length(most_common_elems::text::text[], 1), most_common_elem_freqs[array_length("
                           "most_common_elem_freqs, 1) - 2] from pg_stats where tablename = 'split' and attname = 'keys'")  # fmt: skip
            told = cursor.fetchone() or (0, 0)
            times = []
            for _ in range(15):
                cursor.execute("explain (analyze, format json) select pk from split r where tenant = 0 and keys @> "
                               f"'{{{FINAL[0]},{key('Observation', 'code', '8867-4')}}}'::uuid[] order by pk limit 20")  # fmt: skip
                times.append(cursor.fetchone()[0][0]["Planning Time"])
            made.append({"target": target, "elements": told[0], "rarest": told[1], "analyze_s": round(took, 2),
                         "planning_ms": round(median(times), 3)})  # fmt: skip
        cursor.execute("alter table split alter column keys set statistics -1")
        cursor.execute("analyze split (keys)")
    connection.commit()
    return made


def bodies(cluster: Cluster, connection: Any, count: int = 60_000) -> list[dict[str, Any]]:
    """The body as jsonb, as text, and as both; load, read of 20 by key, bytes. And what a dictionary would save."""
    rows = [stored(r, pk, Seen()) for pk, r in enumerate(resources(seed=4, count=count), 1)]
    forms = {"jsonb": "j jsonb", "text": "t text", "both": "j jsonb, t text"}
    made: dict[str, dict[str, list[float]]] = {
        name: {"load_us": [], "read_ms": [], "read_us": []} for name in forms
    }
    sizes: dict[str, float] = {}
    rng = Random(1)
    with connection.cursor() as cursor:
        for number in range(3):
            for name in sorted(forms, key=lambda n, k=number: hash((k, n))):
                cursor.execute(
                    f"drop table if exists body; create table body (pk bigint primary key, {forms[name]})"
                )
                connection.commit()
                cpu = cluster.cpu_s()
                for start in range(0, count, 500):
                    copied = (s.content.replace("\\", "\\\\") for s in rows[start : start + 500])
                    text = "\n".join(
                        f"{start + i}\t{c}\t{c}" if name == "both" else f"{start + i}\t{c}"
                        for i, c in enumerate(copied)
                    )
                    cursor.copy_expert("copy body from stdin", io.StringIO(text + "\n"))
                    connection.commit()
                made[name]["load_us"].append(1e6 * (cluster.cpu_s() - cpu) / count)
                column = "j::text" if name == "jsonb" else "t"
                times, cpu = [], cluster.cpu_s()
                for _ in range(400):
                    pks = ",".join(str(rng.randrange(count)) for _ in range(20))
                    began = time.perf_counter()
                    cursor.execute(f"select pk, {column} from body where pk in ({pks})")
                    cursor.fetchall()
                    times.append(1000 * (time.perf_counter() - began))
                made[name]["read_ms"].append(median(times))
                made[name]["read_us"].append(1e6 * (cluster.cpu_s() - cpu) / 400)
                cursor.execute("select pg_table_size('body')")
                sizes[name] = cursor.fetchone()[0] / count
    connection.commit()
    answer: list[dict[str, Any]] = [
        {"body": name, "bytes": round(sizes[name]), **{k: round(median(v), 3) for k, v in values.items()}}
        for name, values in made.items()
    ]
    by_type: dict[int, str] = {}
    for s in rows[: count // 2]:
        by_type[s.type] = s.content
    dictionary = "".join(by_type.values()).encode()[-32_000:]
    texts = [s.content.encode() for s in rows[count // 2 : count // 2 + 4000]]
    began = time.process_time()
    packed = [_packed(t, dictionary) for t in texts]
    spent = 1e6 * (time.process_time() - began) / len(texts)
    answer.append({"body": "zlib with a dictionary", "bytes": sum(map(len, packed)) // len(texts), "pack_us": round(spent, 1),
                   "plain_bytes": sum(map(len, texts)) // len(texts)})  # fmt: skip
    return answer


def text_versions(connection: Any) -> dict[str, int]:
    """The version table of `split` as text, keyed by (tenant, pk, version): bytes a row of heap and of index."""
    columns = BODY.replace("jsonb", "text")
    with connection.cursor() as cursor:
        cursor.execute(
            f"drop table if exists as_text; create table as_text ({columns}, primary key (tenant, pk, version))"
        )
        cursor.execute("insert into as_text select * from (select tenant, type, pk, version, last_updated, stamp, method, deleted, "
                       "meta::text, content::text from split_body where pk <= 200000) b order by pk")  # fmt: skip
        cursor.execute("select count(*), pg_table_size('as_text'), pg_indexes_size('as_text') from as_text")
        rows, heap, indexes = cursor.fetchone()
        cursor.execute("drop table as_text")
    connection.commit()
    return {"heap_bytes": heap // rows, "index_bytes": indexes // rows}


def _packed(text: bytes, dictionary: bytes) -> bytes:
    packer = zlib.compressobj(6, zdict=dictionary)
    return packer.compress(text) + packer.flush()


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m conformance.benchmarks.bakeoff.changes", description=__doc__
    )
    parser.add_argument("--resources", type=int, default=1_000_000)
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("bakeoff-changes.json"))
    parser.add_argument("--only", nargs="*", default=[])
    arguments = parser.parse_args()
    cluster = Cluster(arguments.data_dir)
    cluster.start()
    connection = cluster.connect()
    result: dict[str, Any] = {}
    try:
        for name, work in (
            ("statistics", lambda: statistics(connection)),
            ("updates", lambda: updates(Meter(cluster, connection), arguments.resources)),
            ("chart", lambda: chart_upkeep(cluster, connection, arguments.resources + 1)),
            ("key price", lambda: key_price(cluster, connection)),
            ("bodies", lambda: bodies(cluster, connection)),
            ("text", lambda: text_versions(connection)),
        ):
            if arguments.only and name not in arguments.only:
                continue
            result[name] = work()
            print(name, json.dumps(result[name], indent=1), flush=True)
            arguments.out.write_text(json.dumps(result, indent=1))
    finally:
        cluster.stop()


if __name__ == "__main__":
    main()
