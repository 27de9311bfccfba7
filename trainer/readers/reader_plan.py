"""Settings for learning from readings: the reader model and its parameters."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from trainer.readers.confusion_matrices import Parametrisation


class ReaderModel(StrEnum):
    """Models of how readings arise.

    CHAIN is the paper's: consensus, readers, sessions, with a matrix at every step.
    CHAIN_WITHOUT_CONSENSUS_MATRIX takes the network's output as the consensus.
    TANNO has a matrix for each reader and session, all applied to the network's output.
    GEOCROWDNET has the same matrices, with a regulariser on the network's outputs instead of the
    trace. The others have no matrices: CONSENSUS learns where all readings agree, SESSION from one
    session of one reader, MAJORITY from the majority vote, SOFT from the mean of all readings.
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
    """The ``[readers]`` section of an experiment.

    Parameters
    ----------
    model
        Model of the readings.
    parametrisation
        Of the matrices, if any.
    trace_weight
        Weight of the trace regulariser (GEOCROWDNET: of the regulariser on outputs), reached
        along a ramp.
    warm_up
        Share of the training before the ramp begins; the ramp has the same length.
    min_sessions
        Fewest sessions from which a reader's own consensus is formed.
    reader, session
        The readings that SESSION learns from, counted from 1.
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
        """The weight after a share `progress` of the training."""
        if self.warm_up == 0:
            return self.trace_weight
        return self.trace_weight * min(1.0, max(0.0, progress / self.warm_up - 1))


def reader_plan(table: Mapping[str, Any]) -> ReaderPlan:
    """Parse a ``[readers]`` table.

    Raises
    ------
    TypeError, ValueError
        If a key is unknown or a value invalid.
    """
    plan = ReaderPlan(**table)
    return replace(
        plan,
        model=ReaderModel(plan.model),
        parametrisation=Parametrisation(plan.parametrisation),
    )
