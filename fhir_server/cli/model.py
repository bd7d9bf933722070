"""The models of the decision services: train, evaluate, promote by two persons, watch, take back.

Releases lie under the data folder and never change; `train` and `recalibrate` write new ones. What is
shown to clinicians changes by `promote`, `demote` and `retire`, each kept with name and reason.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from fhir_server.cli import model_card, model_local, model_states, model_training
from fhir_server.cli.command import Refused, add_json, add_settings, answer
from fhir_server.cli.model_place import MODELS, Document
from fhir_server.config import Config

EXAMPLES = """\
  xinglin model train stroke-early-aspirin --data IST_corrected.csv
  xinglin model list
  xinglin model card stroke-early-aspirin
  xinglin model evaluate stroke-early-aspirin --version 2 --data ours.csv --record --by 'Ada Lovelace'
  xinglin model recalibrate stroke-early-aspirin --version 2 --data ours.csv --by 'Ada Lovelace'
  xinglin model promote stroke-early-aspirin --version 3 --by 'Ada Lovelace' --reason 'to be watched'
  xinglin model propose stroke-early-aspirin --version 3 --by 'Ada Lovelace' --reason 'fits our patients'
  xinglin model promote stroke-early-aspirin --version 3 --by 'Charles Babbage' --reason 'figures checked'
  xinglin model monitor --outcomes outcomes.csv
  xinglin model demote stroke-early-aspirin --by 'Ada Lovelace' --reason 'CT codes changed'
  xinglin model plots stroke-early-aspirin --out plots
"""


@dataclass(frozen=True, slots=True)
class Action:
    """One word behind `xinglin model`."""

    words: str
    add_arguments: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace, Config], Document]
    text: Callable[[Document], str]
    needs_model: bool = True


ACTIONS: dict[str, Action] = {
    "train": Action(
        "train a release from the trial's data", model_training.add_train, model_training.train,
        model_training.training_text,
    ),
    "evaluate": Action(
        "figures of a release: on its own data again, or on patients of this place",
        model_local.add_evaluate, model_local.evaluate, model_local.evaluation_text,
    ),
    "recalibrate": Action(
        "fit a release to the patients of this place: a release of its own", model_local.add_recalibrate,
        model_local.recalibrate, model_local.recalibration_text,
    ),
    "list": Action(
        "every release with its state and figures", model_states.add_list, model_states.listing,
        model_states.listing_text, needs_model=False,
    ),
    "show": Action(
        "one release: card, state, who did what, what blocks it", model_states.add_show, model_states.show,
        model_states.show_text,
    ),
    "card": Action(
        "the whole model card for people, with the evidence on individual effects", model_card.add_card,
        model_card.card, model_card.card_text,
    ),
    "propose": Action(
        "propose to show a release; another person has to approve", model_states.add_step,
        model_states.step, model_states.step_text,
    ),
    "promote": Action(
        "a draft to shadow, or the approval of another's proposal", model_states.add_step,
        model_states.step, model_states.step_text,
    ),
    "withdraw": Action(
        "take back a proposal", model_states.add_step, model_states.step, model_states.step_text
    ),
    "demote": Action(
        "what is shown back to shadow, at once", model_states.add_step, model_states.step,
        model_states.step_text,
    ),
    "retire": Action(
        "take a release out of use for good", model_states.add_step, model_states.step, model_states.step_text
    ),
    "monitor": Action(
        "hold what is in use against what it was made on, and demote what has drifted",
        model_local.add_monitor, model_local.monitor, model_local.monitor_text, needs_model=False,
    ),
    "plots": Action(
        "calibration, decision curve and subgroups as SVG", model_local.add_plots, model_local.plots,
        model_local.plots_text,
    ),
}  # fmt: skip


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the actions and the flags of each."""
    actions: Any = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    for name, action in ACTIONS.items():
        made = actions.add_parser(name, help=action.words, description=action.words, allow_abbrev=False)
        made.add_argument("model", nargs="?", metavar="MODEL", help=f"which model: {' or '.join(MODELS)}")
        action.add_arguments(made)
        add_json(made)
        add_settings(made, "data_dir", "database_url")


def run(arguments: argparse.Namespace, config: Config) -> int:
    """Do what was asked; a refusal of training, of a release or of a step comes out as Refused."""
    action = ACTIONS[arguments.action]
    if (action.needs_model or arguments.model) and arguments.model not in MODELS:
        raise Refused(
            f"there is no model {arguments.model}; known are {', '.join(MODELS)}."
            " Each is evaluated and recalibrated by its own table of inputs (docs/models.md); another trial,"
            " described in a file, is evaluated by `python -m cds_hooks.training FILE --data ROWS`"
            if arguments.model
            else f"{arguments.action} needs a MODEL: {', '.join(MODELS)}"
        )
    try:
        document = action.run(arguments, config)
    except ImportError as error:
        raise Refused(f"training needs pandas: pip install 'xinglin[train]' ({error})") from error
    except (OSError, ValueError, RuntimeError) as error:
        raise Refused(str(error) or type(error).__name__) from error
    answer(arguments, document, action.text(document))
    return 0
