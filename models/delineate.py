"""Contours on the slices of a study, by whichever contour network a card describes.

Two are known: the one that finds the joints and delineates them at a fixed scale
(`models.joint_delineation`), and the one that reads whole slices at 224 × 224 as the paper does
(`models.contour_tracing`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from models.contour_maps import contour_maps
from models.contour_tracing import (
    WALKS,
    WalkedContour,
    WalkRules,
    certainty_of_slices,
    contours_from_maps,
)
from models.contour_unet import ContourUNet
from models.delineation import Contour, Delineation
from models.joint_delineation import FoundLine, JointRules, joint_lines
from models.joint_presence import of_both_sequences, slice_places
from models.joint_unet import JointNetwork
from models.preprocess import SquareFrame, frame_of, network_slices
from models.roi import Sighting
from models.volume import Volume
from models.weights import LoadedNetwork, WeightsInvalid, load_network

ContourNetwork = ContourUNet | JointNetwork
ContourRules = WalkRules | JointRules


def loaded_contour_network(folder: Path) -> tuple[ContourNetwork, ContourRules]:
    """A contour network and the rules of its card.

    Raises
    ------
    WeightsInvalid
        If the folder holds no contour network, or its settings cannot be used.
    """
    return contour_network_of(load_network(folder), folder)


def contour_network_of(loaded: LoadedNetwork, folder: Path) -> tuple[ContourNetwork, ContourRules]:
    """What was loaded, as a contour network with its rules; raises as `loaded_contour_network`."""
    network = loaded.network
    if isinstance(network, JointNetwork):
        return network, joint_rules(loaded.card.settings)
    if not isinstance(network, ContourUNet) or not network.gives_fields:
        raise WeightsInvalid(f"{folder} holds no contour network")
    return network, walk_rules(loaded.card.settings)


def delineations(
    network: ContourNetwork, rules: ContourRules, volumes: Sequence[Volume]
) -> list[Sighting]:
    """The contours on every slice of one or two canonical volumes: T1 and STIR of a study.

    Parameters
    ----------
    network, rules
        Of one card; the rules tell which kind the network is.
    """
    if isinstance(rules, WalkRules):
        return _walked(cast(ContourUNet, network), rules, volumes)
    found = joint_lines(cast(JointNetwork, network), volumes, rules)
    return [
        Sighting(volume, _delineation_of(lines))
        for volume, lines in zip(volumes, found, strict=True)
    ]


def _delineation_of(lines: Sequence[FoundLine]) -> Delineation:
    return Delineation(
        tuple(Contour(one.slice_index, one.side, one.points, one.quality) for one in lines)
    )


def _walked(network: ContourUNet, rules: WalkRules, volumes: Sequence[Volume]) -> list[Sighting]:
    maps = [
        contour_maps(network, network_slices(volume), rules.mirrored).numpy() for volume in volumes
    ]
    certainties = [certainty_of_slices(one) for one in maps]
    if rules.both_sequences:
        certainties = of_both_sequences(certainties, slice_places(volumes))
    return [
        Sighting(volume, _delineation(frame_of(volume), contours_from_maps(one, rules, sure)))
        for volume, one, sure in zip(volumes, maps, certainties, strict=True)
    ]


def _delineation(frame: SquareFrame, found: tuple[WalkedContour, ...]) -> Delineation:
    return Delineation(
        tuple(
            Contour(c.slice_index, c.side, frame.to_image(c.points), min(1.0, c.quality))
            for c in found
        )
    )


def joint_rules(settings: Mapping[str, Any]) -> JointRules:
    """How a joint network's answers are read, by the settings of its card.

    Raises
    ------
    WeightsInvalid
        If a setting is missing, unknown or of another kind.
    """
    try:
        return JointRules(**settings["rules"])
    except (KeyError, TypeError) as error:
        raise WeightsInvalid(f"the contour network's card has no usable rules: {error}") from error


def walk_rules(settings: Mapping[str, Any]) -> WalkRules:
    """How a contour network's maps are read, by the settings of its card.

    Parameters
    ----------
    settings
        ``presence_threshold``, and ``walk`` where it is "literal", the paper's.

    Raises
    ------
    WeightsInvalid
        If a setting is missing or impossible.
    """
    base = WALKS.get(settings.get("walk", "best"))
    try:
        threshold = float(settings["presence_threshold"])
    except (KeyError, TypeError, ValueError) as error:
        raise WeightsInvalid(
            f"the contour network's card has no usable settings: {error}"
        ) from error
    if base is None:
        raise WeightsInvalid(
            f"the contour network's card asks for the walk {settings['walk']!r}; "
            f"known are {', '.join(WALKS)}"
        )
    return replace(base, presence_threshold=threshold)
