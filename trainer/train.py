"""Train networks: ``python -m trainer train contour --experiment FILE``."""

from dataclasses import asdict, replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import torch
import typer

from models.lesion_resnet34 import LesionResNet34
from models.preprocess import PREPROCESSING_VERSION
from models.scoring_rules import THRESHOLDS
from models.weights import (
    CARD_NAME,
    INTENDED_USE,
    OWN_INTENDED_USE,
    Card,
    load_network,
    read_card,
    save_network,
)
from trainer.command_options import Changes, Device, ExperimentFile, Threads
from trainer.contours.contour_run import trained_contour
from trainer.distributed import AUTO, process_group, use_threads
from trainer.evaluation.slice_calibration_fit import slice_calibration
from trainer.experiment import (
    RUNS_FOLDER,
    SHIPPED_WEIGHTS,
    WHOLE_SLICE_WEIGHTS,
    Experiment,
    ExperimentInvalid,
    read_experiment,
)
from trainer.lesions.lesion_run import chosen_lesion_settings, trained_lesion
from trainer.lesions.lesion_training import read_joints
from trainer.malloc import keep_freed_memory
from trainer.prepared_cases import ready_cases
from trainer.run_metadata import record_run, training_record


class NetworkKind(StrEnum):
    """The two networks."""

    CONTOUR = "contour"
    LESION = "lesion"


_SHIPPED = {NetworkKind.CONTOUR: WHOLE_SLICE_WEIGHTS, NetworkKind.LESION: SHIPPED_WEIGHTS}

WeightsFolder = Annotated[Path, typer.Option(help="Folder with one subfolder per network.")]
RunsFolder = Annotated[Path, typer.Option(help="Folder for cases and checkpoints.")]


def train(
    network: NetworkKind,
    experiment: ExperimentFile,
    weights: Annotated[
        Path | None,
        typer.Option(help="Folder with one subfolder per network; by default the shipped weights."),
    ] = None,
    runs: RunsFolder = RUNS_FOLDER,
    changes: Changes = None,
    device: Device = AUTO,
    threads: Threads = 0,
) -> None:
    """Train a network, choose its thresholds, and write its weights and model card.

    `train contour` trains the network of whole slices, as the paper has it; `train-joint` trains
    the networks that the node ships.

    An interrupted run resumes from its checkpoint. On several GPUs:
    torchrun --nproc-per-node 4 -m trainer train contour --experiment FILE
    """
    plan = read_experiment(experiment, changes or ())
    _refuse_to_overwrite(plan, weights, network)
    keep_freed_memory()
    use_threads(threads)
    with process_group(device) as group:
        if group.is_main:
            record_run(plan, runs, group)
            ready_cases(plan.cases, (plan.cases.training, plan.cases.validation), runs, plan.roi)
        group.barrier()
        torch.manual_seed(plan.seed)
        learn = trained_contour if network is NetworkKind.CONTOUR else trained_lesion
        trained, settings = learn(plan, runs, group)
        if group.is_main:
            folder = (weights or _SHIPPED[network]) / network
            written = save_network(trained.eval(), _card(plan, settings, runs), folder)
            print(f"{network} {written.version} written, SHA-256 {written.sha256}")
        group.barrier()


def _card(plan: Experiment, settings: dict[str, Any], runs: Path) -> Card:
    return Card(
        plan.name,
        plan.version,
        plan.architecture,
        PREPROCESSING_VERSION,
        INTENDED_USE if plan.cases.are_phantoms else OWN_INTENDED_USE,
        training_record(plan, runs),
        {},
        settings,
    )


def _refuse_to_overwrite(plan: Experiment, weights: Path | None, network: NetworkKind) -> None:
    folder = (weights or _SHIPPED[network]) / network
    if (folder / CARD_NAME).exists() and read_card(folder).name != plan.name:
        card = read_card(folder)
        raise ExperimentInvalid(
            f"{folder} holds {card.name} {card.version}, which {plan.name} would overwrite; name "
            "another folder with --weights"
        )
    if weights is None and not plan.cases.are_phantoms:
        raise ExperimentInvalid(
            f"{plan.name} trains on own cases and would overwrite the shipped weights; name "
            "another folder with --weights"
        )


def calibrate(
    experiment: ExperimentFile,
    weights: WeightsFolder = SHIPPED_WEIGHTS,
    runs: RunsFolder = RUNS_FOLDER,
    changes: Changes = None,
    slices_of: Annotated[
        int, typer.Option("--slices-of", help="Phantoms to calibrate single slices with.")
    ] = 0,
) -> None:
    """Recalibrate the shipped lesion network and choose thresholds on the validation cases.

    With --slices-of, single slices are calibrated on that many phantoms, from the first validation
    case on, end to end with the contour network beside it; without, the node reports no scores of
    lesion burden. The weights do not change; earlier evaluation results are removed from the model
    card.
    """
    plan = read_experiment(experiment, changes or ())
    folder = weights / NetworkKind.LESION
    loaded = load_network(folder)
    if not isinstance(loaded.network, LesionResNet34):
        raise ExperimentInvalid(f"{folder} does not contain a lesion network")
    folder_of_cases = ready_cases(plan.cases, (plan.cases.validation,), runs, plan.roi)
    settings = dict(loaded.card.settings) | chosen_lesion_settings(
        loaded.network, plan, runs, read_joints(folder_of_cases, range(*plan.cases.validation))
    )
    card = replace(loaded.card, settings=settings, metrics={})
    save_network(loaded.network, card, folder)
    if slices_of:
        first = plan.cases.validation[0]
        slices = slice_calibration(weights, range(first, first + slices_of))
        settings["slice_calibration"] = asdict(slices)
        save_network(loaded.network, replace(card, settings=settings), folder)
    for name in ("calibration", *THRESHOLDS.values(), "thresholds_chosen", "slice_calibration"):
        print(f"{name}: {settings[name]}")
