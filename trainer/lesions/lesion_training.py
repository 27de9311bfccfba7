"""Training the lesion network: joints, batches, loss, calibration and thresholds.

A label is positive where the Berlin score is 1 or more.

Source: paper, "Detecting SIJ lesions" and "Implementation details".
"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as nnf
from numpy.typing import NDArray
from torch import Tensor

from models.findings import HEADS, POSITIONS, OperatingPoint, Side
from models.image_quality import Reference, reference_of, whole_joint
from models.lesion_resnet34 import LesionResNet34
from models.roi import RoiRules
from models.scoring_rules import THRESHOLDS
from trainer.augmentation import LIKELY, Movement, degraded, moved_images, random_moves
from trainer.lesions.calibration_fit import HEADS_OF_LESION, fitted_calibration, log_odds
from trainer.lesions.slab_joints import SlabJoint, SlabShare, drawn_joints, slab_batch
from trainer.lesions.synthetic_erosions import with_synthetic_erosions
from trainer.metrics.classification import (
    auc,
    best_threshold,
    sensitive_threshold,
    specific_threshold,
)
from trainer.prepared_cases import GREY_PER_UNIT, UNREAD, StoredCase, read_case

GENTLE = Movement(translation=0.05, scale=0.1, rotation_deg=8.0)
"""Crops are already aligned with the contours, so they are moved only slightly; a mirrored crop is
a joint of the other side."""


Part = tuple[Tensor, Tensor, Tensor]
"""Of a batch: intensities and zones, which slices are present, and labels."""


@dataclass(frozen=True, eq=False)
class JointSample:
    """One joint: crops and zones of both sequences, and its 14 labels.

    Parameters
    ----------
    t1, stir
        uint8, ``(2, slices, size, size)``: intensities, then zones.
    positive
        Training targets: by default 0, 1, or NaN without a label, ``(14,)`` in the order of
        HEADS.
    grades
        True Berlin grades, ``(14,)``; NaN without a label.
    readings
        The site's readings, int8, ``(14, readers, sessions)``; None for a phantom.
    """

    t1: Tensor
    stir: Tensor
    positive: Tensor
    grades: Tensor
    readings: Tensor | None = None


def joint_samples(case: StoredCase) -> tuple[JointSample, ...]:
    """The joints of a case that are on both sequences; none if its lesions are unreadable."""
    if not case.lesions_readable:
        return ()
    severity = torch.from_numpy(case.severity).float()
    grades = torch.where(severity == UNREAD, torch.nan, severity)
    labels = torch.where(severity == UNREAD, torch.nan, (severity >= 1).float())
    samples = []
    for side in Side:
        mine = torch.tensor([position.side is side for position in POSITIONS])
        both = (case.rois.get(("t1", side)), case.rois.get(("stir", side)))
        if both[0] is not None and both[1] is not None:
            t1, stir = (torch.from_numpy(roi) for roi in both if roi is not None)
            read = None if case.readings is None else torch.from_numpy(case.readings)[mine]
            samples.append(JointSample(t1, stir, labels[mine], grades[mine], read))
    return tuple(samples)


def slab_samples(joints: Sequence[SlabJoint], rules: RoiRules, seed: int) -> list[JointSample]:
    """Joints from slabs, each drawn once, for validation."""
    generator = torch.Generator().manual_seed(seed)
    samples = []
    for joint in joints:
        stacks = drawn_joints([joint], rules, generator)
        stacks[:, 0] = (stacks[:, 0] * GREY_PER_UNIT).round().clamp(0, 255)
        t1, stir = stacks.to(torch.uint8)
        samples.append(JointSample(t1, stir, joint.positive, joint.positive))
    return samples


def read_joints(folder: Path, seeds: range) -> tuple[JointSample, ...]:
    """All joints of a range of cases."""
    return tuple(sample for seed in seeds for sample in joint_samples(read_case(folder, seed)))


@dataclass(frozen=True, eq=False)
class LesionBatch:
    """Augmented crops of some joints, all slices of each.

    Parameters
    ----------
    squares, zones
        ``(2 · joints, slices, px, px)``, T1 first.
    present
        False where a joint has fewer slices than others, ``(2 · joints, slices)``.
    positive
        Labels, ``(joints, 14)``.
    """

    squares: Tensor
    zones: Tensor
    present: Tensor
    positive: Tensor

    def to(self, device: torch.device) -> "LesionBatch":
        """The batch on a device."""
        return LesionBatch(
            *(part.to(device) for part in (self.squares, self.zones, self.present, self.positive))
        )


def lesion_batches(
    joints: tuple[JointSample, ...],
    size: int,
    generator: torch.Generator,
    synthetic_erosions: float = 0.0,
    slabs: SlabShare | None = None,
) -> Iterator[LesionBatch]:
    """An endless stream of batches of `size` joints.

    Parameters
    ----------
    joints
        Of prepared cases.
    synthetic_erosions
        Share of the cases' joints that gets synthetic erosions.
    slabs
        Joints from label slabs that make up a part of each batch.
    """
    of_slabs = slabs.count(size) if slabs else 0
    of_cases = size - of_slabs
    while True:
        order = torch.randperm(len(joints), generator=generator).tolist()
        for first in range(0, len(order) - of_cases + 1, of_cases):
            chosen = [joints[number] for number in order[first : first + of_cases]]
            parts = [_of_cases(chosen, synthetic_erosions, generator)]
            if slabs and of_slabs:
                parts.append(slab_batch(slabs.joints, of_slabs, slabs.rules, generator))
            yield _moved(parts, generator)


def _of_cases(
    chosen: Sequence[JointSample], synthetic_erosions: float, generator: torch.Generator
) -> Part:
    """Joints of prepared cases with all their slices, some with synthetic erosions."""
    sequences = [joint.t1 for joint in chosen] + [joint.stir for joint in chosen]
    slices = max(roi.shape[1] for roi in sequences)
    stacks = torch.stack([_lengthened(roi, slices) for roi in sequences]).float()
    stacks[:, 0] /= GREY_PER_UNIT
    present = torch.arange(slices) < torch.tensor([roi.shape[1] for roi in sequences])[:, None]
    positive = torch.stack([joint.positive for joint in chosen])
    stacks, positive = with_synthetic_erosions(stacks, positive, synthetic_erosions, generator)
    return stacks, present, positive


def _lengthened(stacks: Tensor, slices: int) -> Tensor:
    """All slices, ``(…, slices, px, px)``; the last one again until there are `slices`."""
    return stacks.index_select(-3, torch.arange(slices).clamp(max=stacks.shape[-3] - 1))


def _joined(parts: Sequence[Part]) -> Part:
    """Parts of a batch as one, T1 first."""
    slices = max(stacks.shape[2] for stacks, _, _ in parts)
    padded = [
        (_lengthened(stacks, slices), nnf.pad(present, (0, slices - present.shape[1])))
        for stacks, present, _ in parts
    ]
    halves = [(stacks.chunk(2), present.chunk(2)) for stacks, present in padded]
    return (
        torch.cat([stacks[half] for half in (0, 1) for stacks, _ in halves]),
        torch.cat([present[half] for half in (0, 1) for _, present in halves]),
        torch.cat([positive for _, _, positive in parts]),
    )


def _moved(parts: Sequence[Part], generator: torch.Generator) -> LesionBatch:
    """Transform both sequences of a joint alike; degrade each one independently."""
    stacks, present, positive = _joined(parts)
    half = len(stacks) // 2
    moves = random_moves(half, GENTLE, generator)[0].repeat(2, 1, 1)
    grey = moved_images(stacks[:, 0], moves)
    zones = moved_images(stacks[:, 1], moves, mode="nearest")
    return LesionBatch(degraded(grey, LIKELY, generator), zones.to(torch.uint8), present, positive)


def lesion_logits(network: LesionResNet34, batch: LesionBatch) -> Tensor:
    """Logits of a batch, ``(joints, 14)``."""
    described = network.encode(batch.squares, batch.zones, batch.present)
    t1, stir = described.chunk(2)
    logits: Tensor = network(t1, stir)
    return logits


def joint_probabilities(network: LesionResNet34, joint: JointSample) -> NDArray[np.float64]:
    """The 14 probabilities of one joint, from all its slices."""
    with torch.inference_mode():
        logits: Tensor = network(*_described(network, joint))
        return logits[0].double().sigmoid().cpu().numpy()


def _described(network: LesionResNet34, joint: JointSample) -> list[Tensor]:
    """The embeddings of T1 and STIR of one joint, from all its slices."""
    described = []
    place = next(network.parameters()).device
    for roi in (joint.t1.to(place), joint.stir.to(place)):
        present = torch.ones(1, roi.shape[1], dtype=torch.bool, device=place)
        described.append(network.encode(roi[:1].float() / GREY_PER_UNIT, roi[1:], present))
    return described


def reference_on(network: LesionResNet34, joints: tuple[JointSample, ...]) -> Reference:
    """Distribution of the embeddings of validation joints, for the analyser's outlier check."""
    network.eval()
    with torch.inference_mode():
        return reference_of(
            torch.stack([whole_joint(_described(network, joint)) for joint in joints])
        )


