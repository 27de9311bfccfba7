"""The page docs/scores.md, generated from the lesion network's model card."""

import math
from collections.abc import Iterator, Mapping
from typing import Any

from models.findings import Lesion
from models.mri_criteria import Definition
from models.weights import OWN_INTENDED_USE, Card
from trainer.evaluation.lesion_card import CONSENSUS, OF_TRUTH, TRUTH, card_name
from trainer.evaluation.study_sets import SECOND_PHANTOM
from trainer.markdown_table import markdown, written
from trainer.metrics.published_scores import PAPER

GOALS = dict.fromkeys(Lesion, 0.90) | {Lesion.EROSION: 0.85}
"""Target AUC on images of a generator not used for training."""

REFERENCES = {TRUTH: "true labels", CONSENSUS: "consensus labels"}
"""Reference standards by their name on the card."""

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
        "# Lesion scoring performance",
        f"**{card.intended_use}.** {_evaluated(card)} None of the studies was used for training. "
        "A position that was not evaluable counts as absent.",
        f"{card.name.capitalize()} network {card.version}, SHA-256 {card.sha256[:12]}…; generated "
        "from its card `models/weights/lesion/card.json`, which has every number. In parentheses: "
        "95 % intervals from 1000 bootstrap samples of patients. Balanced accuracy, sensitivity "
        "and specificity are given at the network's own thresholds (chosen for: "
        f"{card.settings.get('thresholds_chosen', 'unknown')}) and at a probability of .5.",
        *(part for name, of in card.metrics.items() for part in _set(name, of)),
        *_not_reached(card.metrics),
    ]
    return "\n\n".join(parts) + "\n"


def _evaluated(card: Card) -> str:
    if card.intended_use == OWN_INTENDED_USE:
        return (
            "The set *test* is the site's own test cases, evaluated on the joints as cropped for "
            "training; any other set is simulated and evaluated end to end."
        )
    return (
        "Both networks as shipped, evaluated end to end from images to calibrated scores. "
        "Patients, images and readers are simulated."
    )


def _set(name: str, of: Mapping[str, Any]) -> Iterator[str]:
    yield f"## {_title(name)}, {REFERENCES.get(of['labels'], of['labels'])}"
    yield (
        f"{of['patients']} patients, {of['studies']} studies. `{of['command']}`, code {of['code']}."
    )
    yield markdown(
        ["lesion", "positive / positions", "not evaluable", *COLUMNS, *FINE],
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
            ["published definition (slice-based)", "met / studies", *DEFINED],
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
            f"Localisation of {found['pointed_at']} true positive lesions: the key slice shows the "
            f"lesion in {100 * found['slice_shows_it']:.1f} % (a random slice of the joint: "
            f"{100 * found['any_slice_would']:.1f} %); the median distance of the point from the "
            f"lesion is {found['distance_mm_p50']:.1f} mm."
        )


def _title(name: str) -> str:
    return name.removesuffix(OF_TRUTH).replace("_like", "-like").replace("_", " ").capitalize()


def _with_interval(one: Mapping[str, Any], key: str, digits: int = 2) -> str:
    if key not in one:
        return "–"
    low, high = (written(edge, digits) for edge in one[f"{key}_interval"])
    return f"{written(one[key], digits)} ({low}–{high})"


def _not_reached(metrics: Mapping[str, Any]) -> Iterator[str]:
    """Scores below the paper's, or below the goal on the second phantom."""
    short = [*_below_paper(metrics), *_below_goal(metrics)]
    if short:
        yield "## Goals not reached"
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
                    yield (f"{trial} {lesion}, {name}: {written(found)}, paper {written(wanted)}")


def _below_goal(metrics: Mapping[str, Any]) -> Iterator[str]:
    of = metrics.get(SECOND_PHANTOM)
    if of is None:
        return
    for lesion, wanted in GOALS.items():
        found = of[card_name(lesion)].get("auc", math.nan)
        if not found >= wanted:
            yield f"second phantom {lesion}, AUC: {written(found)}, goal {written(wanted)}"
