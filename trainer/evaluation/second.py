"""Both networks on the second phantom: ``python -m trainer evaluate second``.

No network was trained on it, and it was drawn by other means than the first; what is lost here
beside the first phantom's test cases belongs to that phantom's way of drawing.
"""

import json
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from models.analyser import Analyser, NoJointSeen
from models.findings import HEADS, POSITIONS, Lesion
from models.weights import INTENDED_USE, read_card
from trainer.cases import StoredCase, canonical_sighting, stored
from trainer.evaluation.judgement import Judgement, judged
from trainer.evaluation.methods import Delineator, Method
from trainer.evaluation.summary import Estimate, Resampling, Summary, summary
from trainer.lesion_training import Answers
from trainer.metrics import auc, balanced_accuracy
from trainer.readers.calibrate import HEADS_OF_LESION
from trainer.record import code_version, machine
from trainer.second_phantom import SecondCase, make_second_case

NAME = "second_phantom"
STYLE = "second phantom"


@dataclass(frozen=True, eq=False)
class Said:
    """What both networks said of some patients of the second phantom.

    Parameters
    ----------
    answers
        A row for each joint; probability 0 where a joint was not seen.
    patients
        Whose row each is.
    """

    contours: Sequence[Judgement]
    answers: Answers
    patients: Sequence[int]


def evaluate_second(
    cases: Annotated[int, typer.Option(min=2, help="How many patients.")] = 40,
    first: Annotated[int, typer.Option(help="Seed of the first one.")] = 30000,
    weights: Annotated[Path, typer.Option(help="Holds a folder for each network.")] = Path(
        "models/weights"
    ),
    docs: Annotated[
        Path | None, typer.Option(help="Write second_phantom.json and .md there.")
    ] = None,
) -> None:
    """Measure both networks on images of a generator that they never learnt from."""
    seeds = range(first, first + cases)
    said = asked(weights, (make_second_case(seed) for seed in seeds))
    report = {
        "warning": INTENDED_USE,
        "command": f"python -m trainer {' '.join(sys.argv[1:])}",
        "code": code_version(),
        "machine": machine(),
        "networks": [
            f"{card.name} {card.version} {card.sha256[:12]}"
            for card in (read_card(weights / name) for name in ("contour", "lesion"))
        ],
        "patients": cases,
        "contours": _contour_numbers(summary(said.contours, Resampling.of(seeds))),
        "lesions": _lesion_numbers(said, Analyser.load(weights).thresholds),
    }
    page = second_page(report)
    print(page)
    if docs is not None:
        (docs / f"{NAME}.json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
        (docs / f"{NAME}.md").write_text(page, encoding="utf-8")


def asked(weights: Path, cases: Iterable[SecondCase]) -> Said:
    """Ask both networks about each patient, from the images alone."""
    delineator = Delineator([Method(STYLE, weights / "contour")])
    analyser = Analyser.load(weights)
    contours: list[Judgement] = []
    truth, probability, patients = [], [], []
    for case in cases:
        for _, found in delineator.answers(prepared := _prepared(case)):
            contours += judged(prepared, found)
        truth.append([float(case.severity[position]) for position in POSITIONS])
        probability.append(_probabilities(analyser, case))
        patients += [case.seed] * 2
    shape = (-1, len(HEADS))
    answers = Answers(np.reshape(truth, shape), np.reshape(probability, shape))
    return Said(contours, answers, patients)


def _prepared(case: SecondCase) -> StoredCase:
    pairs = ((case.t1, case.t1_truth), (case.stir, case.stir_truth))
    return stored(
        case.seed,
        [canonical_sighting(volume, truth) for volume, truth in pairs],
        stir_from=len(case.t1.voxels),
        style=STYLE,
        rois={},
        severity=[case.severity[position] for position in POSITIONS],
        lesions_readable=True,
    )


def _probabilities(analyser: Analyser, case: SecondCase) -> list[float]:
    try:
        findings = analyser.analyse(case.t1, case.stir).findings
    except NoJointSeen:
        return [0.0] * len(POSITIONS)
    return [finding.probability or 0.0 for finding in findings]


def _contour_numbers(of: Summary) -> dict[str, Any]:
    rms = of.errors["rms"]["mm"]
    numbers = {f"RMS p{percent}, mm": rms[percent] for percent in (50, 75, 90, 95)}
    numbers |= {
        "share below 1.5 mm": of.below_1_5_mm,
        "missed": of.missed_fraction,
        "false": of.false_fraction,
    }
    return {"of": of.contours} | {name: _rounded(one) for name, one in numbers.items()}


def _rounded(of: Estimate) -> list[float | str]:
    """The value and its interval, as JSON can hold them."""
    each = (of.value, of.low, of.high)
    return [round(one, 3) if np.isfinite(one) else "missed" for one in each]


def _lesion_numbers(said: Said, thresholds: Sequence[float]) -> dict[str, Any]:
    called = Answers(
        said.answers.positive, (said.answers.probability >= np.array(thresholds)).astype(float)
    )
    numbers = {}
    for lesion, heads in HEADS_OF_LESION.items():
        truth, probability = said.answers.known(heads)
        numbers[str(lesion)] = {
            "AUC": [round(auc(truth, probability), 3), *_auc_interval(said, lesion)],
            "balanced accuracy": round(balanced_accuracy(truth, called.known(heads)[1] > 0), 3),
            "positive": int(truth.sum()),
            "of": len(truth),
        }
    return numbers


def _auc_interval(said: Said, lesion: Lesion, resamples: int = 400) -> list[float]:
    """95 % interval of a bootstrap over patients."""
    rng = np.random.default_rng(0)
    patients = np.array(said.patients)
    each = np.unique(patients)
    heads = HEADS_OF_LESION[lesion]
    found = []
    for _ in range(resamples):
        rows = np.concatenate([np.flatnonzero(patients == p) for p in rng.choice(each, len(each))])
        drawn = Answers(said.answers.positive[rows], said.answers.probability[rows])
        truth, probability = drawn.known(heads)
        if truth.any() and not truth.all():
            found.append(auc(truth, probability))
    return [round(float(value), 3) for value in np.percentile(found, (2.5, 97.5))]


def second_page(report: dict[str, Any]) -> str:
    """The numbers as a page in Markdown."""
    lines = [
        "# On images of another generator",
        "",
        f"**{report['warning']}.** {report['patients']} patients of a second phantom, which shares "
        "nothing with the first but the tissues' physics, and on which nothing was trained "
        "(`trainer/second_phantom.py`). A missed contour is infinitely far off.",
        "",
        f"- Measured with `{report['command']}`",
        f"- Code {report['code']}; {'; '.join(report['networks'])}",
        "",
        f"| contours ({report['contours']['of']}) | value | 95 % interval over patients |",
        "| --- | ---: | ---: |",
        *(
            f"| {name} | {one[0]} | {one[1]} to {one[2]} |"
            for name, one in report["contours"].items()
            if name != "of"
        ),
        "",
        "| lesion | AUC | 95 % interval | balanced accuracy | positive | of |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
        *(
            f"| {lesion} | {one['AUC'][0]} | {one['AUC'][1]} to {one['AUC'][2]} | "
            f"{one['balanced accuracy']} | {one['positive']} | {one['of']} |"
            for lesion, one in report["lesions"].items()
        ),
    ]
    return "\n".join(lines) + "\n"
