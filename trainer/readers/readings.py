"""Readings: lesion calls by reader and session, and the consensus labels derived from them.

Late visits are read in fewer sessions than early ones, and any reading may be missing. A node of
the hierarchy (a session, a reader, all readers) has a label only where all readings below it agree.

Source: paper, "The classification pipeline" (consensus of a reader, consensus of all readers).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.findings import HEADS

MISSING = -1
"""No reading, or no agreement."""

CONSENSUS = "consensus"
"""Name of the root node, all readers."""

Labels = NDArray[np.int8]


@dataclass(frozen=True, eq=False)
class Readings:
    """Readings of a number of joints.

    Parameters
    ----------
    values
        0, 1 or MISSING, int8, ``(joints, 14, readers, sessions)``.

    Raises
    ------
    ValueError
        If the shape or a value is invalid.
    """

    values: Labels

    def __post_init__(self) -> None:
        if self.values.ndim != 4 or self.values.shape[1] != len(HEADS):
            raise ValueError(
                f"readings have shape {self.values.shape}; "
                f"(joints, {len(HEADS)}, readers, sessions) is needed"
            )
        if not np.isin(self.values, (MISSING, 0, 1)).all():
            raise ValueError("readings must be 0, 1 or missing (-1)")

    def of(self, joints: NDArray[np.intp]) -> "Readings":
        """The readings of some joints."""
        return Readings(self.values[joints])

    @property
    def counts(self) -> NDArray[np.intp]:
        """Number of sessions in which each reader read each joint, ``(joints, 14, readers)``."""
        return np.asarray((self.values != MISSING).sum(axis=3))

    @property
    def present_share(self) -> NDArray[np.float64]:
        """Share of readings that are positive, ``(joints, 14)``; NaN where there are none."""
        read = (self.values != MISSING).sum(axis=(2, 3))
        present = (self.values == 1).sum(axis=(2, 3))
        return np.where(read > 0, present / np.maximum(read, 1), np.nan)


@dataclass(frozen=True)
class Hierarchy:
    """Nodes from the consensus of all readers down to single sessions.

    Parameters
    ----------
    names
        Of the nodes, parents before children, starting with the consensus.
    parents
        Index of each node's parent; -1 for the root.
    """

    names: tuple[str, ...]
    parents: tuple[int, ...]

    def number(self, name: str) -> int:
        """Index of the node with this name."""
        return self.names.index(name)


def hierarchy(readers: int, sessions: int) -> Hierarchy:
    """The hierarchy for a number of readers and sessions.

    Two readers with three sessions have the paper's nine nodes. With one session the node
    of a reader is that session.
    """
    each = [f"R{reader + 1}" for reader in range(readers)]
    names, parents = [CONSENSUS, *each], [-1, *[0] * readers]
    if sessions > 1:
        names += [f"{name}S{session + 1}" for name in each for session in range(sessions)]
        parents += [1 + reader for reader in range(readers) for _ in range(sessions)]
    return Hierarchy(tuple(names), tuple(parents))


def node_labels(readings: Readings, min_sessions: int = 1) -> Labels:
    """The label of every node of the hierarchy.

    Parameters
    ----------
    readings
        Of any joints.
    min_sessions
        Fewest sessions from which a reader's own consensus is formed.

    Returns
    -------
    NDArray
        0, 1 or MISSING, int8, ``(joints, 14, nodes)``, nodes as `hierarchy` orders them.
    """
    values = readings.values
    of_readers = _agreed(values)
    of_readers[readings.counts < min_sessions] = MISSING
    of_all = _agreed(of_readers)
    of_all[(of_readers == MISSING).any(axis=2)] = MISSING
    nodes = [of_all[:, :, None], of_readers]
    if values.shape[3] > 1:
        nodes.append(values.reshape(*values.shape[:2], -1))
    return np.concatenate(nodes, axis=2)


def _agreed(values: Labels) -> Labels:
    """The common value along the last axis, ignoring MISSING; MISSING where values differ."""
    lowest = np.where(values == MISSING, 2, values).min(axis=-1)
    highest = values.max(axis=-1)
    return np.where(lowest == highest, highest, MISSING).astype(np.int8)


def kappa(first: Labels, second: Labels) -> float:
    """Cohen's kappa of two sets of labels, where neither is missing.

    Returns
    -------
    float
        NaN if there is nothing to compare or the expected agreement is 1.

    Source: Cohen, Educ Psychol Meas 20, 37 (1960).
    """
    both = (first != MISSING) & (second != MISSING)
    one, two = first[both] == 1, second[both] == 1
    if not one.size:
        return float("nan")
    agree = float((one == two).mean())
    chance = float(one.mean() * two.mean() + (~one).mean() * (~two).mean())
    return float("nan") if chance == 1 else (agree - chance) / (1 - chance)
