"""Evaluation of lesion scores: ``python -m trainer evaluate lesion --experiment FILE``."""

import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from models.lesion_resnet34 import LesionResNet34
from models.scoring_rules import calibration_of, thresholds_of
from models.weights import LoadedNetwork, WeightsInvalid, load_network, save_network
from trainer.command_options import Changes, ExperimentFile
from trainer.evaluation.lesion_card import card_scores, choice_scores, set_scores
from trainer.evaluation.scores_page import scores_page
from trainer.evaluation.study_sets import (
    SECOND_FIRST,
    StudySet,
    plausible_set,
    predictions_on,
    second_set,
    trial_set,
)
from trainer.experiment import (
    RUNS_FOLDER,
    SHIPPED_WEIGHTS,
    Experiment,
    ExperimentInvalid,
    read_experiment,
)
from trainer.lesions.calibration_fit import log_odds
from trainer.lesions.lesion_training import joint_samples, predictions
from trainer.phantom.trials import TRIALS
from trainer.prepared_cases import read_case, ready_cases
from trainer.run_metadata import code_version, refuse_trained_subjects
from trainer.subjects import read_subjects

PAGE = "scores.md"


def evaluate_lesion(
    experiment: ExperimentFile,
    weights: Annotated[
        Path,
        typer.Option(help="Folder with lesion, and contour to evaluate phantoms."),
    ] = SHIPPED_WEIGHTS,
    runs: Annotated[Path, typer.Option(help="Folder for cases and predictions.")] = RUNS_FOLDER,
    second: Annotated[int, typer.Option(help="Also N patients of the second phantom.")] = 0,
    trials: Annotated[bool, typer.Option(help="Also all visits of the phantom trials.")] = False,
    first: Annotated[
        int, typer.Option(help="Only the first N studies of each set; 0 for all.")
    ] = 0,
    processes: Annotated[int, typer.Option(min=1, help="Studies analysed in parallel.")] = 1,
    docs: Annotated[Path | None, typer.Option(help="Folder for scores.md.")] = None,
    changes: Changes = None,
) -> None:
    """Evaluate the lesion network on an experiment's test cases; write the scores to its card.

    Phantoms are evaluated end to end, with the contours of the contour network, and localisation
    is compared with the drawn lesions. A site's own cases are evaluated on the joints as cropped
    when the cases were prepared. Each set of studies has its own entry on the card, which is
    replaced. Predictions are cached, so that an interrupted evaluation can resume.
    """
    plan = read_experiment(experiment, changes or ())
    loaded = load_network(weights / "lesion")
    sets = _sets(plan, second, trials)
    if sets:
        _check_contour_network(weights)
    settings = loaded.card.settings
    origin = {"command": f"python -m trainer {' '.join(sys.argv[1:])}", "code": code_version()}
    metrics = {name: of for name, of in loaded.card.metrics.items() if _is_set(of)}
    if not plan.cases.are_phantoms:
        metrics["test"] = origin | _own_scores(plan, loaded, runs)
    for study_set in sets:
        part = replace(study_set, studies=study_set.studies[: first or None])
        found = predictions_on(part, weights, runs, processes)
        for name, scores in set_scores(part, found, thresholds_of(settings), settings).items():
            metrics[name] = origin | scores
    card = save_network(loaded.network, replace(loaded.card, metrics=metrics), weights / "lesion")
    page = scores_page(card)
    print(page)
    if docs is not None:
        (docs / PAGE).write_text(page, encoding="utf-8")


def _check_contour_network(weights: Path) -> None:
    if not (weights / "contour").is_dir():
        raise WeightsInvalid(
            f"{weights} has no folder contour; phantoms are evaluated end to end with both "
            f"networks: train a contour network, or copy {SHIPPED_WEIGHTS / 'contour'} there"
        )


def _is_set(of: Any) -> bool:
    return isinstance(of, dict) and "labels" in of


def _sets(plan: Experiment, second: int, trials: bool) -> list[StudySet]:
    sets = [plausible_set(range(*plan.cases.test))] if plan.cases.are_phantoms else []
    if second:
        sets.append(second_set(range(SECOND_FIRST, SECOND_FIRST + second)))
    if trials:
        sets += map(trial_set, TRIALS.values())
    return sets


def _own_scores(plan: Experiment, loaded: LoadedNetwork, runs: Path) -> dict[str, Any]:
    """Scores of a site's own test cases, on the joints as cropped for training."""
    folder = ready_cases(plan.cases, (plan.cases.test,), runs, plan.roi)
    numbers = range(*plan.cases.test)
    refuse_trained_subjects(loaded.card, folder, numbers)
    joints = [joint_samples(read_case(folder, number)) for number in numbers]
    if not isinstance(loaded.network, LesionResNet34):
        raise WeightsInvalid(f"{loaded.card.name} is not a lesion network")
    if not any(joints):
        raise ExperimentInvalid(
            f"the test cases of {plan.name} have no joints with T1, STIR and readings; there is "
            "nothing to evaluate: add such cases to the range test"
        )
    found = predictions(loaded.network, tuple(one for of_case in joints for one in of_case))
    subjects = _subjects(folder, numbers)
    patient = np.repeat(subjects, [len(of_case) for of_case in joints])
    settings = loaded.card.settings
    probability = calibration_of(settings).probabilities(log_odds(found.probability))
    return {
        "labels": "consensus of the site's readers",
        "patients": len(set(subjects)),
        "studies": len(numbers),
        **card_scores(found.positive, probability, patient, thresholds_of(settings)),
        **choice_scores(found.positive, probability, settings),
    }


def _subjects(folder: Path, numbers: range) -> list[int]:
    """Subject number of each case; the case number if subjects are not listed."""
    subjects = read_subjects(folder)
    if not subjects:
        return list(numbers)
    return [subjects.index(subjects[number]) for number in numbers]
