"""The page docs/scores.md, generated from the lesion network's model card."""

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from models.burden_scores import BurdenName
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
BURDEN = {
    "true mean": "mean",
    "within 95 % band": "within_band",
    "bias": "bias",
    "mean absolute error": "mean_absolute_error",
    "width of the band": "band_width",
}
FINE = {"Brier": "brier", "ECE": "ece"}


_BURDEN_DEFINED = (
    "## Scores of lesion burden",
    "For research. Each quadrant counts with the probability of its lesion, on each slice with the "
    "chance that the slice shows it; the value is the median of their sum, the band holds 95 % of "
    "it. The slices counted are consecutive and show most quadrants of both joints; of several, "
    "the most central ones. Lesions do not enter this choice. A score is left out if a quadrant "
    "was not evaluable or too few slices show the joints.",
    markdown(
        ["score", "range here", "published", "counted", "not scored", "source"],
        [
            [
                "SPARCC inflammation",
                "0–48",
                "0–72",
                "oedema in 8 quadrants of 6 slices of STIR",
                "depth of 1 cm or more, and intensity: 1 each per joint and slice",
                "doi:10.1002/art.21445",
            ],
            [
                "SPARCC SSS fat metaplasia, erosion",
                "0–40 each",
                "0–40 each",
                "8 quadrants of 5 slices of T1",
                "backfill and ankylosis of joint halves, 0–20 each",
                "doi:10.3899/jrheum.140519",
            ],
            [
                "Berlin oedema, fatty lesion",
                "0–24 each",
                "0–24",
                "0 to 3 by the share of each quadrant (up to 33 %, up to 66 %, more)",
                "the share is estimated from the share of slices: above 72 % of the slices for "
                "grade 2, above 92 % for grade 3",
                "doi:10.1136/ard.2010.147033",
            ],
        ],
    ),
    "The published scores are given by readers, who choose the slices by anatomy (for the "
    "structural score from the transitional slice forward). A change since the prior study is "
    "stated if the 95 % interval of the difference, from both bands, excludes 0 (Newcombe, Stat "
    "Med 1998;17:873, method 10) and the same weights made both.",
)


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
        *_BURDEN_DEFINED,
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
    yield from _choices(of)
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
    if "burden" in of:
        yield markdown(
            ["score of lesion burden", "studies", *BURDEN],
            [
                [str(one), found["studies"], *(written(found[key]) for key in BURDEN.values())]
                for one in BurdenName
                if (found := of["burden"].get(one.name.lower()))
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


def _choices(of: Mapping[str, Any]) -> Iterator[str]:
    """Operating points and prevalence; neither is on older cards."""
    lesions = [card_name(lesion) for lesion in Lesion]
    if "operating_points" in of:
        yield markdown(
            ["sensitivity / specificity", *map(str, Lesion)],
            [
                [point, *(_pair(rates[lesion].values()) for lesion in lesions)]
                for point, rates in of["operating_points"].items()
            ],
        )
    if "ece_at_prevalence" in of:
        yield markdown(
            ["ECE as calibrated / with the prevalence stated", *map(str, Lesion)],
            [
                [f"{100 * float(prevalence):g} %", *(_pair(errors[one], 3) for one in lesions)]
                for prevalence, errors in of["ece_at_prevalence"].items()
            ],
        )


def _pair(values: Iterable[float], digits: int = 2) -> str:
    return " / ".join(written(value, digits) for value in values) or "–"


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
