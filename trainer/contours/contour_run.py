"""A training run of the contour network or the baseline: experiment in, trained network out."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from models.contour_unet import CHANNELS_PER_JOINT, SIDES, ContourArchitecture, ContourUNet
from models.delineate import walk_rules
from trainer.augmentation import BEYOND, PAPER, Movement
from trainer.contours.contour_training import (
    SlicePool,
    batches,
    best_presence_threshold,
    contour_losses,
    slice_pool,
    targets,
    validation_scores,
)
from trainer.contours.landmark_baseline import LANDMARKS, landmark_loss
from trainer.distributed import ProcessGroup, seeded_generator
from trainer.experiment import Augmentation, Experiment, ExperimentInvalid
from trainer.initialisation import load_initial_weights, zero_output_layer
from trainer.prepared_cases import StoredCase, read_case
from trainer.training_curves import VALIDATION
from trainer.training_loop import Losses, Measure, fit

MOST_WATCHED = 20
"""Validation cases that are measured during training; the thresholds are chosen on all."""

WIDE = Movement(translation=0.2, scale=0.3, rotation_deg=20.0, bending_px=4.0)

CHANGES = {
    Augmentation.PAPER: (Movement(), PAPER),
    Augmentation.BEYOND: (WIDE, BEYOND),
}

ContourLosses = Callable[[Tensor, Tensor], Losses]
"""Losses of maps ``(n, channels, size, size)`` and true contours ``(n, 2, points, 2)``."""


def trained_contour(
    plan: Experiment, runs: Path, group: ProcessGroup
) -> tuple[ContourUNet, dict[str, Any]]:
    """The trained network and the settings for its model card.

    Parameters
    ----------
    plan
        The experiment.
    runs
        Folder for cases and checkpoints.
    group
        The processes that train together.
    """
    if not isinstance(plan.architecture, ContourArchitecture):
        raise ExperimentInvalid(f"{plan.name} is not an experiment for the contour network")
    network = ContourUNet(plan.architecture)
    zero_output_layer(network)
    load_initial_weights(plan, network)
    network.to(group.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    with group.device:
        _learn(network, plan, runs, group)
    settings: dict[str, Any] = {"presence_threshold": 0.5, "walk": plan.walk}
    if group.is_main:
        rules = walk_rules(settings)
        validation = range(*plan.cases.validation)
        threshold = best_presence_threshold(network, runs / plan.cases.folder, validation, rules)
        settings["presence_threshold"] = threshold
    return network, settings


def _refuse_without_contours(stock: SlicePool, plan: Experiment) -> None:
    if not stock.shows_joint.any():
        raise ExperimentInvalid(
            f"the training cases of {plan.name} have no contours; draw some, or train the lesion "
            "network only"
        )


def _learn(network: ContourUNet, plan: Experiment, runs: Path, group: ProcessGroup) -> None:
    generator = seeded_generator(plan.seed, group)
    folder, seeds = runs / plan.cases.folder, range(*plan.cases.training)
    stock = slice_pool(read_case(folder, seed) for seed in seeds).on(group.device)
    _refuse_without_contours(stock, plan)
    offsets = network.architecture.slice_offsets
    drawn = batches(stock, plan.batch, offsets, *CHANGES[plan.augmentation], generator)
    losses = _losses(plan, network.architecture, generator)

    def losses_of_step(_: int) -> Losses:
        images, contours = next(drawn)
        with group.mixed_precision():
            maps = network(images)
        return losses(maps.float(), contours)

    measure = _measure(network, plan, runs, group)
    fit(network, losses_of_step, plan, generator, runs / plan.folder, group, measure)


def _measure(
    network: ContourUNet, plan: Experiment, runs: Path, group: ProcessGroup
) -> Measure | None:
    """Measures the validation cases; None where they have no images."""
    cases = _watched(runs / plan.cases.folder, range(*plan.cases.validation))
    if not cases or not group.is_main:
        return (lambda: {}) if cases else None

    def measure() -> dict[str, float]:
        generator = torch.Generator(group.device).manual_seed(plan.seed)
        losses = _losses(plan, network.architecture, generator)
        scores = validation_scores(network.eval(), cases, losses, group.device)
        return {VALIDATION + name: value for name, value in scores.items()}

    return measure


def _watched(folder: Path, numbers: range) -> list[StoredCase]:
    """The validation cases with images that are measured during training, evenly chosen."""
    every = max(1, -(-len(numbers) // MOST_WATCHED))
    cases = (read_case(folder, number) for number in numbers[::every])
    return [case for case in cases if len(case.images)]


def _losses(
    plan: Experiment, architecture: ContourArchitecture, generator: torch.Generator
) -> ContourLosses:
    def by_field(maps: Tensor, contours: Tensor) -> Losses:
        size_px = maps.shape[-1]
        wanted = targets(contours, size_px, generator, plan.field, plan.field_floor)
        return contour_losses(maps, wanted)

    def by_landmarks(maps: Tensor, contours: Tensor) -> Losses:
        return {"heatmaps": landmark_loss(maps, contours)}

    losses: dict[int, ContourLosses] = {
        CHANNELS_PER_JOINT: by_field,
        LANDMARKS: by_landmarks,
    }
    if architecture.channels_per_joint not in losses:
        raise ExperimentInvalid(
            f"{plan.name}: {architecture.channels_per_joint} channels for each of {len(SIDES)} "
            f"joints are not supported; use {CHANNELS_PER_JOINT} (field) or {LANDMARKS} (baseline)"
        )
    return losses[architecture.channels_per_joint]
