"""Both networks on the second phantom: ``python -m trainer evaluate second``.

No network was trained on it, and it was drawn by other means than the first; what is lost here
beside the first phantom's test cases belongs to that phantom's way of drawing.
"""

import json
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from models.findings import POSITIONS, Lesion
from models.weights import INTENDED_USE, read_card
from trainer.evaluation.contour_judgement import Judgement, judged
from trainer.evaluation.contour_methods import Delineator, Method
from trainer.evaluation.contour_summary import Estimate, Resampling, Summary, summary
from trainer.evaluation.lesion_card import card_name, set_scores
from trainer.evaluation.study_sets import (
    NETWORKS,
    SECOND_FIRST,
    SECOND_PHANTOM,
    answers_on,
    second_set,
)
from trainer.experiment import RUNS_FOLDER
from trainer.phantom.second_phantom import SecondCase, make_second_case
from trainer.prepared_cases import StoredCase, canonical_sighting, stored
from trainer.run_metadata import code_version, machine

STYLE = "second phantom"


def evaluate_second(
    cases: Annotated[int, typer.Option(min=2, help="How many patients.")] = 40,
    first: Annotated[int, typer.Option(help="Seed of the first one.")] = SECOND_FIRST,
    weights: Annotated[Path, typer.Option(help="Holds a folder for each network.")] = Path(
        "models/weights"
    ),
    runs: Annotated[Path, typer.Option(help="Where answers are kept.")] = RUNS_FOLDER,
    docs: Annotated[
        Path | None, typer.Option(help="Write second_phantom.json and .md there.")
    ] = None,
) -> None:
    """Measure both networks on images of a generator that they never learnt from."""
    seeds = range(first, first + cases)
    asked = second_set(seeds)
    drawn = contours_on(weights, (make_second_case(seed) for seed in seeds))
    thresholds = read_card(weights / "lesion").settings["thresholds"]
    said = answers_on(asked, weights, runs)
    report = {
        "warning": INTENDED_USE,
        "command": f"python -m trainer {' '.join(sys.argv[1:])}",
        "code": code_version(),
        "machine": machine(),
        "networks": [
            f"{card.name} {card.version} {card.sha256[:12]}"
            for card in (read_card(weights / name) for name in NETWORKS)
        ],
        "patients": cases,
        "contours": _contour_numbers(summary(drawn, Resampling.of(seeds))),
        "lesions": set_scores(asked, said, thresholds)[SECOND_PHANTOM],
    }
    page = second_page(report)
    print(page)
    if docs is not None:
        (docs / f"{SECOND_PHANTOM}.json").write_text(
            json.dumps(report, indent=1) + "\n", encoding="utf-8"
        )
        (docs / f"{SECOND_PHANTOM}.md").write_text(page, encoding="utf-8")


def contours_on(weights: Path, cases: Iterable[SecondCase]) -> list[Judgement]:
    """What became of every contour, from the images alone."""
    delineator = Delineator([Method(STYLE, weights / "contour")])
    return [
        judgement
        for prepared in map(_prepared, cases)
        for _, found in delineator.answers(prepared)
        for judgement in judged(prepared, found)
    ]


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


def _contour_numbers(of: Summary) -> dict[str, Any]:
    rms = of.errors["rms"]["mm"]
    numbers = {f"RMS p{percent}, mm": rms[percent] for percent in (50, 75, 90, 95)}
    numbers |= {
        "share below 1.5 mm": of.below_1_5_mm,
        "missed": of.missed_fraction,
        "false": of.false_fraction,
        "false, not next to the joint": of.false_away_fraction,
    }
    return {"of": of.contours} | {name: _rounded(one) for name, one in numbers.items()}


def _rounded(of: Estimate) -> list[float | str]:
    """The value and its interval, as JSON can hold them."""
    each = (of.value, of.low, of.high)
    return [round(one, 3) if np.isfinite(one) else "missed" for one in each]


def second_page(report: dict[str, Any]) -> str:
    """The numbers as a page in Markdown."""
    lines = [
        "# On images of another generator",
        "",
        f"**{report['warning']}.** {report['patients']} patients of a second phantom, which shares "
        "nothing with the first but the tissues' physics, and on which nothing was trained "
        "(`trainer/phantom/second_phantom.py`). A missed contour is infinitely far off.",
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
        "| lesion | AUC | 95 % interval | balanced accuracy | 95 % interval | positive | of |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
        *(
            f"| {lesion} | {one.get('auc', '–')} | {_interval(one, 'auc')} | "
            f"{one.get('balanced_accuracy', '–')} | {_interval(one, 'balanced_accuracy')} | "
            f"{one['positive']} | {one['places']} |"
            for lesion in Lesion
            for one in [report["lesions"][card_name(lesion)]]
        ),
    ]
    return "\n".join(lines) + "\n"


def _interval(one: Mapping[str, Any], name: str) -> str:
    low, high = one.get(f"{name}_interval", ("–", "–"))
    return f"{low} to {high}"
