"""Fourteen linear heads trained on frozen encoder features, together with a reader model.

The encoder is that of the lesion network; only the last layer is retrained. This takes seconds, so
that reader models can be compared by cross-validation on an ordinary computer.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from models.findings import HEADS
from models.lesion_resnet34 import WHOLE_ZONE, zone_of_head
from trainer.reader_study.trial_visits import SEQUENCES, TrialJoints
from trainer.readers.reader_models import Readers

Floats = NDArray[np.float64]

READERS_RATE = 0.1
"""Learning rate of the confusion matrices, which have no weight decay."""


@dataclass(frozen=True)
class HeadRules:
    """Hyperparameters of the heads.

    Parameters
    ----------
    decays
        Candidate weight decays; the validation patients decide.
    components
        Number of principal components, scaled to unit variance, that a head uses. A trial has too
        few joints for hundreds of features.
    steps
        Full-batch Adam steps.
    rate
        Learning rate, with cosine decay to zero.
    sequences
        Input of the heads: "t1", "stir", or both.
    pretrained
        True to add the logit of the network's own head, trained on true labels of other
        phantoms, to the input.
    by_zone
        True for features of the head's own quadrant, False for the whole joint.
    seed
        For readings and folds.
    folds
        Number of folds of the patients.
    """

    decays: tuple[float, ...] = (0.003, 0.01, 0.03)
    components: int = 16
    steps: int = 120
    rate: float = 0.05
    sequences: tuple[str, ...] = SEQUENCES
    by_zone: bool = True
    pretrained: bool = False
    seed: int = 1
    folds: int = 8

    def __post_init__(self) -> None:
        if not self.decays or min(self.steps, self.components) < 1 or self.folds < 3:
            raise ValueError(
                f"at least one decay, step and component, and three folds are needed: {self}"
            )
        if not self.sequences or not set(self.sequences) <= set(SEQUENCES):
            raise ValueError(f"sequences must be among {SEQUENCES}, got {self.sequences}")


def head_inputs(joints: TrialJoints, rules: HeadRules) -> Tensor:
    """The input of each head for each joint.

    Returns
    -------
    Tensor
        float32, ``(joints, 14, n · sequences)``; the logit of a pretrained head is last.
    """
    numbers = range(len(HEADS))
    zones = [zone_of_head(number) if rules.by_zone else WHOLE_ZONE for number in numbers]
    sequences = [SEQUENCES.index(name) for name in rules.sequences]
    seen = joints.features[:, sequences][:, :, zones]
    inputs = torch.from_numpy(np.moveaxis(seen, 1, 2).reshape(len(seen), len(HEADS), -1))
    if not rules.pretrained:
        return inputs
    return torch.cat([inputs, torch.from_numpy(joints.logits).unsqueeze(2)], dim=2)


@dataclass(frozen=True, eq=False)
class Directions:
    """Principal components of the inputs of each head.

    Parameters
    ----------
    mean
        Of the inputs, ``(14, n)``.
    axes
        ``(14, n, components)``; inputs along them have unit variance.
    """

    mean: Tensor
    axes: Tensor

    def along(self, inputs: Tensor) -> Tensor:
        """Inputs ``(joints, 14, n)`` as ``(joints, 14, components)``."""
        return torch.einsum("nhd,hdk->nhk", inputs - self.mean, self.axes)


def directions_of(inputs: Tensor, rules: HeadRules) -> Directions:
    """The principal components of the inputs from `head_inputs`."""
    if not rules.pretrained:
        return _principal(inputs, rules.components)
    found, said = _principal(inputs[..., :-1], rules.components), inputs[..., -1]
    axes = torch.nn.functional.pad(found.axes, (0, 1, 0, 1))
    axes[:, -1, -1] = 1 / (said.std(dim=0) + 1e-3)
    return Directions(torch.cat([found.mean, said.mean(dim=0)[:, None]], dim=1), axes)


def _principal(inputs: Tensor, components: int) -> Directions:
    """Principal components of each head's standardised inputs."""
    mean, scale = inputs.mean(dim=0), inputs.std(dim=0) + 1e-3
    scaled = ((inputs - mean) / scale).movedim(1, 0)
    wanted = min(components, len(inputs) - 1, inputs.shape[2])
    strengths, joints = torch.linalg.eigh(scaled @ scaled.mT / len(inputs))
    strengths, joints = strengths[:, -wanted:].clamp(min=1e-6), joints[:, :, -wanted:]
    axes = scaled.mT @ joints / (strengths[:, None] * len(inputs) ** 0.5)
    return Directions(mean, axes / scale[..., None])


@dataclass(frozen=True, eq=False)
class Heads:
    """Linear heads: principal components, weights ``(14, components)`` and bias."""

    directions: Directions
    weight: Tensor
    bias: Tensor

    def logits(self, inputs: Tensor) -> Tensor:
        """``(joints, 14, n)`` to ``(joints, 14)``."""
        return (self.directions.along(inputs) * self.weight).sum(dim=2) + self.bias


def _optimiser(heads: list[Tensor], matrices: list[nn.Parameter], rate: float) -> torch.optim.Adam:
    groups: list[dict[str, Any]] = [{"params": heads, "lr": rate}]
    if matrices:
        groups.append({"params": matrices, "lr": READERS_RATE})
    return torch.optim.Adam(groups)


def train_heads(
    inputs: Tensor, targets: Tensor, readers: Readers, decay: float, rules: HeadRules
) -> Heads:
    """Train heads and reader model together from scratch; the reader model in place.

    Parameters
    ----------
    inputs
        From `head_inputs`.
    targets
        For the same joints, from the reader model.
    readers
        Untrained.
    decay
        Weight decay of the heads.
    """
    directions = directions_of(inputs, rules)
    along = directions.along(inputs)
    weight = torch.zeros(along.shape[1:], requires_grad=True)
    bias = torch.full((len(HEADS),), -1.0, requires_grad=True)
    optimiser = _optimiser([weight, bias], list(readers.parameters()), rules.rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, rules.steps)
    for step in range(rules.steps):
        optimiser.zero_grad(set_to_none=True)
        logits = (along * weight).sum(dim=2) + bias
        loss = readers.loss(logits, targets, step / rules.steps)
        penalty = decay * weight.square().sum(dim=1).mean()
        (loss + penalty).backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        schedule.step()
    return Heads(directions, weight.detach(), bias.detach())


@dataclass(frozen=True, eq=False)
class HeadProbabilities:
    """Probabilities by the network itself and of the consensus, ``(joints, 14)`` each."""

    own: Floats
    consensus: Floats


def predict(heads: Heads, readers: Readers, inputs: Tensor) -> HeadProbabilities:
    """Predictions of trained heads."""
    with torch.no_grad():
        logits = heads.logits(inputs)
        said = readers.answer(logits)
    return HeadProbabilities(logits.double().sigmoid().numpy(), said.double().numpy())


def folds_of(patients: NDArray[np.int64], folds: int, seed: int) -> NDArray[np.int64]:
    """The fold of each joint; all visits of a patient are in one fold."""
    each = np.unique(patients)
    shuffled = np.random.default_rng(seed).permutation(len(each)) % folds
    return np.asarray(shuffled[np.searchsorted(each, patients)])


def mean_prediction(answers: Sequence[HeadProbabilities]) -> HeadProbabilities:
    """Mean prediction of several folds."""
    return HeadProbabilities(
        np.mean([one.own for one in answers], axis=0),
        np.mean([one.consensus for one in answers], axis=0),
    )
