"""The lesion network's scores as a page, made from its card alone."""

import math
from collections.abc import Iterator, Mapping
from typing import Any

from models.findings import Lesion
from models.reading import Definition
from models.weights import Card
from trainer.evaluation.lesion_card import OF_TRUTH, card_name
from trainer.evaluation.study_sets import SECOND_PHANTOM
from trainer.markdown_table import markdown, written
from trainer.metrics.published_scores import PAPER

GOALS = dict.fromkeys(Lesion, 0.90) | {Lesion.EROSION: 0.85}
"""AUC on images of a generator that was never seen."""

COLUMNS = {
    "AUC": "auc",
    "balanced accuracy": "balanced_accuracy",
    "sensitivity": "sensitivity",
    "specificity": "specificity",
    "balanced accuracy at .5": "balanced_accuracy_at_half",
    "sensitivity at .5": "sensitivity_at_half",
    "specificity at .5": "specificity_at_half",
}
DEFINED = ("sensitivity", "specificity", "kappa")
FINE = {"Brier": "brier", "ECE": "ece"}


def scores_page(card: Card) -> str:
    """The page in Markdown."""
    parts = [
        "# How well lesions are scored",
        f"**{card.intended_use}.** Both networks as they are shipped: images go in, calibrated "
        "scores come out. Patients, images and readers are invented, and neither network learnt "
        "from any of them. A position that was not evaluable counts as called free of lesions.",
        f"{card.name.capitalize()} network {card.version}, SHA-256 {card.sha256[:12]}…; made from "
        "its card `models/weights/lesion/card.json`, where every number is. In brackets 95 % "
        "intervals from 1000 draws of whole patients. Balanced accuracy, sensitivity and "
        "specificity are at the network's own thresholds, which were chosen on: "
        f"{card.settings.get('thresholds_chosen', 'unknown')}; and at a probability of .5.",
        *(part for name, of in card.metrics.items() for part in _set(name, of)),
        *_not_reached(card.metrics),
    ]
    return "\n\n".join(parts) + "\n"


def _set(name: str, of: Mapping[str, Any]) -> Iterator[str]:
    yield f"## {_title(name)}, against the {of['labels']}".replace("the what", "what")
    yield (
        f"{of['patients']} patients, {of['studies']} studies. `{of['command']}`, code {of['code']}."
    )
    yield markdown(
        ["lesion", "positive / places", "not evaluable", *COLUMNS, *FINE],
        [
            [
                str(lesion),
                f"{one['positive']} / {one['places']}",
                one["not_evaluable"],
                *(_with_interval(one, key) for key in COLUMNS.values()),
                *(_with_interval(one, key, 3) for key in FINE.values()),
            ]
            for lesion in Lesion
            for one in [of[card_name(lesion)]]
        ],
    )
    if "definitions" in of:
        yield markdown(
            ["published definition, by slices", "met / studies", *DEFINED],
            [
                [
                    str(one),
                    f"{found['met']} / {found['studies']}",
                    *(written(found.get(key, math.nan)) for key in DEFINED),
                ]
                for one in Definition
                for found in [of["definitions"][one.name.lower()]]
            ],
        )
    if "pointed_at" in of:
        found = of["pointed_at"]["all"]
        yield (
            f"Of {found['pointed_at']} lesions that were rightly found, the slice that is pointed "
            f"at shows the lesion in {100 * found['slice_shows_it']:.1f} % (any slice of the "
            f"joint would in {100 * found['any_slice_would']:.1f} %); the point lies "
            f"{found['distance_mm_p50']:.1f} mm (median) from it."
        )


def _title(name: str) -> str:
    return name.removesuffix(OF_TRUTH).replace("_", " ").capitalize()


def _with_interval(one: Mapping[str, Any], key: str, digits: int = 2) -> str:
    if key not in one:
        return "–"
    low, high = (written(edge, digits) for edge in one[f"{key}_interval"])
    return f"{written(one[key], digits)} ({low}–{high})"


def _not_reached(metrics: Mapping[str, Any]) -> Iterator[str]:
    """What falls short of the paper's numbers, or of the goal on unseen images, in words."""
    short = [*_below_paper(metrics), *_below_goal(metrics)]
    if short:
        yield "## Not reached"
        yield "\n".join(f"- {line}" for line in short)


def _below_paper(metrics: Mapping[str, Any]) -> Iterator[str]:
    for trial, lesions in PAPER.items():
        of = metrics.get(trial.replace("-", "_"))
        if of is None:
            continue
        for lesion, (auc, accuracy) in lesions.items():
            one = of[card_name(lesion)]
            for name, wanted in (("AUC", auc), ("balanced accuracy", accuracy)):
                found = one.get(COLUMNS[name], math.nan)
                if wanted is not None and not found >= wanted:
                    yield (
                        f"{trial} {lesion}, {name}: {written(found)}, the paper {written(wanted)}"
                    )


def _below_goal(metrics: Mapping[str, Any]) -> Iterator[str]:
    of = metrics.get(SECOND_PHANTOM)
    if of is None:
        return
    for lesion, wanted in GOALS.items():
        found = of[card_name(lesion)].get("auc", math.nan)
        if not found >= wanted:
            yield f"second phantom {lesion}, AUC: {written(found)}, wanted {written(wanted)}"
