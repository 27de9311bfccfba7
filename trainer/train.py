"""Train and evaluate networks: ``python -m trainer train contour --experiment FILE``."""

import math
import subprocess
from dataclasses import asdict, replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from torch import Tensor, nn

from models.analyser import Analyser
from models.contour_unet import ContourArchitecture, ContourUNet
from models.lesion_resnet34 import LesionArchitecture, LesionResNet34
from models.preprocess import PREPROCESSING_VERSION
from models.walk import WalkRules
from models.weights import INTENDED_USE, Card, load_network, read_card, save_network
from trainer.augment import BEYOND, Movement
from trainer.cascade import cascade_answers
from trainer.cases import prepare_cases
from trainer.contour_training import (
    batches,
    best_presence_threshold,
    contour_loss,
    evaluate_contours,
    read_slices,
    targets,
)
from trainer.experiment import (
    CASES,
    RUNS_FOLDER,
    Experiment,
    ExperimentInvalid,
    read_experiment,
)
from trainer.fit import fit
from trainer.lesion_training import (
    answers,
    chosen_settings,
    lesion_batches,
    lesion_logits,
    lesion_loss,
    lesion_scores,
    read_joints,
    reference_on,
)
from trainer.metrics import pointing_scores

WEIGHTS_FOLDER = Path("models/weights")

WIDE = Movement(translation=0.2, scale=0.3, rotation_deg=20.0, bending_px=4.0)


class Network(StrEnum):
    """Which of the two networks."""

    CONTOUR = "contour"
    LESION = "lesion"


ExperimentFile = Annotated[Path, typer.Option("--experiment", help="A TOML file.")]
WeightsFolder = Annotated[Path, typer.Option(help="Holds a folder for each network.")]
RunsFolder = Annotated[Path, typer.Option(help="Where cases and checkpoints are kept.")]


def train(
    network: Network,
    experiment: ExperimentFile,
    weights: WeightsFolder = WEIGHTS_FOLDER,
    runs: RunsFolder = RUNS_FOLDER,
) -> None:
    """Train a network on phantoms, choose its thresholds, and write its weights and card.

    A run that was stopped goes on where it was.
    """
    plan = read_experiment(experiment)
    for seeds in (plan.cases.training, plan.cases.validation):
        prepare_cases(range(*seeds), runs / CASES, plan.roi)
    torch.manual_seed(plan.seed)
    learn = _trained_contour if network is Network.CONTOUR else _trained_lesion
    trained, settings = learn(plan, runs)
    card = Card(
        plan.name,
        plan.version,
        plan.architecture,
        PREPROCESSING_VERSION,
        INTENDED_USE,
        _training_record(plan),
        {},
        settings,
    )
    written = save_network(trained.eval(), card, weights / network)
    print(f"{network} {written.version} written, SHA-256 {written.sha256}")


def _trained_contour(plan: Experiment, runs: Path) -> tuple[ContourUNet, dict[str, Any]]:
    if not isinstance(plan.architecture, ContourArchitecture):
        raise ExperimentInvalid(f"{plan.name} is no experiment of the contour network")
    network = ContourUNet(plan.architecture)
    _continue_from(plan.start, network)
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    generator = torch.Generator().manual_seed(plan.seed)
    stock = read_slices(runs / CASES, range(*plan.cases.training))
    drawn = batches(stock, plan.batch, WIDE, BEYOND, generator)

    def loss_of_step(_: int) -> Tensor:
        images, contours = next(drawn)
        wanted = targets(contours, images.shape[-1], generator, plan.field)
        with torch.autocast("cpu", torch.bfloat16):
            maps = network(images)
        return contour_loss(maps.float(), wanted)

    fit(network, loss_of_step, plan, generator, runs / f"{plan.name}-{plan.version}")
    validation = range(*plan.cases.validation)
    return network, {
        "presence_threshold": best_presence_threshold(network, runs / CASES, validation)
    }


def _trained_lesion(plan: Experiment, runs: Path) -> tuple[LesionResNet34, dict[str, Any]]:
    if not isinstance(plan.architecture, LesionArchitecture):
        raise ExperimentInvalid(f"{plan.name} is no experiment of the lesion network")
    network = LesionResNet34(plan.architecture)
    _continue_from(plan.start, network)
    network.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
    generator = torch.Generator().manual_seed(plan.seed)
    joints = read_joints(runs / CASES, range(*plan.cases.training))
    drawn = lesion_batches(joints, plan.batch, generator)

    def loss_of_step(_: int) -> Tensor:
        squares, zones, positive = next(drawn)
        with torch.autocast("cpu", torch.bfloat16):
            logits = lesion_logits(network, squares, zones)
        return lesion_loss(logits.float(), positive)

    fit(network, loss_of_step, plan, generator, runs / f"{plan.name}-{plan.version}")
    return network, {"roi": asdict(plan.roi)} | _chosen_settings(network, plan, runs)


