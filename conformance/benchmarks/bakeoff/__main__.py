"""The command: load in rounds, ask at the checkpoints, write results.json and a table."""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

from conformance.benchmarks.bakeoff import measure
from conformance.benchmarks.bakeoff.cluster import Cluster
from conformance.benchmarks.bakeoff.extraction import TYPE_CODE, TYPES
from conformance.benchmarks.bakeoff.layouts import DDL, NAMES, TABLES
from conformance.benchmarks.bakeoff.loading import Seen, chunk, load, order
from conformance.benchmarks.bakeoff.questions import questions
from conformance.samples import resources

CHART = {  # only there while questions are asked; its cost is measured apart
    layout: f"create index if not exists {layout}_chart on {layout} (tenant, type, patient, clinical desc nulls last, pk desc)"
    for layout in ("a128", "split")
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m conformance.benchmarks.bakeoff", description=__doc__)
    parser.add_argument("--resources", type=int, default=1_000_000)
    parser.add_argument("--data-dir", type=Path, required=True, help="empty folder; removed at the end")
    parser.add_argument("--chunk", type=int, default=50_000)
    parser.add_argument("--ask-at", type=int, nargs="*", default=[50_000, 200_000])
    parser.add_argument("--layouts", nargs="*", default=list(NAMES))
    parser.add_argument("--out", type=Path, default=Path("bakeoff.json"))
    parser.add_argument("--ask-only", action="store_true", help="a kept cluster: ask again, load nothing")
    parser.add_argument("--keep", action="store_true", help="leave the cluster for a look around")
    arguments = parser.parse_args()
    cluster = Cluster(arguments.data_dir)
    cluster.start()
    result: dict[str, Any] = {"loads": [], "sizes": {}, "answers": []}
    try:
        run(cluster, arguments, result)
    finally:
        cluster.stop()
        if not arguments.keep:
            cluster.remove()


def run(cluster: Cluster, arguments: argparse.Namespace, result: dict[str, Any]) -> None:
    connection = cluster.connect()
    connection.autocommit = True
    layouts = tuple(arguments.layouts)
    if arguments.ask_only:
        ask(cluster, connection, layouts, arguments.resources, seen_before(connection), result)
        arguments.out.write_text(json.dumps(result, indent=1))
        return
    with connection.cursor() as cursor:
        for layout in layouts:
            for statement in DDL[layout]:
                cursor.execute(statement)
    seen, stream, done, number = Seen(), resources(seed=1, count=arguments.resources + 200_000), 0, 0
    while done < arguments.resources:
        rows = chunk(stream, min(arguments.chunk, arguments.resources - done), done + 1, seen)
        for layout in order(layouts, number):
            cost = load(cluster, layout, rows)
            result["loads"].append({"done": done, "layout": layout, **vars(cost)})
        done += len(rows)
        number += 1
        print(f"{done:,} loaded", " ".join(f"{c['layout']}={c['wall_s']:.0f}s/{1e6 * c['server_s'] / c['resources']:.0f}us"
              for c in result["loads"][-len(layouts):]), flush=True)  # fmt: skip
        if done in arguments.ask_at or done == arguments.resources:
            ask(cluster, connection, layouts, done, seen, result)
            result["json_bytes"] = seen.json_bytes / done
            arguments.out.write_text(json.dumps(result, indent=1))


def seen_before(connection: Any) -> Seen:
    """What a kept cluster holds, as the loader would have seen it."""
    seen = Seen()
    with connection.cursor() as cursor:
        cursor.execute("select 'Patient/' || p.id, n, last from (select patient, count(*) n, max(pk) last from split group by 1) g "
                       "join split p on p.tenant = 0 and p.rid = g.patient order by 1")  # fmt: skip
        seen.patients = {reference: [n, last] for reference, n, last in cursor.fetchall()}
        cursor.execute("select content->'identifier'->0->>'system', content->'identifier'->0->>'value' from split_body "
                       "where tenant = 0 and type = %s and content is not null order by pk", (TYPE_CODE["Patient"],))  # fmt: skip
        seen.identifiers = cursor.fetchall()
        cursor.execute("select type, id from split where pk %% 997 = 0 order by pk", ())
        seen.ids = [(TYPES[kind - 1], identity) for kind, identity in cursor.fetchall()]
    return seen


def ask(
    cluster: Cluster, connection: Any, layouts: tuple[str, ...], done: int, seen: Seen, result: dict[str, Any]
) -> None:
    began = time.perf_counter()
    sizes: dict[str, dict[str, float]] = {}
    with connection.cursor() as cursor:
        for layout in layouts:
            for table in TABLES[layout]:
                cursor.execute(f"vacuum (analyze) {table}")
                cursor.execute("select relname, pg_relation_size(oid) from pg_class where oid = %s::regclass or oid in "
                               "(select indexrelid from pg_index where indrelid = %s::regclass) or oid in "
                               "(select reltoastrelid from pg_class where oid = %s::regclass)", (table, table, table))  # fmt: skip
                sizes.setdefault(layout, {}).update((name, size / done) for name, size in cursor.fetchall())
        result["sizes"][str(done)] = sizes
        for layout, relations in sizes.items():
            print(f"  {layout}: {sum(relations.values()):.0f} B a resource",
                  {name: round(size) for name, size in relations.items()}, flush=True)  # fmt: skip
        for layout, statement in CHART.items():
            if layout in layouts:
                cursor.execute(statement)
                cursor.execute(f"select pg_relation_size('{layout}_chart')")
                print(f"  {layout}_chart: {cursor.fetchone()[0] / done:.0f} B")
    asking = cluster.connect()
    with asking.cursor() as cursor:
        cursor.execute("set statement_timeout = '20s'; set max_parallel_workers_per_gather = 0")
    asking.commit()
    for question in questions(seen, done):
        kept = {f: m for f, m in question.forms.items() if f.partition("/")[0] in layouts}
        answers = measure.answer(asking, done, type(question)(question.name, kept))
        result["answers"].extend(measure.as_rows(answers))
        for a in answers:
            print(f"  {done:>8} {a.question:38} {a.form:16} p50 {a.p50_ms:9.2f} p95 {a.p95_ms:9.2f} rows {a.rows:5.0f} "
                  f"buffers {a.buffers:8.0f} plan {a.planning_ms:.2f} ms  {a.plan[:420]}", flush=True)  # fmt: skip
    asking.close()
    with connection.cursor() as cursor:
        for layout in CHART:
            if layout in layouts:
                cursor.execute(f"drop index {layout}_chart")
    print(f"  asked in {time.perf_counter() - began:.0f} s", flush=True)


if __name__ == "__main__":
    main()