@dataclass(frozen=True, eq=False)
class Predictions:
    """Labels and probabilities of many joints, both ``(joints, 14)``.

    Parameters
    ----------
    positive
        1, 0, or NaN without a label.
    """

    positive: NDArray[np.float64]
    probability: NDArray[np.float64]

    def known(self, heads: list[int]) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
        """Labels and probabilities of some heads pooled, where there is a label."""
        labels, probability = self.positive[:, heads], self.probability[:, heads]
        known = ~np.isnan(labels)
        return labels[known] > 0, probability[known]


def predictions(network: LesionResNet34, joints: tuple[JointSample, ...]) -> Predictions:
    """Run a network on all joints."""
    network.eval()
    probability = np.stack([joint_probabilities(network, joint) for joint in joints])
    labels = np.stack([joint.positive.double().numpy() for joint in joints])
    return Predictions(labels, probability)


def validation_scores(of: Predictions) -> dict[str, float]:
    """Cross-entropy over all labels (``loss``), and the mean AUC of the lesions (``AUC``).

    A lesion that is nowhere, or everywhere, has no AUC; NaN if none has one.
    """
    labels, logits = of.positive, log_odds(of.probability)
    each = np.logaddexp(0, logits) - labels * logits
    areas = [auc(*of.known(heads)) for heads in HEADS_OF_LESION.values()]
    known = [area for area in areas if not np.isnan(area)]
    return {
        "loss": float(np.nanmean(each)) if np.isfinite(each).any() else float("nan"),
        "AUC": float(np.mean(known)) if known else float("nan"),
    }


