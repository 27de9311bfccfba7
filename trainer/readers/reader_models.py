"""Reader models: how a network learns when readers disagree.

Each model computes targets once from the readings, and a loss from the network's logits and those
targets. Its prediction is the probability of the consensus.

Source: paper, "The classification pipeline" and Figure 9 (the chain); Tanno et al., CVPR 2019;
GeoCrowdNet: Ibrahim et al., ICLR 2023.
"""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as nnf
from numpy.typing import NDArray
from torch import Tensor, nn

from models.findings import HEADS
from trainer.readers.confusion_matrices import (
    LEAST,
    ReaderMatrices,
    apply_matrices,
    both_classes,
)
from trainer.readers.reader_plan import ReaderModel, ReaderPlan
from trainer.readers.readings import CONSENSUS, MISSING, Labels, Readings, hierarchy, node_labels


@dataclass(frozen=True)
class LabelNode:
    """A node of the tree where predictions are compared with readings.

    Parameters
    ----------
    name
        "consensus", "R1" or "R1S2".
    parent
        Index of the parent node; -1 for the network's output.
    has_matrix
        False if it is identical to its parent.
    """

    name: str
    parent: int
    has_matrix: bool = True


def nodes_of(plan: ReaderPlan, readers: int, sessions: int) -> tuple[LabelNode, ...]:
    """The nodes of a model with matrices, parents before children."""
    tree = hierarchy(readers, sessions)
    pairs = list(zip(tree.names, tree.parents, strict=True))
    if plan.model in (ReaderModel.TANNO, ReaderModel.GEOCROWDNET):
        inner = set(tree.parents)
        return tuple(LabelNode(name, -1) for n, (name, _) in enumerate(pairs) if n not in inner)
    own = plan.model is ReaderModel.CHAIN
    return tuple(LabelNode(name, parent, own or name != CONSENSUS) for name, parent in pairs)


class ReaderTree(nn.Module):
    """Readers as a tree of confusion matrices: the paper's chain, or all readers at the root.

    Parameters
    ----------
    plan
        Selects the model.
    readers, sessions
        Number of readers and sessions.
    pace
        See `ReaderMatrices`.
    """

    def __init__(self, plan: ReaderPlan, readers: int, sessions: int, pace: float = 1.0) -> None:
        super().__init__()
        self.plan = plan
        self.nodes = nodes_of(plan, readers, sessions)
        self.matrices = ReaderMatrices(len(self.nodes), plan.parametrisation, pace)
        names = hierarchy(readers, sessions).names
        self._columns = [names.index(node.name) for node in self.nodes]
        self._own = torch.tensor([node.has_matrix for node in self.nodes])
        self._levels = levels_of(self.nodes)

    def targets(self, readings: Readings) -> Tensor:
        """0, 1 or MISSING at every node, int8, ``(joints, 14, nodes)``."""
        return torch.from_numpy(node_labels(readings, self.plan.min_sessions)[..., self._columns])

    def every_matrix(self) -> Tensor:
        """B of every head and node, ``(14, nodes, 2, 2)``; I for nodes without a matrix."""
        return torch.where(self._own[None, :, None, None], self.matrices(), torch.eye(2))

    def forward(self, logits: Tensor) -> Tensor:
        """(absent, present) at every node, ``(joints, 14, nodes, 2)``."""
        return self._propagate(both_classes(logits))

    def _propagate(self, own: Tensor) -> Tensor:
        """Implements `forward`, from the network's probabilities ``(joints, 14, 2)``."""
        matrices = self.every_matrix()
        said = own.unsqueeze(2)[:, :, :0]
        for numbers in self._levels:
            parents = [self.nodes[number].parent for number in numbers]
            top = parents[0] < 0
            above = (
                own.unsqueeze(2).expand(-1, -1, len(numbers), -1) if top else said[:, :, parents]
            )
            said = torch.cat([said, apply_matrices(matrices[:, numbers], above)], dim=2)
        return said

    def loss(self, logits: Tensor, targets: Tensor, progress: float) -> Tensor:
        """The sum of `losses`."""
        return torch.stack(list(self.losses(logits, targets, progress).values())).sum()

    def losses(self, logits: Tensor, targets: Tensor, progress: float) -> dict[str, Tensor]:
        """Cross-entropy over all nodes that have a label, and the regulariser.

        Parameters
        ----------
        logits
            ``(joints, 14)``.
        targets
            For the same joints.
        progress
            Completed share of the training.
        """
        said, labelled = self(logits), targets != MISSING
        chosen = said.gather(-1, targets.clamp(min=0).long().unsqueeze(-1)).squeeze(-1)
        entropy: Tensor = -(chosen.clamp(min=LEAST).log() * labelled).sum() / logits.numel()
        weight = self.plan.trace_weight_at(progress)
        if self.plan.model is ReaderModel.GEOCROWDNET:
            regulariser = -answer_scatter(both_classes(logits))
        else:
            regulariser = self.matrices.traces()[:, self._own].sum(dim=1)
        return {"readings": entropy, "regulariser": weight * regulariser.mean()}

    def answer(self, logits: Tensor) -> Tensor:
        """Probability of the consensus, ``(joints, 14)``."""
        if self.nodes[0].name != CONSENSUS:
            return logits.sigmoid()
        root = self.every_matrix()[:, :1]
        return apply_matrices(root, both_classes(logits).unsqueeze(2))[..., 0, 1]

    def composed(self) -> dict[str, Tensor]:
        """Error rates of each node relative to the network's output.

        Returns
        -------
        dict
            False positive and false negative rates, ``(14, 2)``, by name of the node.
        """
        with torch.no_grad():
            said = self._propagate(torch.eye(2)[:, None].expand(2, len(HEADS), 2))
        return {
            node.name: torch.stack([said[0, :, number, 1], said[1, :, number, 0]], dim=-1)
            for number, node in enumerate(self.nodes)
        }


