"""Models of the readers: what a network is taught when readers disagree.

All have the same two sides: targets, made once from the readings, and a loss, from the network's
logits and those targets. What each answers is a probability of the consensus.

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
    both_classes,
    read_through,
)
from trainer.readers.reader_plan import ReaderModel, ReaderPlan
from trainer.readers.readings import CONSENSUS, MISSING, Labels, Readings, hierarchy, node_labels


@dataclass(frozen=True)
class LabelNode:
    """Where labels are compared with what was read.

    Parameters
    ----------
    name
        "consensus", "R1" or "R1S2".
    parent
        Number of the node it reads from; -1 for the network's own answer.
    has_matrix
        False where it is taken to say the same as its parent.
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


class ReadThroughNodes(nn.Module):
    """The readers as a tree of matrices: the paper's chain, or all readers at the root.

    Parameters
    ----------
    plan
        Which of them.
    readers, sessions
        How many there are.
    pace
        As for `ReaderMatrices`.
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
        """B of every head and node, ``(14, nodes, 2, 2)``; I where a node has none of its own."""
        return torch.where(self._own[None, :, None, None], self.matrices(), torch.eye(2))

    def forward(self, logits: Tensor) -> Tensor:
        """(absent, present) at every node, ``(joints, 14, nodes, 2)``."""
        return self._said(both_classes(logits))

    def _said(self, own: Tensor) -> Tensor:
        """As `forward`, level by level, from the network's own ``(joints, 14, 2)``."""
        matrices = self.every_matrix()
        said = own.unsqueeze(2)[:, :, :0]
        for numbers in self._levels:
            parents = [self.nodes[number].parent for number in numbers]
            top = parents[0] < 0
            above = (
                own.unsqueeze(2).expand(-1, -1, len(numbers), -1) if top else said[:, :, parents]
            )
            said = torch.cat([said, read_through(matrices[:, numbers], above)], dim=2)
        return said

    def loss(self, logits: Tensor, targets: Tensor, progress: float) -> Tensor:
        """Cross-entropy over all nodes that have a label, and what keeps the matrices honest.

        Parameters
        ----------
        logits
            ``(joints, 14)``.
        targets
            Of the same joints.
        progress
            Share of the training that is done.
        """
        said, labelled = self(logits), targets != MISSING
        chosen = said.gather(-1, targets.clamp(min=0).long().unsqueeze(-1)).squeeze(-1)
        entropy: Tensor = -(chosen.clamp(min=LEAST).log() * labelled).sum() / logits.numel()
        weight = self.plan.trace_weight_at(progress)
        if self.plan.model is ReaderModel.GEOCROWDNET:
            honest = -spread(both_classes(logits))
        else:
            honest = self.matrices.traces()[:, self._own].sum(dim=1)
        return entropy + weight * honest.mean()

    def answer(self, logits: Tensor) -> Tensor:
        """Probability of the consensus, ``(joints, 14)``."""
        if self.nodes[0].name != CONSENSUS:
            return logits.sigmoid()
        root = self.every_matrix()[:, :1]
        return read_through(root, both_classes(logits).unsqueeze(2))[..., 0, 1]

    def composed(self) -> dict[str, Tensor]:
        """How often each node errs, seen from the network's own answer.

        Returns
        -------
        dict
            False positives and false negatives by the node's name, ``(14, 2)``.
        """
        with torch.no_grad():
            said = self._said(torch.eye(2)[:, None].expand(2, len(HEADS), 2))
        return {
            node.name: torch.stack([said[0, :, number, 1], said[1, :, number, 0]], dim=-1)
            for number, node in enumerate(self.nodes)
        }


def levels_of(nodes: tuple[LabelNode, ...]) -> list[list[int]]:
    """Numbers of the nodes that read from the network, of those that read from them, and so on."""
    depth: list[int] = []
    for node in nodes:
        depth.append(0 if node.parent < 0 else depth[node.parent] + 1)
    return [[n for n, d in enumerate(depth) if d == level] for level in range(max(depth) + 1)]


def spread(probabilities: Tensor) -> Tensor:
    """Log-determinant of each head's scatter of answers, ``(14,)``: high where both are given.

    Source: GeoCrowdNet's regulariser, log det F Fᵀ, here over the mean of the joints.
    """
    scatter = torch.einsum("nhi,nhj->hij", probabilities, probabilities) / len(probabilities)
    return torch.logdet(scatter + 1e-6 * torch.eye(2))


class FixedTargets(nn.Module):
    """Readers boiled down to one number for each lesion before any learning begins."""

    def __init__(self, plan: ReaderPlan) -> None:
        super().__init__()
        self.plan = plan

    def targets(self, readings: Readings) -> Tensor:
        """Between 0 and 1, NaN where there is nothing to learn, float32, ``(joints, 14)``."""
        return torch.from_numpy(boiled_down(self.plan, readings).astype(np.float32))

    def loss(self, logits: Tensor, targets: Tensor, progress: float) -> Tensor:
        """Cross-entropy where there is a target; as `ReadThroughNodes.loss`."""
        del progress
        there = ~targets.isnan()
        each = nnf.binary_cross_entropy_with_logits(logits, targets.nan_to_num(), reduction="none")
        return (each * there).sum() / logits.numel()

    def answer(self, logits: Tensor) -> Tensor:
        """Probability of the lesion, ``(joints, 14)``."""
        return logits.sigmoid()

    def composed(self) -> dict[str, Tensor]:
        """Nothing is learnt of the readers."""
        return {}


def boiled_down(plan: ReaderPlan, readings: Readings) -> NDArray[np.float64]:
    """One target for each joint and head, NaN where there is none.

    Raises
    ------
    ValueError
        If the model is one with matrices, or its reader or session does not exist.
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


Readers = ReadThroughNodes | FixedTargets


def readers_of(plan: ReaderPlan, readers: int, sessions: int, pace: float = 1.0) -> Readers:
    """The model that a plan asks for, untrained."""
    fixed = (ReaderModel.CONSENSUS, ReaderModel.SESSION, ReaderModel.MAJORITY, ReaderModel.SOFT)
    if plan.model in fixed:
        return FixedTargets(plan)
    return ReadThroughNodes(plan, readers, sessions, pace)
