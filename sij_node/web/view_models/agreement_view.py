"""Agreement of readers with the networks: by lesion, sender, reader, weights and month."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from sij_node.domain.verdicts import (
    Agreement,
    JudgedSite,
    agreement_by,
    falling_agreement,
    lesion_of,
)

GROUPS: Mapping[str, Callable[[JudgedSite], str]] = MappingProxyType(
    {
        "Lesion": lesion_of,
        "Sender": lambda one: one.sender,
        "Reader": lambda one: one.verdict.reader,
        "Weights": lambda one: one.weights,
        "Month": lambda one: f"{one.verdict.at:%Y-%m}",
    }
)


@dataclass(frozen=True)
class AgreementPage:
    """Everything that the page shows.

    Parameters
    ----------
    tables
        Heading of the first column, and a row for each group.
    warnings
        Senders and lesions for which agreement fell, in full sentences.
    """

    studies: int
    sites: int
    tables: tuple[tuple[str, tuple[Agreement, ...]], ...]
    warnings: tuple[str, ...]


def agreement_page(judged: Sequence[JudgedSite]) -> AgreementPage:
    """The page for all verdicts."""
    return AgreementPage(
        studies=len({one.job_id for one in judged}),
        sites=len(judged),
        tables=tuple((name, agreement_by(judged, of)) for name, of in GROUPS.items()),
        warnings=tuple(_warnings(judged)),
    )


def _warnings(judged: Sequence[JudgedSite]) -> list[str]:
    return [
        f"{sender}, {one.figure.removesuffix(' agreement')}: agreement fell from "
        f"{one.reference:.0%} to {one.recent:.0%}."
        for sender, fallen in falling_agreement(judged).items()
        for one in fallen
    ]