def chosen_settings(of: Predictions, cases: str) -> dict[str, Any]:
    """Settings for the model card: calibration, thresholds, and the cases used to choose them.

    A calibration of single slices belongs to other weights and is removed; `trainer calibrate` fits
    it.

    Parameters
    ----------
    of
        Predictions on cases not used for training.
    cases
        Description of the cases.

    Returns
    -------
    dict
        Thresholds apply to calibrated probabilities.
    """
    logits = log_odds(of.probability)
    calibration = fitted_calibration(logits, of.positive, cases)
    calibrated = Predictions(of.positive, calibration.probabilities(logits))
    return {
        "calibration": asdict(calibration),
        "slice_calibration": None,
        **{name: head_thresholds(calibrated, point) for point, name in THRESHOLDS.items()},
        "thresholds_chosen": f"highest balanced accuracy of each lesion on {cases}",
        "operating_points": {
            OperatingPoint.SENSITIVE: f"highest threshold with a sensitivity of {WANTED}",
            OperatingPoint.SPECIFIC: f"lowest threshold with a specificity of {WANTED}",
        },
    }


WANTED = 0.95
"""Sensitivity of the sensitive thresholds, and specificity of the specific ones."""


def head_thresholds(
    of: Predictions, point: OperatingPoint = OperatingPoint.BALANCED
) -> tuple[float, ...]:
    """A threshold for each head, chosen for its lesion over all positions pooled.

    A sensitive threshold is never above the balanced one, and a specific one never below it.
    """
    by_lesion = {
        lesion: _threshold(*of.known(heads), point) for lesion, heads in HEADS_OF_LESION.items()
    }
    return tuple(by_lesion[head.lesion] for head in HEADS)


def _threshold(
    truth: NDArray[np.bool_], probability: NDArray[np.float64], point: OperatingPoint
) -> float:
    balanced = best_threshold(truth, probability)
    if point is OperatingPoint.SENSITIVE:
        return min(balanced, sensitive_threshold(truth, probability, WANTED))
    if point is OperatingPoint.SPECIFIC:
        return max(balanced, specific_threshold(truth, probability, WANTED))
    return balanced


def lesion_losses(logits: Tensor, positive: Tensor) -> dict[str, Tensor]:
    """Binary cross-entropy where there is a label, by lesion; the sum is the mean over all labels.

    Parameters
    ----------
    logits, positive
        ``(joints, 14)``.
    """
    share = _cross_entropy(logits, positive) / (~positive.isnan()).sum().clamp(min=1)
    return {str(lesion): share[:, heads].sum() for lesion, heads in HEADS_OF_LESION.items()}


def lesion_loss(logits: Tensor, positive: Tensor) -> Tensor:
    """Mean binary cross-entropy over all labels."""
    known = ~positive.isnan()
    return _cross_entropy(logits, positive).sum() / known.sum().clamp(min=1)


def _cross_entropy(logits: Tensor, positive: Tensor) -> Tensor:
    """Of every label; 0 where there is none."""
    known = ~positive.isnan()
    each = nnf.binary_cross_entropy_with_logits(logits, positive.nan_to_num(), reduction="none")
    return each * known