def levels_of(nodes: tuple[LabelNode, ...]) -> list[list[int]]:
    """Indices of the nodes at each depth of the tree, starting below the network's output."""
    depth: list[int] = []
    for node in nodes:
        depth.append(0 if node.parent < 0 else depth[node.parent] + 1)
    return [[n for n, d in enumerate(depth) if d == level] for level in range(max(depth) + 1)]


def answer_scatter(probabilities: Tensor) -> Tensor:
    """Log-determinant of each head's output scatter, ``(14,)``: high if both classes occur.

    Source: GeoCrowdNet's regulariser, log det F Fᵀ, here over the mean of the joints.
    """
    scatter = torch.einsum("nhi,nhj->hij", probabilities, probabilities) / len(probabilities)
    return torch.logdet(scatter + 1e-6 * torch.eye(2))


class FixedTargets(nn.Module):
    """A reader model without matrices: one fixed target per joint and lesion."""

    def __init__(self, plan: ReaderPlan) -> None:
        super().__init__()
        self.plan = plan

    def targets(self, readings: Readings) -> Tensor:
        """Between 0 and 1, NaN without a target, float32, ``(joints, 14)``."""
        return torch.from_numpy(fixed_targets(self.plan, readings).astype(np.float32))

    def losses(self, logits: Tensor, targets: Tensor, progress: float) -> dict[str, Tensor]:
        """The only part of the loss, by name; see `ReaderTree.losses`."""
        return {"readings": self.loss(logits, targets, progress)}

    def loss(self, logits: Tensor, targets: Tensor, progress: float) -> Tensor:
        """Cross-entropy where there is a target; see `ReaderTree.losses`."""
        del progress
        there = ~targets.isnan()
        each = nnf.binary_cross_entropy_with_logits(logits, targets.nan_to_num(), reduction="none")
        return (each * there).sum() / logits.numel()

    def answer(self, logits: Tensor) -> Tensor:
        """Probability of the lesion, ``(joints, 14)``."""
        return logits.sigmoid()

    def composed(self) -> dict[str, Tensor]:
        """Empty: this model estimates no error rates."""
        return {}


def fixed_targets(plan: ReaderPlan, readings: Readings) -> NDArray[np.float64]:
    """One target per joint and head, NaN where there is none.

    Raises
    ------
    ValueError
        If the model has matrices, or its reader or session does not exist.
    """
    if plan.model is ReaderModel.CONSENSUS:
        return _or_nan(node_labels(readings, plan.min_sessions)[..., 0])
    if plan.model is ReaderModel.SESSION:
        if plan.reader > readings.values.shape[2] or plan.session > readings.values.shape[3]:
            raise ValueError(f"no readings of reader {plan.reader} in session {plan.session}")
        return _or_nan(readings.values[:, :, plan.reader - 1, plan.session - 1])
    share = readings.present_share
    if plan.model is ReaderModel.SOFT:
        return share
    if plan.model is ReaderModel.MAJORITY:
        return np.where(share == 0.5, np.nan, np.where(np.isnan(share), np.nan, share > 0.5))
    raise ValueError(f"{plan.model} has matrices, not fixed targets")


def _or_nan(labels: Labels) -> NDArray[np.float64]:
    return np.where(labels == MISSING, np.nan, labels.astype(np.float64))


Readers = ReaderTree | FixedTargets


def readers_of(plan: ReaderPlan, readers: int, sessions: int, pace: float = 1.0) -> Readers:
    """The untrained reader model that a plan selects."""
    fixed = (ReaderModel.CONSENSUS, ReaderModel.SESSION, ReaderModel.MAJORITY, ReaderModel.SOFT)
    if plan.model in fixed:
        return FixedTargets(plan)
    return ReaderTree(plan, readers, sessions, pace)
