"""Measuring lesions: ``python -m trainer evaluate lesion --experiment FILE``."""

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from models.analyser import Analyser
from models.weights import load_network, save_network
from trainer.evaluation.lesion_card import card_scores, set_scores
from trainer.evaluation.scores_page import scores_page
from trainer.evaluation.study_sets import (
    SECOND_FIRST,
    StudySet,
    answers_on,
    plausible_set,
    second_set,
    trial_set,
)
from trainer.experiment import RUNS_FOLDER, Experiment, read_experiment
from trainer.lesions.calibration_fit import log_odds
from trainer.lesions.lesion_training import answers, joint_samples
from trainer.phantom.trials import TRIALS
from trainer.prepared_cases import read_case, ready_cases
from trainer.run_metadata import code_version
from trainer.subjects import SUBJECTS

PAGE = "scores.md"


def evaluate_lesion(
    experiment: Annotated[Path, typer.Option("--experiment", help="Its test cases are used.")],
    weights: Annotated[Path, typer.Option(help="Holds a folder for each network.")] = Path(
        "models/weights"
    ),
    runs: Annotated[Path, typer.Option(help="Where cases and answers are kept.")] = RUNS_FOLDER,
    second: Annotated[int, typer.Option(help="Also so many patients of the second phantom.")] = 0,
    trials: Annotated[bool, typer.Option(help="Also every visit of the phantom trials.")] = False,
    first: Annotated[int, typer.Option(help="Only so many studies of each set; 0 is all.")] = 0,
    processes: Annotated[int, typer.Option(min=1, help="Studies asked about at a time.")] = 1,
    docs: Annotated[Path | None, typer.Option(help="Write scores.md there.")] = None,
) -> None:
    """Measure the lesion network and write that on its card.

    Phantoms are measured behind the contour network, from the images alone, and where the network
    points is held against where the lesion was drawn. A site's own cases are measured on the
    joints as they were cut out when the cases were prepared. Each set of studies has its place on
    the card and replaces what was written there before; answers are kept, so that a measurement
    that was stopped goes on where it was.
    """
    plan = read_experiment(experiment)
    loaded = load_network(weights / "lesion")
    thresholds = loaded.card.settings["thresholds"]
    origin = {"command": f"python -m trainer {' '.join(sys.argv[1:])}", "code": code_version()}
    metrics = {name: of for name, of in loaded.card.metrics.items() if _is_set(of)}
    if not plan.cases.are_phantoms:
        metrics["test"] = origin | _own_scores(plan, weights, runs)
    for asked in _sets(plan, second, trials):
        part = replace(asked, studies=asked.studies[: first or None])
        said = answers_on(part, weights, runs, processes)
        for name, scores in set_scores(part, said, thresholds).items():
            metrics[name] = origin | scores
    card = save_network(loaded.network, replace(loaded.card, metrics=metrics), weights / "lesion")
    page = scores_page(card)
    print(page)
    if docs is not None:
        (docs / PAGE).write_text(page, encoding="utf-8")


def _is_set(of: Any) -> bool:
    return isinstance(of, dict) and "labels" in of


def _sets(plan: Experiment, second: int, trials: bool) -> list[StudySet]:
    sets = [plausible_set(range(*plan.cases.test))] if plan.cases.are_phantoms else []
    if second:
        sets.append(second_set(range(SECOND_FIRST, SECOND_FIRST + second)))
    if trials:
        sets += map(trial_set, TRIALS.values())
    return sets


def _own_scores(plan: Experiment, weights: Path, runs: Path) -> dict[str, Any]:
    """Of a site's own test cases, on the joints as they were cut out."""
    folder = ready_cases(plan.cases, (plan.cases.test,), runs, plan.roi)
    analyser = Analyser.load(weights)
    numbers = range(*plan.cases.test)
    joints = [joint_samples(read_case(folder, number)) for number in numbers]
    said = answers(analyser.lesion, tuple(one for of_case in joints for one in of_case))
    subjects = _subjects(folder, numbers)
    patient = np.repeat(subjects, [len(of_case) for of_case in joints])
    probability = analyser.calibration.probabilities(log_odds(said.probability))
    return {
        "labels": "consensus of the site's readers",
        "patients": len(set(subjects)),
        "studies": len(numbers),
        **card_scores(said.positive, probability, patient, analyser.thresholds),
    }


def _subjects(folder: Path, numbers: range) -> list[int]:
    """Whose each case is, as a number; each its own where nobody kept that."""
    listed = folder / SUBJECTS
    if not listed.exists():
        return list(numbers)
    subjects = json.loads(listed.read_text(encoding="utf-8"))
    return [subjects.index(subjects[number]) for number in numbers]
