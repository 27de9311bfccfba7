"""The page about lesions and readers: what was measured, beside the paper, and what was missed."""

from collections.abc import Iterator, Mapping
from itertools import product
from typing import Any

from models.findings import Lesion
from trainer.markdown_table import markdown, written
from trainer.metrics.published_scores import PAPER
from trainer.reader_study.reader_evaluation import AGAINST, mean_over_lesions

OURS = "chain"
"""The experiment that all others are held against."""

CONSENSUS_ONLY = "consensus only"
RIVALS = (
    CONSENSUS_ONLY,
    "one reader-session",
    "majority",
    "soft labels",
    "flat Tanno",
    "GeoCrowdNet",
)
"""What other people do with many readings; the other experiments leave out a part of ours."""

LABELS = {"consensus": "consensus labels", "truth": "what was drawn"}

WARNING = (
    "**Trained on phantoms, not for clinical use.** Patients, images, lesions and readers are "
    "invented; the paper's numbers are of real patients and stand here as a yardstick only."
)


def lesions_page(whole: Mapping[str, Any]) -> str:
    """The page in Markdown.

    Parameters
    ----------
    whole
        As `run.evaluation` makes it.
    """
    encoder = whole["encoder"]
    parts = [
        "# Lesions learnt from many readers",
        WARNING,
        f"Made by `{whole['command']}` with the encoder of {encoder['name']} {encoder['version']} "
        f"(SHA-256 {encoder['sha256'][:12]}…), which stays as it is: only the fourteen linear "
        "heads and the readers' matrices are learnt here. The encoder was trained on other "
        "phantoms with true labels. Eight folds by patient on the measure-like trial (six to "
        "learn, one to choose decay, thresholds and calibration, one to test); the other two "
        "trials are only tested, by all folds together. Readings are drawn with seed "
        f"{whole['seed of the readings']}. Intervals are 95 %, from 100 draws of whole patients, "
        "those of differences from 50. "
        "The trials are described in [trials.md](trials.md); all numbers are in "
        "[lesions.json](lesions.json).",
        "## The paper's chain, on consensus labels",
        _own_table(whole, "consensus"),
        "Sensitivity and specificity at a probability of .5; *own threshold* is the one of the "
        "highest balanced accuracy on the folds' own validation patients, after calibration.",
        *_reached(whole),
        "![ROC curves](images/lesions_roc.png)",
        "## The paper's chain, against what was drawn",
        "Here every joint counts, also those on which the readers disagreed.",
        _own_table(whole, "truth"),
        "## Models of the readers",
        "Means over the lesions. The last columns are the chain less the other model, with its "
        "interval: above 0 is better for AUC, below 0 for Brier score and calibration error. "
        "*No margin* cuts the paper's literal boxes; the encoder stays the one that learnt with a "
        "margin. *Untrained encoder* has the same shape and has learnt nothing.",
        *_beside_rivals(whole),
        *_comparisons(whole),
        "![Calibration](images/lesions_calibration.png)",
        "## Agreement: the model and the readers",
        "Cohen's kappa, at the folds' own thresholds.",
        _agreement_table(whole),
        "## What was learnt of the readers",
        "Mean distance between learnt and true error rates of a reading, over readers, sessions "
        "and lesions. A matrix that sits between the network and a consensus cannot be told "
        "apart from the network's own answer, so these are never to be shown as a reader's error "
        "rate. Few joints and heads that can follow the readings themselves leave little for the "
        "matrices to explain: errors are learnt too small.",
        _confusion_table(whole),
        "![Readers' errors](images/lesions_confusion.png)",
        "## How to do it again",
        "```\npython -m trainer trials\npython -m trainer readers\n```",
        markdown(
            ["experiment", "file", "seed", "SHA-256 of the file", "decay of each fold"],
            [
                [name, f"`{one['file']}`", one["seed"], one["sha256"][:12],
                 ", ".join(str(decay) for decay in one["decays"])]
                for name, one in whole["experiments"].items()
            ],
        ),
    ]  # fmt: skip
    return "\n\n".join(parts) + "\n"


def _with_interval(scores: Mapping[str, Any], name: str) -> str:
    low_high = scores.get("intervals", {}).get(name)
    if low_high is None:
        return written(scores.get(name, float("nan")))
    return f"{written(scores[name])} ({written(low_high[0])}–{written(low_high[1])})"


def _own_table(whole: Mapping[str, Any], against: str) -> str:
    rows = []
    for trial, scores in whole["experiments"][OURS]["trials"].items():
        for lesion, one in scores[against].items():
            paper = PAPER[trial].get(Lesion(lesion), (float("nan"), None))
            rows.append(
                [
                    trial,
                    lesion,
                    f"{one['present']} / {one['places']}",
                    _with_interval(one, "auc"),
                    written(paper[0]),
                    _with_interval(one, "balanced_accuracy"),
                    written(paper[1] if paper[1] is not None else float("nan")),
                    *(
                        written(one.get(name, float("nan")))
                        for name in ("sensitivity", "specificity", "balanced_accuracy_own",
                                     "sensitivity_own", "specificity_own")
                    ),
                    written(one.get("brier", float("nan")), 3),
                    written(one.get("ece", float("nan")), 3),
                    written(one.get("ece_calibrated", float("nan")), 3),
                ]
            )  # fmt: skip
    head = ["trial", "lesion", "present / places", "AUC", "paper", "balanced accuracy at .5",
            "paper", "sensitivity", "specificity", "balanced accuracy, own threshold",
            "sensitivity, own", "specificity, own", "Brier", "ECE", "ECE calibrated"]  # fmt: skip
    return markdown(head, rows)


