"""Measuring lesions: ``python -m trainer evaluate lesion --experiment FILE``."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from models.analyser import Analyser
from models.weights import load_network, save_network
from trainer.cascade import cascade_answers
from trainer.cases import ready_cases
from trainer.experiment import RUNS_FOLDER, Experiment, read_experiment
from trainer.lesion_training import Answers, answers, lesion_scores, read_joints
from trainer.metrics import Pointing, pointing_scores
from trainer.readers.calibrate import log_odds


def evaluate_lesion(
    experiment: Annotated[Path, typer.Option("--experiment", help="Its test cases are used.")],
    weights: Annotated[Path, typer.Option(help="Holds a folder for each network.")] = Path(
        "models/weights"
    ),
    runs: Annotated[Path, typer.Option(help="Where a site's own cases are.")] = RUNS_FOLDER,
) -> None:
    """Measure the lesion network and write that on its card.

    Phantoms are measured behind the contour network, from the images alone, and where the network
    points is held against where the lesion was drawn. A site's own cases are measured on the
    joints as they were cut out when the cases were prepared.
    """
    plan = read_experiment(experiment)
    seeds = range(*plan.cases.test)
    loaded = load_network(weights / "lesion")
    analyser = Analyser.load(weights)
    pointings: tuple[Pointing, ...] = ()
    if plan.cases.are_phantoms:
        said = cascade_answers(analyser, seeds)
        answered, pointings = said.answers, said.pointings
    else:
        answered = _own_answers(analyser, plan, runs)
    kind = "phantom" if plan.cases.are_phantoms else "own"
    metrics: dict[str, Any] = {
        "measured on": f"{len(seeds)} {kind} cases that training never saw",
        "command": f"python -m trainer evaluate lesion --experiment {experiment}",
        **lesion_scores(answered, loaded.card.settings["thresholds"]),
    }
    if pointings:
        metrics["lesions found, pointed at"] = {
            lesion: {name: _written(value) for name, value in found.items()}
            for lesion, found in pointing_scores(pointings).items()
        }
    save_network(loaded.network, replace(loaded.card, metrics=metrics), weights / "lesion")
    for name, value in metrics.items():
        print(f"{name}: {value}")


def _own_answers(analyser: Analyser, plan: Experiment, runs: Path) -> Answers:
    folder = ready_cases(plan.cases, (plan.cases.test,), runs, plan.roi)
    said = answers(analyser.lesion, read_joints(folder, range(*plan.cases.test)))
    calibrated = analyser.calibration.probabilities(log_odds(said.probability))
    return Answers(said.positive, calibrated)


def _written(value: float) -> float | str:
    """A score as JSON can hold it."""
    return "beyond: too many were missed" if math.isinf(value) else round(value, 3)
