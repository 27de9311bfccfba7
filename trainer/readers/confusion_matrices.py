"""The readers' matrices: how each reader, in each session, departs from what the network says.

A matrix B = I + A turns the probabilities (absent, present) of a parent into those of its child;
A = a ⊗ b has rank one. For two classes rank one loses nothing: with a = (-1, 1) every matrix
whose columns add up to 1 is of this form, b = (false positives, -false negatives), and the trace
of A is minus their sum.

Source: paper, "The classification pipeline"; Tanno et al., CVPR 2019 (initialised near the
identity; a trace as small as the readings allow, so that the network is as sure as it can be).
"""

from enum import StrEnum
from math import log

import torch
from torch import Tensor, nn

from models.findings import HEADS

MOST_WRONG = 0.5
"""No reader is wrong more often than right: labels are never exchanged."""

FIRST_WRONG = 0.005
"""A diagonal of .995 to begin with."""

LEAST = 1e-6


class Parametrisation(StrEnum):
    """How a and b are kept.

    LITERAL is the paper's: two free vectors; the product is made a distribution again by cutting
    at zero and dividing by the sum. STOCHASTIC keeps a = (-1, 1) and both error rates between 0
    and .5, so that B always turns distributions into distributions.
    """

    LITERAL = "literal"
    STOCHASTIC = "stochastic"


class ReaderMatrices(nn.Module):
    """One matrix for every head and node.

    Parameters
    ----------
    nodes
        How many matrices a head has.
    parametrisation
        How they are kept.
    pace
        How much faster they move than an optimiser's rate says; a network's own is too slow for
        them.
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
        """A of every head and node, ``(14, nodes, 2, 2)``; rows are what comes out."""
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


def read_through(matrices: Tensor, probabilities: Tensor) -> Tensor:
    """What readers make of their parents' probabilities.

    Parameters
    ----------
    matrices
        B of every head and node, ``(14, nodes, 2, 2)``.
    probabilities
        (absent, present) of each node's parent, ``(joints, 14, nodes, 2)``.

    Returns
    -------
    Tensor
        Likewise, of the nodes; never below zero and adding up to 1.
    """
    through = torch.einsum("hkij,nhkj->nhki", matrices, probabilities).clamp(min=LEAST)
    return through / through.sum(dim=-1, keepdim=True)


def both_classes(logits: Tensor) -> Tensor:
    """(absent, present) from logits: ``(joints, 14)`` to ``(joints, 14, 2)``."""
    return torch.stack([(-logits).sigmoid(), logits.sigmoid()], dim=-1)