def _reached(whole: Mapping[str, Any]) -> Iterator[str]:
    """What falls short of the paper's numbers, in words."""
    short = []
    scores = whole["experiments"][OURS]["trials"]
    for trial, lesions in PAPER.items():
        for lesion, (auc, accuracy) in lesions.items():
            one = scores[trial]["consensus"][str(lesion)]
            if one.get("auc", 0) < auc:
                short.append(f"{trial} {lesion}: AUC {written(one['auc'])} against {written(auc)}")
            best = max(one.get("balanced_accuracy", 0), one.get("balanced_accuracy_own", 0))
            if accuracy is not None and best < accuracy:
                short.append(
                    f"{trial} {lesion}: balanced accuracy {written(best)} "
                    f"against {written(accuracy)}"
                )
    if not short:
        yield "On consensus labels every number that the paper states is reached."
        return
    yield "Not reached, on consensus labels, of the paper's numbers:\n\n" + "\n".join(
        f"- {line}" for line in short
    )


def _beside_rivals(whole: Mapping[str, Any]) -> Iterator[str]:
    """Where the chain is behind a rival in AUC, or no better calibrated than consensus only."""
    less = whole["chain less"]
    behind = [
        f"{trial}, {LABELS[against]}: AUC {_gap(gap, 'auc')} beside {rival}"
        for rival in RIVALS
        for trial, gaps in less.get(rival, {}).items()
        for against, gap in gaps.items()
        if round(gap["auc"][0], 3) < 0
    ]
    behind += [
        f"{trial}, {LABELS[against]}: calibration error {_gap(gap, 'ece')} beside {CONSENSUS_ONLY}"
        for trial, gaps in less.get(CONSENSUS_ONLY, {}).items()
        for against, gap in gaps.items()
        if round(gap["ece"][0], 3) >= 0
    ]
    yield (
        "The chain was meant to be as good as every rival in AUC and better calibrated than "
        f"{CONSENSUS_ONLY}, on every trial and both kinds of labels. "
        + ("It is." if not behind else "Not reached:\n\n" + "\n".join(f"- {one}" for one in behind))
    )


def _comparisons(whole: Mapping[str, Any]) -> Iterator[str]:
    trials = list(whole["experiments"][OURS]["trials"])
    for trial, against in product(trials, AGAINST):
        rows = []
        for name, one in whole["experiments"].items():
            scores = one["trials"][trial][against]
            gap = whole["chain less"].get(name, {}).get(trial, {}).get(against)
            rows.append(
                [
                    name,
                    *(
                        written(mean_over_lesions(scores, key), 3)
                        for key in ("auc", "balanced_accuracy", "balanced_accuracy_own", "brier",
                                    "ece", "brier_calibrated", "ece_calibrated")
                    ),
                    *(_gap(gap, key) for key in ("auc", "brier", "ece")),
                ]
            )  # fmt: skip
        head = ["model", "AUC", "balanced accuracy at .5", "own threshold", "Brier", "ECE",
                "Brier calibrated", "ECE calibrated",
                "chain less it: AUC", "Brier", "ECE"]  # fmt: skip
        yield f"### {trial}, {LABELS[against]}"
        yield markdown(head, rows)


def _gap(gap: Mapping[str, list[float]] | None, key: str) -> str:
    if gap is None:
        return "–"
    middle, low, high = (written(value, 3) for value in gap[key])
    return f"{middle} ({low} to {high})"


def _agreement_table(whole: Mapping[str, Any]) -> str:
    names = ("model with consensus", "model with a reading", "reader with reader",
             "reader with himself")  # fmt: skip
    rows = [
        [trial, lesion, *(written(one[name]) for name in names)]
        for trial, lesions in whole["experiments"][OURS]["agreement"].items()
        for lesion, one in lesions.items()
    ]
    return markdown(["trial", "lesion", *names], rows)


def _confusion_table(whole: Mapping[str, Any]) -> str:
    rows = [
        [name, written(one["confusion error"], 3), *_errors_of(one["confusion"])]
        for name, one in whole["experiments"].items()
        if one["confusion"]
    ]
    lesions = [str(lesion) for lesion in Lesion]
    return markdown(
        [
            "model",
            "mean distance",
            *(f"{lesion}: learnt (true), added / missed" for lesion in lesions),
        ],
        rows,
    )


def _errors_of(confusion: Mapping[str, Any]) -> Iterator[str]:
    for lesion in Lesion:
        pairs = [lesions[str(lesion)] for lesions in confusion.values()]
        learnt, true = (
            [sum(pair[kind][n] for pair in pairs) / len(pairs) for n in (0, 1)]
            for kind in ("learnt", "true")
        )
        yield " / ".join(
            f"{written(one)} ({written(other)})" for one, other in zip(learnt, true, strict=True)
        )
