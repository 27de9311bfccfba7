"""Fourteen linear heads taught on what a frozen encoder sees, together with the readers.

The encoder is the lesion network's, as it is; only its last layer is learnt anew. That takes
seconds, so that models of the readers can be compared fold by fold on an ordinary computer.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.findings import HEADS
from models.lesion_resnet34 import WHOLE_ZONE, zone_of_head
from trainer.reader_study.trial_visits import SEQUENCES, TrialJoints
from trainer.readers.reader_models import Readers

Floats = NDArray[np.float64]

READERS_RATE = 0.1
"""Learning rate of the readers' matrices; the heads' own is in the rules. No decay on them."""


@dataclass(frozen=True)
class HeadRules:
    """How the heads are taught.

    Parameters
    ----------
    decays
        Weights of the squared weights that are tried; the validation fold chooses.
    components
        Directions in which the inputs of a head vary most; it sees those alone, each with a
        variance of 1. A trial has too few joints for hundreds of features.
    steps
        Of Adam, over all joints at once.
    rate
        Its learning rate, which falls to nothing along half a cosine.
    sequences
        What the heads see: "t1", "stir", or both.
    pretrained
        True shows each head also what the network's own head says, which learnt from true labels
        of other phantoms.
    by_zone
        True lets each head see its own quadrant, False the whole joint.
    seed
        Of the readings and of the folds.
    folds
        Of the patients.
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
                f"decays, steps, components and at least three folds are needed: {self}"
            )
        if not self.sequences or not set(self.sequences) <= set(SEQUENCES):
            raise ValueError(f"sequences are some of {SEQUENCES}, not {self.sequences}")


def head_inputs(joints: TrialJoints, rules: HeadRules) -> Tensor:
    """What each head sees of each joint.

    Returns
    -------
    Tensor
        float32, ``(joints, 14, n · sequences)``; with pretrained heads their logit comes last.
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
    """Where the inputs of each head vary most.

    Parameters
    ----------
    mean
        Of the inputs, ``(14, n)``.
    axes
        ``(14, n, components)``; along each the inputs have a variance of 1.
    """

    mean: Tensor
    axes: Tensor

    def along(self, inputs: Tensor) -> Tensor:
        """Inputs ``(joints, 14, n)`` as ``(joints, 14, components)``."""
        return torch.einsum("nhd,hdk->nhk", inputs - self.mean, self.axes)


def directions_of(inputs: Tensor, rules: HeadRules) -> Directions:
    """The directions that heads see of the inputs that `head_inputs` gives."""
    if not rules.pretrained:
        return _principal(inputs, rules.components)
    found, said = _principal(inputs[..., :-1], rules.components), inputs[..., -1]
    axes = torch.nn.functional.pad(found.axes, (0, 1, 0, 1))
    axes[:, -1, -1] = 1 / (said.std(dim=0) + 1e-3)
    return Directions(torch.cat([found.mean, said.mean(dim=0)[:, None]], dim=1), axes)


def _principal(inputs: Tensor, components: int) -> Directions:
    """The principal components of each head's inputs, which are first brought to one scale."""
    mean, scale = inputs.mean(dim=0), inputs.std(dim=0) + 1e-3
    scaled = ((inputs - mean) / scale).movedim(1, 0)
    wanted = min(components, len(inputs) - 1, inputs.shape[2])
    strengths, joints = torch.linalg.eigh(scaled @ scaled.mT / len(inputs))
    strengths, joints = strengths[:, -wanted:].clamp(min=1e-6), joints[:, :, -wanted:]
    axes = scaled.mT @ joints / (strengths[:, None] * len(inputs) ** 0.5)
    return Directions(mean, axes / scale[..., None])


@dataclass(frozen=True, eq=False)
class Heads:
    """Linear heads: the directions they see, their weights ``(14, components)`` and bias."""

    directions: Directions
    weight: Tensor
    bias: Tensor

    def logits(self, inputs: Tensor) -> Tensor:
        """``(joints, 14, n)`` to ``(joints, 14)``."""
        return (self.directions.along(inputs) * self.weight).sum(dim=2) + self.bias


def taught_heads(
    inputs: Tensor, targets: Tensor, readers: Readers, decay: float, rules: HeadRules
) -> Heads:
    """Teach heads and readers together, from nothing; the readers in place.

    Parameters
    ----------
    inputs
        As `head_inputs` gives them.
    targets
        Of the same joints, as the model of the readers makes them.
    readers
        Untrained.
    decay
        Weight of the heads' squared weights.
    """
    directions = directions_of(inputs, rules)
    along = directions.along(inputs)
    weight = torch.zeros(along.shape[1:], requires_grad=True)
    bias = torch.full((len(HEADS),), -1.0, requires_grad=True)
    groups = [{"params": [weight, bias], "lr": rules.rate}]
    matrices = list(readers.parameters())
    if matrices:
        groups.append({"params": matrices, "lr": READERS_RATE})
    optimiser = torch.optim.Adam(groups)
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
    """The network's own probability, and that of the consensus, ``(joints, 14)`` each."""

    own: Floats
    consensus: Floats


def answer(heads: Heads, readers: Readers, inputs: Tensor) -> HeadProbabilities:
    """Ask taught heads."""
    with torch.no_grad():
        logits = heads.logits(inputs)
        said = readers.answer(logits)
    return HeadProbabilities(logits.double().sigmoid().numpy(), said.double().numpy())


def folds_of(patients: NDArray[np.int64], folds: int, seed: int) -> NDArray[np.int64]:
    """The fold of each joint; all visits of a patient are in one fold."""
    each = np.unique(patients)
    shuffled = np.random.default_rng(seed).permutation(len(each)) % folds
    return np.asarray(shuffled[np.searchsorted(each, patients)])


def mean_answer(answers: Sequence[HeadProbabilities]) -> HeadProbabilities:
    """What the heads of several folds say together."""
    return HeadProbabilities(
        np.mean([one.own for one in answers], axis=0),
        np.mean([one.consensus for one in answers], axis=0),
    )