def _chosen_settings(network: LesionResNet34, plan: Experiment, runs: Path) -> dict[str, Any]:
    first, last = plan.cases.validation
    joints = read_joints(runs / CASES, range(first, last))
    chosen = chosen_settings(answers(network, joints), f"phantom cases {first} to {last - 1}")
    return chosen | {"reference": asdict(reference_on(network, joints))}


def _continue_from(start: str, network: nn.Module) -> None:
    if start:
        network.load_state_dict(load_network(Path(start)).network.state_dict())


def _training_record(plan: Experiment) -> dict[str, Any]:
    return {
        "data": "phantom cases drawn by trainer.phantom; no patient was involved",
        "cases": asdict(plan.cases),
        "seed": plan.seed,
        "steps": plan.steps,
        "batch": plan.batch,
        "learning_rate": plan.learning_rate,
        "experiment_sha256": plan.digest,
        "code": _code_version(),
        "torch": torch.__version__,
        "start": read_card(Path(plan.start)).sha256 if plan.start else "",
        "notes": plan.notes,
    }


def _code_version() -> str:
    asked = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"],  # noqa: S607
        capture_output=True,
        text=True,
        check=False,
    )
    return asked.stdout.strip() or "unknown"


def _written(value: float) -> float | str:
    """A score as JSON can hold it."""
    return "beyond: too many were missed" if math.isinf(value) else round(value, 3)


def calibrate(
    experiment: ExperimentFile,
    weights: WeightsFolder = WEIGHTS_FOLDER,
    runs: RunsFolder = RUNS_FOLDER,
) -> None:
    """Fit the shipped lesion network's probabilities and thresholds on the validation cases.

    The weights stay as they are; what was measured before is taken off the card.
    """
    plan = read_experiment(experiment)
    folder = weights / Network.LESION
    loaded = load_network(folder)
    if not isinstance(loaded.network, LesionResNet34):
        raise ExperimentInvalid(f"{folder} holds no lesion network")
    prepare_cases(range(*plan.cases.validation), runs / CASES, plan.roi)
    settings = dict(loaded.card.settings) | _chosen_settings(loaded.network, plan, runs)
    save_network(loaded.network, replace(loaded.card, settings=settings, metrics={}), folder)
    for name in ("calibration", "thresholds", "thresholds_chosen"):
        print(f"{name}: {settings[name]}")


def evaluate(
    network: Network,
    experiment: ExperimentFile,
    weights: WeightsFolder = WEIGHTS_FOLDER,
    runs: RunsFolder = RUNS_FOLDER,
) -> None:
    """Measure the shipped network on the experiment's test cases and write that on its card.

    The lesion network is measured behind the shipped contour network, from the images alone;
    where it points is held against where the lesion was drawn.
    """
    plan = read_experiment(experiment)
    folder = weights / network
    loaded = load_network(folder)
    seeds = range(*plan.cases.test)
    if isinstance(loaded.network, ContourUNet):
        prepare_cases(seeds, runs / CASES, plan.roi)
        rules = replace(WalkRules(), presence_threshold=loaded.card.settings["presence_threshold"])
        found = asdict(evaluate_contours(loaded.network, runs / CASES, seeds, rules))
        scores: dict[str, Any] = {name: _written(value) for name, value in found.items()}
    else:
        said = cascade_answers(Analyser.load(weights), seeds)
        scores = dict(lesion_scores(said.answers, loaded.card.settings["thresholds"]))
        scores["lesions found, pointed at"] = {
            lesion: {name: _written(value) for name, value in found.items()}
            for lesion, found in pointing_scores(said.pointings).items()
        }
    metrics = {
        "measured on": f"{len(seeds)} phantom cases that training never saw",
        "command": f"python -m trainer evaluate {network} --experiment {experiment}",
        **scores,
    }
    save_network(loaded.network, replace(loaded.card, metrics=metrics), folder)
    for name, value in metrics.items():
        print(f"{name}: {value}")
