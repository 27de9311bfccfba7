"""How a lesion network learns from readings: which model of the readers, with which numbers."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from trainer.readers.confusion_matrices import Parametrisation


class ReaderModel(StrEnum):
    """What the readings are taken to be.

    CHAIN is the paper's: consensus, readers, sessions, one matrix at every step.
    CHAIN_WITHOUT_CONSENSUS_MATRIX takes the network's own answer as the consensus.
    TANNO has one matrix for each reader and session, all at the network's answer.
    GEOCROWDNET has the same, and spreads the network's answers instead of shrinking a trace.
    The others have no matrices: CONSENSUS learns where all readings agree, SESSION from one
    session of one reader, MAJORITY from what most readings say, SOFT from their mean.
    """

    CHAIN = "chain"
    CHAIN_WITHOUT_CONSENSUS_MATRIX = "chain without consensus matrix"
    TANNO = "tanno"
    GEOCROWDNET = "geocrowdnet"
    CONSENSUS = "consensus"
    SESSION = "session"
    MAJORITY = "majority"
    SOFT = "soft"


@dataclass(frozen=True)
class ReaderPlan:
    """The ``[readers]`` of an experiment.

    Parameters
    ----------
    model
        What the readings are taken to be.
    parametrisation
        Of the matrices, where there are any.
    trace_weight
        Of the term that shrinks the matrices' diagonals (for GEOCROWDNET: that spreads the
        answers); reached along a ramp.
    warm_up
        Share of the training before the ramp begins; it is as long again.
    min_sessions
        Sessions in which a reader must have read for his agreement with himself to count.
    reader, session
        Which readings SESSION learns from, counted from 1.
    """

    model: ReaderModel = ReaderModel.CHAIN
    parametrisation: Parametrisation = Parametrisation.STOCHASTIC
    trace_weight: float = 0.01
    warm_up: float = 0.2
    min_sessions: int = 1
    reader: int = 1
    session: int = 3

    def __post_init__(self) -> None:
        if self.trace_weight < 0 or not 0 <= self.warm_up <= 0.5:
            raise ValueError(
                f"trace_weight must not be negative and warm_up within 0 to .5: {self}"
            )
        if min(self.min_sessions, self.reader, self.session) < 1:
            raise ValueError(f"min_sessions, reader and session are counted from 1: {self}")

    def trace_weight_at(self, progress: float) -> float:
        """The weight when a share `progress` of the training is done."""
        if self.warm_up == 0:
            return self.trace_weight
        return self.trace_weight * min(1.0, max(0.0, progress / self.warm_up - 1))


def reader_plan(table: Mapping[str, Any]) -> ReaderPlan:
    """A ``[readers]`` table as a plan.

    Raises
    ------
    TypeError, ValueError
        If a key is unknown or a value impossible.
    """
    plan = ReaderPlan(**table)
    return replace(
        plan,
        model=ReaderModel(plan.model),
        parametrisation=Parametrisation(plan.parametrisation),
    )
