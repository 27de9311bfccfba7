"""Train networks: ``python -m trainer train contour --experiment FILE``."""

from dataclasses import asdict, replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from torch import Tensor

from models.lesion_resnet34 import LesionArchitecture, LesionResNet34
from models.preprocess import PREPROCESSING_VERSION
from models.weights import INTENDED_USE, OWN_INTENDED_USE, Card, load_network, save_network
from trainer.contours.contour_run import trained_contour
from trainer.distributed import Team, joined_team, source_of_chance
from trainer.experiment import (
    RUNS_FOLDER,
    Experiment,
    ExperimentInvalid,
    read_experiment,
)
from trainer.initialisation import continue_from
from trainer.lesions.lesion_targets import lesson_of
from trainer.lesions.lesion_training import (
    answers,
    chosen_settings,
    lesion_batches,
    lesion_logits,
    read_joints,
    reference_on,
)
from trainer.malloc import keep_freed_memory
from trainer.prepared_cases import ready_cases
from trainer.run_metadata import record_run, training_record
from trainer.training_loop import fit

WEIGHTS_FOLDER = Path("models/weights")


class NetworkKind(StrEnum):
    """Which of the two networks."""

    CONTOUR = "contour"
    LESION = "lesion"


ExperimentFile = Annotated[Path, typer.Option("--experiment", help="A TOML file.")]
WeightsFolder = Annotated[Path, typer.Option(help="Holds a folder for each network.")]
RunsFolder = Annotated[Path, typer.Option(help="Where cases and checkpoints are kept.")]


def train(
    network: NetworkKind,
    experiment: ExperimentFile,
    weights: WeightsFolder = WEIGHTS_FOLDER,
    runs: RunsFolder = RUNS_FOLDER,
) -> None:
    """Train a network, choose its thresholds, and write its weights and card.

    A run that was stopped goes on where it was. On several GPUs:
    torchrun --nproc-per-node 4 -m trainer train contour --experiment FILE
    """
    plan = read_experiment(experiment)
    keep_freed_memory()
    with joined_team() as team:
        if team.leads:
            record_run(plan, runs / plan.folder, team)
            ready_cases(plan.cases, (plan.cases.training, plan.cases.validation), runs, plan.roi)
        team.wait()
        torch.manual_seed(plan.seed)
        learn = trained_contour if network is NetworkKind.CONTOUR else _trained_lesion
        trained, settings = learn(plan, runs, team)
        if team.leads:
            written = save_network(trained.eval(), _card(plan, settings), weights / network)
            print(f"{network} {written.version} written, SHA-256 {written.sha256}")
        team.wait()


def _card(plan: Experiment, settings: dict[str, Any]) -> Card:
    return Card(
        plan.name,
        plan.version,
        plan.architecture,
        PREPROCESSING_VERSION,
        INTENDED_USE if plan.cases.are_phantoms else OWN_INTENDED_USE,
        training_record(plan),
        {},
        settings,
    )


def _trained_lesion(
    plan: Experiment, runs: Path, team: Team
) -> tuple[LesionResNet34, dict[str, Any]]:
    if not isinstance(plan.architecture, LesionArchitecture):
        raise ExperimentInvalid(f"{plan.name} is no experiment of the lesion network")
    network = LesionResNet34(plan.architecture)
    continue_from(plan, network)
    network.to(team.device, memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
    generator = source_of_chance(plan.seed, replace(team, device=torch.device("cpu")))
    joints = read_joints(runs / plan.cases.folder, range(*plan.cases.training))
    lesson = lesson_of(plan, network, joints)
    lesson.module.to(team.device)
    drawn = lesion_batches(lesson.joints, plan.batch, generator, plan.pits)

    def loss_of_step(step: int) -> Tensor:
        squares, zones, positive = (part.to(team.device) for part in next(drawn))
        with team.device, team.mixed_precision():
            logits = lesion_logits(network, squares, zones)
        return lesson.loss(logits.float(), positive, step / plan.steps)

    fit(lesson.module, loss_of_step, plan, generator, runs / plan.folder, team)
    return network, {"roi": asdict(plan.roi)} | _chosen_settings(network.cpu(), plan, runs)


def _chosen_settings(network: LesionResNet34, plan: Experiment, runs: Path) -> dict[str, Any]:
    first, last = plan.cases.validation
    joints = read_joints(runs / plan.cases.folder, range(first, last))
    kind = "phantom" if plan.cases.are_phantoms else "own"
    chosen = chosen_settings(answers(network, joints), f"{kind} cases {first} to {last - 1}")
    return chosen | {"reference": asdict(reference_on(network, joints))}


def calibrate(
    experiment: ExperimentFile,
    weights: WeightsFolder = WEIGHTS_FOLDER,
    runs: RunsFolder = RUNS_FOLDER,
) -> None:
    """Fit the shipped lesion network's probabilities and thresholds on the validation cases.

    The weights stay as they are; what was measured before is taken off the card.
    """
    plan = read_experiment(experiment)
    folder = weights / NetworkKind.LESION
    loaded = load_network(folder)
    if not isinstance(loaded.network, LesionResNet34):
        raise ExperimentInvalid(f"{folder} holds no lesion network")
    ready_cases(plan.cases, (plan.cases.validation,), runs, plan.roi)
    settings = dict(loaded.card.settings) | _chosen_settings(loaded.network, plan, runs)
    save_network(loaded.network, replace(loaded.card, settings=settings, metrics={}), folder)
    for name in ("calibration", "thresholds", "thresholds_chosen"):
        print(f"{name}: {settings[name]}")
