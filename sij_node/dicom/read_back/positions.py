"""Lesion, region and side of a measurement group, from its codes.

Source: DICOM PS3.16 TID 1501 (Measurement and Qualitative Evaluation Group).
"""

from collections.abc import Mapping
from typing import TypeVar

from models.findings import Head, Position, Region, Side
from sij_node.dicom.read_back.sr_content import Item
from sij_node.dicom.read_back.vocabulary import (
    FINDING,
    FINDING_SITE,
    LATERALITY,
    LESIONS,
    REGIONS,
    SIDES,
    TOPOGRAPHICAL_MODIFIER,
)
from sij_node.errors import ResultsInconsistent

K = TypeVar("K")
V = TypeVar("V")


def position_of(group: Item) -> Position:
    """Lesion, region and side of a group, from its codes."""
    region, side = site_of(group)
    lesion = known(LESIONS, group.only(FINDING).code, "lesion")
    return Position(side, Head(lesion, region))


def site_of(group: Item) -> tuple[Region, Side]:
    """Region and side of a group: of its finding site, or of a contour's joint itself."""
    sites = group.called(FINDING_SITE)
    site = group.only(FINDING_SITE) if sites else group.only(FINDING)
    parts = site.called(TOPOGRAPHICAL_MODIFIER)
    place = (site.code, parts[0].code if parts else None)
    side = known(SIDES, site.only(LATERALITY).code, "side")
    return known(REGIONS, place, "region"), side


def known(meanings: Mapping[K, V], code: K, what: str) -> V:
    """The meaning of a code; raises `ResultsInconsistent` for a code that the node does not use."""
    if code not in meanings:
        raise ResultsInconsistent(f"A group has an unknown code for its {what}: {code}.")
    return meanings[code]
