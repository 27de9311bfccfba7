"""Train and evaluate networks: ``python -m trainer train contour --experiment FILE``."""

import subprocess
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import torch
import typer

from models.contour_unet import ContourArchitecture, ContourUNet
from models.preprocess import PREPROCESSING_VERSION
from models.walk import WalkRules
from models.weights import INTENDED_USE, Card, load_network, save_network
from trainer.augment import Movement
from trainer.cases import prepare_cases
from trainer.contour_training import (
    batches,
    contour_loss,
    evaluate_contours,
    read_slices,
    targets,
)
from trainer.experiment import CASES_FOLDER, RUNS_FOLDER, Experiment, read_experiment
from trainer.fit import fit

WEIGHTS_FOLDER = Path("models/weights")


class Network(StrEnum):
    """Which of the two networks."""

    CONTOUR = "contour"
    LESION = "lesion"


ExperimentFile = Annotated[Path, typer.Option("--experiment", help="A TOML file.")]


def _prepared(experiment: Experiment, *ranges: tuple[int, int]) -> None:
    for first, last in ranges:
        prepare_cases(range(first, last), CASES_FOLDER, experiment.roi)


def _code_version() -> str:
    asked = subprocess.run(  # noqa: S603 - a fixed command
        ["git", "describe", "--always", "--dirty"],  # noqa: S607
        capture_output=True,
        text=True,
        check=False,
    )
    return asked.stdout.strip() or "unknown"


def _training_record(experiment: Experiment) -> dict[str, Any]:
    return {
        "data": "phantom cases drawn by trainer.phantom; no patient was involved",
        "cases": asdict(experiment.cases),
        "seed": experiment.seed,
        "steps": experiment.steps,
        "batch": experiment.batch,
        "learning_rate": experiment.learning_rate,
        "experiment_sha256": experiment.digest,
        "code": _code_version(),
        "torch": torch.__version__,
    }


def train(network: Network, experiment: ExperimentFile) -> None:
    """Train a network on phantoms and write its weights and card."""
    plan = read_experiment(experiment)
    _prepared(plan, plan.cases.training, plan.cases.validation)
    torch.manual_seed(plan.seed)
    train_contour(plan)


def train_contour(plan: Experiment) -> None:
    """Train the contour network and choose its presence threshold on the validation cases."""
    if not isinstance(plan.architecture, ContourArchitecture):
        raise typer.BadParameter("the experiment is not one of the contour network")
    network = ContourUNet(plan.architecture).to(memory_format=torch.channels_last)
    generator = torch.Generator().manual_seed(plan.seed)
    stock = read_slices(CASES_FOLDER, range(*plan.cases.training))
    drawn = batches(stock, plan.batch, Movement(), generator)

    def loss_of_step(_: int) -> torch.Tensor:
        images, contours = next(drawn)
        wanted = targets(contours, images.shape[-1], generator)
        with torch.autocast("cpu", torch.bfloat16):
            maps = network(images)
        return contour_loss(maps.float(), wanted)

    fit(network, loss_of_step, plan, generator, RUNS_FOLDER / plan.name)


if __name__ == "__main__":
    typer.run(train)
