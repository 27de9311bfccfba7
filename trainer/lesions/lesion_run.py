"""A training run of the lesion network: experiment in, trained network and its settings out."""

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, cast

import torch

from models.lesion_resnet34 import LesionArchitecture, LesionResNet34
from trainer.distributed import ProcessGroup, seeded_generator
from trainer.experiment import SLABS, Experiment, ExperimentInvalid
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
    validation_scores,
)
from trainer.lesions.slab_joints import SlabJoint, SlabShare, slab_files, slab_joints
from trainer.phantom.draw_slabs import SlabKind
from trainer.training_curves import VALIDATION
from trainer.training_loop import Losses, fit


def trained_lesion(
    plan: Experiment, runs: Path, group: ProcessGroup
) -> tuple[LesionResNet34, dict[str, Any]]:
    """The trained network and the settings for its model card.

    Raises
    ------
    ExperimentInvalid
        If the experiment is for another network, or there are too few joints or label slabs.
    """
    if not isinstance(plan.architecture, LesionArchitecture):
        raise ExperimentInvalid(f"{plan.name} is not an experiment for the lesion network")
    joints, validation = _joints(plan, runs)
    network = fitted_lesion(plan, runs, group, joints, validation)
    settings: dict[str, Any] = {"roi": asdict(plan.roi)}
    if group.is_main:
        settings |= chosen_lesion_settings(network.cpu(), plan, runs, validation)
    return network, settings


def fitted_lesion(
    plan: Experiment,
    runs: Path,
    group: ProcessGroup,
    joints: tuple[JointSample, ...],
    validation: tuple[JointSample, ...],
) -> LesionResNet34:
    """A network trained on some joints and validated on others, from its initial weights.

    Parameters
    ----------
    plan
        Of the lesion network; its cases are not read.
    """
    network = LesionResNet34(cast(LesionArchitecture, plan.architecture))
    load_initial_weights(plan, network)
    network.to(group.device, memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
    generator = seeded_generator(plan.seed, replace(group, device=torch.device("cpu")))
    targets = training_targets(plan, network, joints)
    targets.module.to(group.device)
    slabs = _slab_share(plan, runs)
    drawn = lesion_batches(targets.joints, plan.batch, generator, plan.synthetic_erosions, slabs)

    def losses_of_step(step: int) -> Losses:
        batch = next(drawn).to(group.device)
        with group.device, group.mixed_precision():
            logits = lesion_logits(network, batch)
        return targets.losses(logits.float(), batch.positive, step / plan.steps)

    def measure() -> dict[str, float]:
        scores = validation_scores(predictions(network, validation))
        return {VALIDATION + name: value for name, value in scores.items()}

    fit(targets.module, losses_of_step, plan, generator, runs / plan.folder, group, measure)
    return network


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
            f"{plan.name} learns from label slabs, but {runs / SLABS} has too few; {_drawing(runs)}"
            ", or set slab_share to 0"
        )
    return SlabShare(joints, plan.slab_share, plan.roi)


def _drawing(runs: Path) -> str:
    return f"draw them with `python -m trainer draw-slabs --cache {runs / SLABS}`"


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


def chosen_lesion_settings(
    network: LesionResNet34, plan: Experiment, runs: Path, joints: tuple[JointSample, ...]
) -> dict[str, Any]:
    """Calibration and thresholds from validation cases; the reference from slabs as well."""
    first, last = plan.cases.validation
    kind = "phantom" if plan.cases.are_phantoms else "own"
    chosen = chosen_settings(predictions(network, joints), f"{kind} cases {first} to {last - 1}")
    slabs = _validation_slabs(plan, runs)
    samples = (*joints, *slab_samples(slabs, plan.roi, plan.seed))
    print(f"reference of typical joints: {len(joints)} of cases, {len(slabs)} of label slabs")
    return chosen | {"reference": asdict(reference_on(network, samples))}


def _validation_slabs(plan: Experiment, runs: Path) -> tuple[SlabJoint, ...]:
    """Joints of the label slabs that are kept from training; says so if they are missing."""
    if not plan.slab_share:
        return ()
    _, files = slab_files(runs / SLABS / SlabKind.CLOSE)
    joints = slab_joints(files)
    if not joints:
        print(
            f"warning: {plan.name} has slab_share = {plan.slab_share}, but {runs / SLABS} has no "
            "label slabs; the reference comes from the cases alone, and joints unlike them are "
            f"flagged sooner: {_drawing(runs)} and run this again"
        )
    return tuple(joints)
