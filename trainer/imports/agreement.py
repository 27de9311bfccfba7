"""Agreement of a site's readers, for the import report: Cohen's kappa with intervals.

Source: Cohen, Educ Psychol Meas 20, 37 (1960); 95 % intervals by bootstrap over subjects.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from models.findings import POSITIONS, QUADRANTS, Lesion, Region
from trainer.markdown_table import markdown, written
from trainer.metrics.lesion_scores import resampled
from trainer.readers.readings import MISSING, kappa

RESAMPLES, SEED = 200, 0

Values = NDArray[np.int8]


@dataclass(frozen=True, eq=False)
class Comparison:
    """Two sets of readings of the same cases.

    Parameters
    ----------
    name
        Such as ``A and B`` or ``A, session 1 and 2``.
    first, second
        0, 1 or MISSING, ``(cases, 28)``.
    """

    name: str
    first: Values
    second: Values

    def kappa_at(self, columns: Sequence[int] | slice = slice(None)) -> float:
        """Kappa at some positions; NaN if nothing was read twice or only one answer occurs."""
        return kappa(self.first[:, columns], self.second[:, columns])

    @property
    def pairs(self) -> int:
        """How many positions were read twice."""
        return int(((self.first != MISSING) & (self.second != MISSING)).sum())

    def interval(self, subject: NDArray[np.int64]) -> tuple[float, float]:
        """95 % interval of kappa over all positions; NaN where it is not defined."""
        drawn = resampled(subject, RESAMPLES, SEED)
        values = np.array([kappa(self.first[cases], self.second[cases]) for cases in drawn])
        if not np.isfinite(values).any():
            return float("nan"), float("nan")
        low, high = np.nanpercentile(values, (2.5, 97.5))
        return float(low), float(high)


def comparisons(
    values: Values, readers: Sequence[str], sessions: Sequence[int]
) -> Iterator[Comparison]:
    """Every pair of readers in each session, and every pair of sessions of each reader.

    Parameters
    ----------
    values
        ``(cases, 28, readers, sessions)``.
    """
    for one, other in combinations(range(len(readers)), 2):
        for session in range(len(sessions)):
            name = f"{readers[one]} and {readers[other]}, session {sessions[session]}"
            yield Comparison(name, values[:, :, one, session], values[:, :, other, session])
    for reader, label in enumerate(readers):
        for one, other in combinations(range(len(sessions)), 2):
            name = f"{label}, sessions {sessions[one]} and {sessions[other]}"
            yield Comparison(name, values[:, :, reader, one], values[:, :, reader, other])


def agreement_tables(
    values: Values, readers: Sequence[str], sessions: Sequence[int], subjects: Sequence[str]
) -> str:
    """Kappa of every pair of readings by lesion and by region, as Markdown; empty without pairs.

    Parameters
    ----------
    values
        ``(cases, 28, readers, sessions)``.
    subjects
        Of each case.
    """
    number = np.unique(np.array(subjects), return_inverse=True)[1].astype(np.int64)
    found = [one for one in comparisons(values, readers, sessions) if one.pairs]
    if not found:
        return ""
    columns = {str(lesion): _columns(lesion=lesion) for lesion in Lesion}
    regions = {str(region): _columns(region=region) for region in (*QUADRANTS, Region.JOINT)}
    head = ["readings", "positions", "kappa", "95 % interval"]
    overall = [
        [one.name, one.pairs, written(one.kappa_at()), _interval(one, number)] for one in found
    ]
    return "\n\n".join(
        [
            markdown(head, overall),
            _table("By lesion", found, columns),
            _table("By region", found, regions),
        ]
    )


def _columns(lesion: Lesion | None = None, region: Region | None = None) -> list[int]:
    return [
        number
        for number, position in enumerate(POSITIONS)
        if lesion in (None, position.head.lesion) and region in (None, position.head.region)
    ]


def _interval(one: Comparison, subject: NDArray[np.int64]) -> str:
    low, high = one.interval(subject)
    return f"{written(low)} to {written(high)}"


def _table(title: str, found: Sequence[Comparison], parts: Mapping[str, list[int]]) -> str:
    rows = [
        [one.name, *(written(one.kappa_at(columns)) for columns in parts.values())] for one in found
    ]
    return f"### {title}\n\n" + markdown(["readings", *parts], rows)
