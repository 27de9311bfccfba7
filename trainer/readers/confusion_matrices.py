"""Confusion matrices of readers and sessions, relative to the network's output.

A matrix B = I + A turns the probabilities (absent, present) of a parent into those of its child;
A = a ⊗ b has rank one. For two classes rank one is no restriction: with a = (-1, 1) every matrix
whose columns add up to 1 is of this form, b = (false positives, -false negatives), and the trace
of A is minus their sum.

Source: paper, "The classification pipeline"; Tanno et al., CVPR 2019 (initialised near the
identity; the trace is minimised, so that the network is as confident as the readings allow).
"""

from enum import StrEnum
from math import log

import torch
from torch import Tensor, nn

from models.findings import HEADS

MOST_WRONG = 0.5
"""Upper limit of error rates: readers are never wrong more often than right."""

FIRST_WRONG = 0.005
"""Initial error rate: a diagonal of .995."""

LEAST = 1e-6


class Parametrisation(StrEnum):
    """Parametrisation of a and b.

    LITERAL is the paper's: two free vectors; the result is clipped at zero and divided by its sum.
    STOCHASTIC fixes a = (-1, 1) and limits both error rates to between 0 and .5, so that B always
    maps distributions to distributions.
    """

    LITERAL = "literal"
    STOCHASTIC = "stochastic"


class ReaderMatrices(nn.Module):
    """One matrix for every head and node.

    Parameters
    ----------
    nodes
        Number of matrices per head.
    parametrisation
        Of the matrices.
    pace
        Factor on the learning rate; that of the network is too slow for the matrices.
    """

    def __init__(self, nodes: int, parametrisation: Parametrisation, pace: float = 1.0) -> None:
        super().__init__()
        self.parametrisation, self.pace = parametrisation, pace
        shape = (len(HEADS), nodes, 2)
        if parametrisation is Parametrisation.STOCHASTIC:
            share = FIRST_WRONG / MOST_WRONG
            self.odds = nn.Parameter(torch.full(shape, log(share / (1 - share)) / pace))
        else:
            away = torch.tensor([-1.0, 1.0]).expand(shape)
            self.a = nn.Parameter(away / pace)
            self.b = nn.Parameter(-FIRST_WRONG * away / pace)

    def additions(self) -> Tensor:
        """A of every head and node, ``(14, nodes, 2, 2)``; rows are outputs."""
        if self.parametrisation is Parametrisation.LITERAL:
            return self.pace**2 * self.a[..., :, None] * self.b[..., None, :]
        wrong = MOST_WRONG * (self.pace * self.odds).sigmoid()
        b = wrong * wrong.new_tensor([1.0, -1.0])
        return wrong.new_tensor([-1.0, 1.0])[:, None] * b[..., None, :]

    def forward(self) -> Tensor:
        """B = I + A of every head and node, ``(14, nodes, 2, 2)``."""
        return torch.eye(2) + self.additions()

    def traces(self) -> Tensor:
        """Trace of A of every head and node, ``(14, nodes)``."""
        return self.additions().diagonal(dim1=-2, dim2=-1).sum(dim=-1)


def apply_matrices(matrices: Tensor, probabilities: Tensor) -> Tensor:
    """Apply the matrices to the probabilities of the parent nodes.

    Parameters
    ----------
    matrices
        B of every head and node, ``(14, nodes, 2, 2)``.
    probabilities
        (absent, present) of each node's parent, ``(joints, 14, nodes, 2)``.

    Returns
    -------
    Tensor
        The same for the nodes; non-negative, summing to 1.
    """
    through = torch.einsum("hkij,nhkj->nhki", matrices, probabilities).clamp(min=LEAST)
    return through / through.sum(dim=-1, keepdim=True)


def both_classes(logits: Tensor) -> Tensor:
    """(absent, present) from logits: ``(joints, 14)`` to ``(joints, 14, 2)``."""
    return torch.stack([(-logits).sigmoid(), logits.sigmoid()], dim=-1)
