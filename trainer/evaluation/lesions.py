"""Measuring lesions: ``python -m trainer evaluate lesion --experiment FILE``."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from models.analyser import Analyser
from models.weights import load_network, save_network
from trainer.cascade import cascade_answers
from trainer.experiment import read_experiment
from trainer.lesion_training import lesion_scores
from trainer.metrics import pointing_scores


def evaluate_lesion(
    experiment: Annotated[Path, typer.Option("--experiment", help="Its test cases are used.")],
    weights: Annotated[Path, typer.Option(help="Holds a folder for each network.")] = Path(
        "models/weights"
    ),
) -> None:
    """Measure the lesion network behind the contour network and write that on its card.

    Everything is from the images alone; where it points is held against where the lesion was
    drawn.
    """
    seeds = range(*read_experiment(experiment).cases.test)
    loaded = load_network(weights / "lesion")
    said = cascade_answers(Analyser.load(weights), seeds)
    metrics: dict[str, Any] = {
        "measured on": f"{len(seeds)} phantom cases that training never saw",
        "command": f"python -m trainer evaluate lesion --experiment {experiment}",
        **lesion_scores(said.answers, loaded.card.settings["thresholds"]),
        "lesions found, pointed at": {
            lesion: {name: _written(value) for name, value in found.items()}
            for lesion, found in pointing_scores(said.pointings).items()
        },
    }
    save_network(loaded.network, replace(loaded.card, metrics=metrics), weights / "lesion")
    for name, value in metrics.items():
        print(f"{name}: {value}")


def _written(value: float) -> float | str:
    """A score as JSON can hold it."""
    return "beyond: too many were missed" if math.isinf(value) else round(value, 3)
