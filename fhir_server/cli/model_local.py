"""`model evaluate`, `recalibrate`, `monitor` and `plots`: a release on the patients of this place."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cds_hooks.figures import drawings
from cds_hooks.models import blocks, catalogue, states
from cds_hooks.models.catalogue import Release
from cds_hooks.models.states import Order
from fhir_server.cli.command import Refused, say
from fhir_server.cli.model_place import Document, Place, folders, now, place, table
from fhir_server.cli.model_training import again
from fhir_server.config import Config

DAYS = 30


def _add_patients(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--version", metavar="N", help="which release; default the newest")
    parser.add_argument(
        "--data", type=Path, metavar="FILE", help="patients with inputs and outcome, CSV or .xz"
    )
    parser.add_argument(
        "--where", metavar="COLUMN=A,B", action="append", default=[], help="only these rows (also COLUMN!=A)"
    )
    parser.add_argument("--site", metavar="COLUMN", default="", help="column of the site [site or COUNTRY]")
    parser.add_argument(
        "--group", metavar="COLUMN", action="append", default=[], help="report by this column too (language)"
    )
    parser.add_argument(
        "--records", action="store_true", help="recorded answers whose outcome is known, instead"
    )
    parser.add_argument("--by", metavar="NAME", default="", help="who does it, by name")
    parser.add_argument("--place", metavar="TEXT", default="", help="whose patients they are, in words")


def add_evaluate(parser: argparse.ArgumentParser) -> None:
    """Declare the flags of evaluate."""
    _add_patients(parser)
    parser.add_argument(
        "--record", action="store_true", help="keep it as the assessment that showing the release needs"
    )


def add_recalibrate(parser: argparse.ArgumentParser) -> None:
    """Declare the flags of recalibrate."""
    _add_patients(parser)
    parser.add_argument("--out", type=Path, metavar="DIR", help="folder of the release, if another")


def add_monitor(parser: argparse.ArgumentParser) -> None:
    """Declare the flags of monitor."""
    parser.add_argument("--version", metavar="N", help="which release; default all in shadow or active")
    parser.add_argument(
        "--outcomes", type=Path, metavar="FILE",
        help="what became of patients: CSV (call_id or patient, outcome) or FHIR as NDJSON",
    )  # fmt: skip
    parser.add_argument(
        "--client", metavar="ISSUER",
        help="whose patients these are, as the records name it (ISSUER, or ISSUER#tenant=TENANT)",
    )  # fmt: skip
    parser.add_argument("--days", type=int, default=DAYS, metavar="N", help=f"how far back [{DAYS}]")
    parser.add_argument("--dry-run", action="store_true", help="look, but demote nothing")


def add_plots(parser: argparse.ArgumentParser) -> None:
    """Declare the flags of plots."""
    parser.add_argument("--version", metavar="N", help="which release; default the newest")
    parser.add_argument("--out", type=Path, metavar="DIR", default=Path(), help="folder for the files [.]")


@dataclass(frozen=True)
class _Patients:
    sample: Any
    place: Any
    same_data: bool


def _patients(arguments: argparse.Namespace, here: Place, release: Release) -> _Patients:
    """Return the patients that were named, with what the release predicts for them."""
    from cds_hooks.evaluation import table as tables
    from cds_hooks.evaluation.local import Place as Whose
    from cds_hooks.evaluation.performance import TooFew
    from cds_hooks.monitoring.monitors import Monitors
    from cds_hooks.records.monitoring import Monitoring

    who = arguments.by.strip() or "nobody named"
    if arguments.records:
        watch = Monitors(here.log, Monitoring(here.engine), here.folders[:1])
        sample = watch.sample(release)
        if not len(sample.y):
            raise TooFew(f"no recorded answer of {release.identity} has an outcome yet")
        where = arguments.place or "recorded answers of this installation"
        return _Patients(sample, Whose(where, who, "", len(sample.y)), False)
    rows = tables.read(arguments.data, arguments.where, arguments.site, arguments.group)
    if rows.left_out:
        say(f"{rows.left_out} rows without an outcome are left out")
    same = rows.sha256 in _used(release)
    if same:
        say("these rows are of the data that the release was made from: figures are better than they will be")
    where = arguments.place or " ".join([arguments.data.name, *arguments.where])
    sample = rows.sample(catalogue.load(release))
    return _Patients(sample, Whose(where, who, rows.sha256, len(rows)), same)


def _used(release: Release) -> set[str]:
    """Return the hashes of the data that a release was trained on and fitted to."""
    own = release.card.get("recalibration", {}).get("assessment", {}).get("data", {})
    return {release.card["data"].get("sha256"), own.get("sha256")} - {None, ""}


def evaluate(arguments: argparse.Namespace, config: Config) -> Document:
    """Return the figures of a release; with --record they are kept as its assessment."""
    _need_patients(arguments, "evaluate")
    release = catalogue.find(folders(config), arguments.model, arguments.version)
    plain = not (arguments.where or arguments.record or arguments.records)
    if plain and _is_training_data(arguments.data, release):
        return again(release, arguments.data)
    from cds_hooks.evaluation import local

    with place(config) as here:
        found = _patients(arguments, here, release)
        assessed = local.assess(found.sample, found.place)
        if arguments.record:
            if found.same_data:
                raise Refused(
                    "a release cannot be assessed on the data it was made from; give other patients"
                )
            order = Order(
                "assess", release, arguments.by, f"evaluated on {found.place.where}", now(), evidence=assessed
            )
            here.log.carry_out(order, blocks.blocks)
        standing = states.standing(release, here.log.events(release.model))
    figures = assessed["evaluation"]["all"]
    return {
        "model": release.model,
        "version": release.version,
        "sha256": release.sha256,
        "scheme": "the release as it is",
        "data_sha256": found.place.sha256,
        "same_data": found.same_data,
        "where": found.place.where,
        "auc": figures["auc"],
        "brier": figures["brier"],
        "calibration_slope": figures["calibration_slope"],
        "evaluation": assessed["evaluation"],
        "fairness": assessed["fairness"],
        "recorded": bool(arguments.record),
        "blocks": blocks.blocks(release, standing),
    }


def _need_patients(arguments: argparse.Namespace, action: str) -> None:
    if (arguments.data is None) == (not arguments.records):
        raise Refused(f"{action} needs --data FILE, for example IST_corrected.csv, or --records")


def _is_training_data(path: Path, release: Release) -> bool:
    from cds_hooks.evaluation import table as tables

    return bool(tables.sha256(path) == release.card["data"].get("sha256"))


def evaluation_text(found: Document) -> str:
    """Return an evaluation as a table."""
    rows = {"all": found["evaluation"]["all"], **found["evaluation"]["subgroups"]}
    lines = [f"{found['model']} version {found['version']}, {found['scheme']}"]
    if "same_figures" in found:
        lines.append(f"figures {'equal to' if found['same_figures'] else 'differ from'} its card")
    lines += [
        "",
        table(
            ["group", "n", "AUC", "95 % CI", "O/E", "95 % CI", "slope"], [_group(*r) for r in rows.items()]
        ),
    ]
    benefit = found["evaluation"]["net_benefit"]
    benefit = benefit.get("lightgbm", benefit)
    lines += ["", table(
        ["threshold", "net benefit", "treat all"],
        [[key, f"{row['model']:.3f}", f"{row['treat_all']:.3f}"] for key, row in benefit.items()],
    )]  # fmt: skip
    if fairness := found.get("fairness"):
        lines += ["", *(f"blocks: {line}" for line in fairness["blocked"])]
        lines += [f"warning: {line}" for line in fairness["warned"]]
        lines += [] if fairness["blocked"] or fairness["warned"] else ["fairness: nothing out of bounds"]
    if found.get("recorded"):
        lines += ["", "kept as its assessment"]
    return "\n".join(lines)


def _group(name: str, row: dict[str, Any]) -> list[str]:
    if "too_few" in row:
        return [name, str(row["n"]), "–", row["too_few"], "–", "", "–"]
    (low, high), (least, most) = row["auc_ci"], row["observed_over_expected_ci"]
    return [
        name, str(row["n"]), f"{row['auc']:.3f}", f"{low:.3f} to {high:.3f}",
        f"{row['observed_over_expected']:.2f}", f"{least:.2f} to {most:.2f}",
        f"{row['calibration_slope']:.2f}",
    ]  # fmt: skip


def recalibrate(arguments: argparse.Namespace, config: Config) -> Document:
    """Write a recalibrated release and return what it came to."""
    _need_patients(arguments, "recalibrate")
    if not arguments.by.strip():
        raise Refused("recalibrate needs --by NAME; it stands in the card")
    from cds_hooks.evaluation import local

    with place(config) as here:
        parent = here.release(arguments.model, arguments.version)
        found = _patients(arguments, here, parent)
        if found.same_data:
            raise Refused("a release cannot be fitted to the data it was made from; give other patients")
        places = [arguments.out, *here.folders] if arguments.out else here.folders
        release = local.recalibrate(parent, found.sample, found.place, places, now())
    update = release.card["recalibration"]
    return {
        "model": release.model,
        "version": release.version,
        "state": release.state,
        "identity": release.identity,
        "sha256": release.sha256,
        "folder": str(release.folder),
        "parent": update["parent"]["identity"],
        "update": update["update"],
        "before": update["before"],
        "after": update["assessment"]["evaluation"]["all"],
        "fairness": update["assessment"]["fairness"],
    }


def recalibration_text(found: Document) -> str:
    """Return a recalibration for people."""
    update = found["update"]
    rows = [
        [
            words, f"{row['auc']:.3f}", f"{row['brier']:.4f}", f"{row['calibration_slope']:.2f}",
            f"{row['calibration_in_the_large']:+.2f}", f"{row['observed_over_expected']:.2f}",
        ]
        for words, row in (("before", found["before"]), ("after, cross-fitted", found["after"]))
    ]  # fmt: skip
    head = ["", "AUC", "Brier", "slope", "in the large", "O/E"]
    return "\n".join([
        f"{found['identity']} ({found['state']}), from {found['parent']}, in {found['folder']}",
        f"{update['kind']}: {update['intercept']:+.3f} + {update['slope']:.3f} × log odds,"
        f" on {update['n']} patients, {update['events']} with the outcome",
        "",
        table(head, rows),
        *(f"blocks: {line}" for line in found["fairness"]["blocked"]),
    ])  # fmt: skip


def monitor(arguments: argparse.Namespace, config: Config) -> Document:
    """Take in outcomes, look at what is in use, demote what has drifted."""
    from cds_hooks.monitoring import outcomes
    from cds_hooks.monitoring.monitors import Monitors
    from cds_hooks.records.monitoring import Monitoring

    if arguments.days < 1:
        raise Refused(f"--days is {arguments.days}; give at least 1")
    if arguments.client and not arguments.outcomes:
        raise Refused("--client says whose patients the outcomes are of; it needs --outcomes FILE")
    with place(config) as here:
        records = Monitoring(here.engine)
        watch = Monitors(here.log, records, here.folders[:1])
        looked = watch.in_use()
        if arguments.version is not None:
            if arguments.model is None:
                raise Refused("--version needs a MODEL")
            looked = [here.release(arguments.model, arguments.version)]
        elif arguments.model is not None:
            looked = [release for release in looked if release.model == arguments.model]
        taken = 0
        for release in looked if arguments.outcomes else ():
            asked = watch.asked(release)
            found = outcomes.read(arguments.outcomes, asked, arguments.client)
            taken += records.keep_outcomes(
                [(o.call_id, o.bad, o.observed_at, o.source) for o in found], now()
            )
        looks = [
            watch.look(release, days=arguments.days, act=not arguments.dry_run, keep=True)
            for release in looked
        ]
    return {
        "outcomes": taken,
        "models": [
            {
                "model": look.release.model,
                "version": look.release.version,
                "identity": look.release.identity,
                "state": states.SHADOW if look.demoted else look.release.state,
                "demoted": look.demoted,
                "since": look.since.isoformat(timespec="seconds"),
                **look.report,
            }
            for look in looks
        ],
    }


def monitor_text(found: Document) -> str:
    """Return what the monitors found, the worst first."""
    lines = [f"{found['outcomes']} outcomes taken in"] if found["outcomes"] else []
    if not found["models"]:
        return "\n".join([*lines, "no model is in shadow or active; there is nothing to watch"])
    order = ["demotion", "warning", "unknown", "well"]
    for entry in found["models"]:
        lines += [
            f"{entry['identity']}   {entry['state']}   {entry['level']}"
            + ("   DEMOTED to shadow" if entry["demoted"] else ""),
            f"{entry['calls']} calls, {entry['predictions']} predictions in {entry['days']} days,"
            f" {entry['outcomes']} outcomes; held against {entry['reference']}",
        ]
        findings = sorted(entry["findings"], key=lambda one: order.index(one["level"]))
        notable = [one for one in findings if one["level"] != "well"]
        rows = [[one["level"], one["monitor"], one["words"]] for one in notable]
        lines += [table(["level", "monitor", "what"], rows)] if rows else []
        lines += [f"{len(findings) - len(notable)} of {len(findings)} monitors are well", ""]
    return "\n".join(lines).rstrip()


def plots(arguments: argparse.Namespace, config: Config) -> Document:
    """Write the drawings of a release as SVG files."""
    release = catalogue.find(folders(config), arguments.model, arguments.version)
    arguments.out.mkdir(parents=True, exist_ok=True)
    written = []
    for name, svg in drawings.of_card(release.card, release.identity).items():
        path = arguments.out / f"{release.model}-{release.version}-{name}.svg"
        path.write_text(svg, encoding="utf-8")
        written.append(str(path))
    return {"model": release.model, "version": release.version, "files": written}


def plots_text(found: Document) -> str:
    """Return which files were written."""
    return "\n".join(found["files"]) or "the card holds no figures to draw"
