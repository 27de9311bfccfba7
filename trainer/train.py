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
from trainer.distributed import ProcessGroup, process_group, seeded_generator
from trainer.experiment import (
    RUNS_FOLDER,
    SHIPPED_WEIGHTS,
    SLABS,
    WHOLE_SLICE_WEIGHTS,
    Experiment,
    ExperimentInvalid,
    read_experiment,
)
from trainer.initialisation import load_initial_weights
from trainer.lesions.lesion_targets import training_targets
from trainer.lesions.lesion_training import (
    JointSample,
    chosen_settings,
    lesion_batches,
    lesion_logits,
    predictions,
    read_joints,
    reference_on,
    slab_samples,
)
from trainer.lesions.slab_joints import SlabShare, slab_files, slab_joints
from trainer.malloc import keep_freed_memory
from trainer.phantom.draw_slabs import SlabKind
from trainer.prepared_cases import ready_cases
from trainer.run_metadata import record_run, training_record
from trainer.training_loop import fit


class NetworkKind(StrEnum):
    """The two networks."""

    CONTOUR = "contour"
    LESION = "lesion"


_SHIPPED = {NetworkKind.CONTOUR: WHOLE_SLICE_WEIGHTS, NetworkKind.LESION: SHIPPED_WEIGHTS}

ExperimentFile = Annotated[Path, typer.Option("--experiment", help="Experiment file (TOML).")]
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
) -> None:
    """Train a network, choose its thresholds, and write its weights and model card.

    `train contour` trains the network of whole slices, as the paper has it; `train-joint` trains
    the networks that the node ships.

    An interrupted run resumes from its checkpoint. On several GPUs:
    torchrun --nproc-per-node 4 -m trainer train contour --experiment FILE
    """
    plan = read_experiment(experiment)
    _refuse_to_overwrite_shipped(plan, weights)
    keep_freed_memory()
    with process_group() as group:
        if group.is_main:
            record_run(plan, runs, group)
            ready_cases(plan.cases, (plan.cases.training, plan.cases.validation), runs, plan.roi)
        group.barrier()
        torch.manual_seed(plan.seed)
        learn = trained_contour if network is NetworkKind.CONTOUR else _trained_lesion
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


def _trained_lesion(
    plan: Experiment, runs: Path, group: ProcessGroup
) -> tuple[LesionResNet34, dict[str, Any]]:
    if not isinstance(plan.architecture, LesionArchitecture):
        raise ExperimentInvalid(f"{plan.name} is not an experiment for the lesion network")
    network = LesionResNet34(plan.architecture)
    load_initial_weights(plan, network)
    network.to(group.device, memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
    generator = seeded_generator(plan.seed, replace(group, device=torch.device("cpu")))
    joints, validation = _joints(plan, runs)
    targets = training_targets(plan, network, joints)
    targets.module.to(group.device)
    slabs = _slab_share(plan, runs)
    drawn = lesion_batches(targets.joints, plan.batch, generator, plan.synthetic_erosions, slabs)

    def loss_of_step(step: int) -> Tensor:
        batch = next(drawn).to(group.device)
        with group.device, group.mixed_precision():
            logits = lesion_logits(network, batch)
        return targets.loss(logits.float(), batch.positive, step / plan.steps)

    fit(targets.module, loss_of_step, plan, generator, runs / plan.folder, group)
    settings = _chosen_settings(network.cpu(), plan, runs, validation)
    return network, {"roi": asdict(plan.roi)} | settings


def _refuse_to_overwrite_shipped(plan: Experiment, weights: Path | None) -> None:
    if weights is None and not plan.cases.are_phantoms:
        raise ExperimentInvalid(
            f"{plan.name} trains on own cases and would overwrite the shipped weights; name "
            "another folder with --weights"
        )


def _slab_share(plan: Experiment, runs: Path) -> SlabShare:
    """The joints from label slabs that an experiment trains on.

    Raises
    ------
    ExperimentInvalid
        If it asks for some and there are none.
    """
    if not plan.slab_share:
        return SlabShare((), 0.0, plan.roi)
    training, _ = slab_files(runs / SLABS / SlabKind.CLOSE)
    joints = slab_joints(training)
    if not joints:
        raise ExperimentInvalid(
            f"{plan.name} learns from label slabs, but {runs / SLABS} has too few; draw them with "
            f"`python -m trainer draw-slabs --cache {runs / SLABS}`, or set slab_share to 0"
        )
    return SlabShare(joints, plan.slab_share, plan.roi)


def _joints(
    plan: Experiment, runs: Path
) -> tuple[tuple[JointSample, ...], tuple[JointSample, ...]]:
    """The joints for training and for validation; at least a batch and one."""
    training, validation = (
        read_joints(runs / plan.cases.folder, range(*cases))
        for cases in (plan.cases.training, plan.cases.validation)
    )
    for purpose, joints, needed in (
        ("training", training, plan.batch),
        ("validation", validation, 1),
    ):
        if len(joints) < needed:
            raise ExperimentInvalid(
                f"the {purpose} cases of {plan.name} have {len(joints)} joints with T1, STIR and "
                f"readings; {needed} are needed: add such cases, or reduce batch"
            )
    return training, validation


def _chosen_settings(
    network: LesionResNet34, plan: Experiment, runs: Path, joints: tuple[JointSample, ...]
) -> dict[str, Any]:
    """Calibration and thresholds from validation cases; the reference from slabs as well."""
    first, last = plan.cases.validation
    kind = "phantom" if plan.cases.are_phantoms else "own"
    chosen = chosen_settings(predictions(network, joints), f"{kind} cases {first} to {last - 1}")
    if plan.slab_share:
        _, files = slab_files(runs / SLABS / SlabKind.CLOSE)
        joints = (*joints, *slab_samples(slab_joints(files), plan.roi, plan.seed))
    return chosen | {"reference": asdict(reference_on(network, joints))}


def calibrate(
    experiment: ExperimentFile,
    weights: WeightsFolder = SHIPPED_WEIGHTS,
    runs: RunsFolder = RUNS_FOLDER,
) -> None:
    """Recalibrate the shipped lesion network and choose thresholds on the validation cases.

    The weights do not change; earlier evaluation results are removed from the model card.
    """
    plan = read_experiment(experiment)
    folder = weights / NetworkKind.LESION
    loaded = load_network(folder)
    if not isinstance(loaded.network, LesionResNet34):
        raise ExperimentInvalid(f"{folder} does not contain a lesion network")
    folder_of_cases = ready_cases(plan.cases, (plan.cases.validation,), runs, plan.roi)
    settings = dict(loaded.card.settings) | _chosen_settings(
        loaded.network, plan, runs, read_joints(folder_of_cases, range(*plan.cases.validation))
    )
    save_network(loaded.network, replace(loaded.card, settings=settings, metrics={}), folder)
    for name in ("calibration", "thresholds", "thresholds_chosen"):
        print(f"{name}: {settings[name]}")
