"""The methods that are compared: weights, and how contours are traced in their maps."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from models.contour_tracing import (
    LITERAL_RULES,
    Maps,
    WalkedContour,
    WalkRules,
    certainty_of_slices,
    contours_from_maps,
)
from models.contour_unet import CHANNELS_PER_JOINT, SIDES, ContourUNet
from models.delineate import walk_rules
from models.findings import Side
from models.joint_presence import of_both_sequences
from models.weights import Card, WeightsInvalid, load_network
from trainer.contours.contour_training import maps_of_case
from trainer.contours.landmark_baseline import contours_from_landmarks
from trainer.prepared_cases import StoredCase


@dataclass(frozen=True)
class Method:
    """One method of delineation.

    Parameters
    ----------
    name
        In tables and figures.
    weights
        Folder of the network.
    rules
        How contours are traced; None for the rules on its card.
    """

    name: str
    weights: Path
    rules: WalkRules | None = None


def ablations(weights: Path) -> list[Method]:
    """The shipped network with one rule changed at a time, and with all the paper's rules."""
    loaded = load_network(weights)
    best = walk_rules(loaded.card.settings)
    changed = {
        "nearest pixel instead of bilinear": replace(best, between_pixels=False),
        "sink reached within 1 px instead of 4": replace(best, arrival_px=1.0),
        "no path along the ridge for lost walks": replace(best, fallback=False),
        "no mirrored view": replace(best, mirrored=False),
        "presence by one sequence alone": replace(best, both_sequences=False),
        "presence slice by slice": replace(best, contiguous=False),
        "the paper's walk": replace(LITERAL_RULES, presence_threshold=best.presence_threshold),
    }
    return [Method(name, weights, rules) for name, rules in changed.items()]


Found = dict[tuple[int, Side], WalkedContour]


class Delineator:
    """Runs several methods; methods with the same weights share the network's maps."""

    def __init__(self, methods: Sequence[Method]) -> None:
        if len({method.name for method in methods}) != len(methods):
            raise ValueError("two methods have the same name")
        self._methods = methods
        self.loaded = {
            folder: _contour_network(folder) for folder in {method.weights for method in methods}
        }

    def rules_of(self, method: Method) -> WalkRules:
        """The rules of a method, by default those on its card."""
        _, card = self.loaded[method.weights]
        return method.rules or walk_rules(card.settings)

    def contours(self, case: StoredCase) -> Iterator[tuple[Method, Found]]:
        """The contours of a case by each method, keyed by slice number and side."""
        maps: dict[tuple[Path, bool], list[Maps]] = {}
        for method in self._methods:
            rules, (network, _) = self.rules_of(method), self.loaded[method.weights]
            seen = method.weights, rules.mirrored
            if seen not in maps:
                maps[seen] = maps_of_case(network, case, rules.mirrored)
            yield method, _of_both_sequences(maps[seen], case, rules)


def _contour_network(folder: Path) -> tuple[ContourUNet, Card]:
    loaded = load_network(folder)
    if not isinstance(loaded.network, ContourUNet):
        raise WeightsInvalid(
            f"{folder} holds no contour network of whole slices; "
            "evaluate real and evaluate phantoms take any contour network"
        )
    return loaded.network, loaded.card


def _of_both_sequences(maps: Sequence[Maps], case: StoredCase, rules: WalkRules) -> Found:
    if not maps:
        return {}
    return {
        (part.start + contour.slice_index, contour.side): contour
        for part, contours in zip(case.parts, _decoded(maps, case, rules), strict=True)
        for contour in contours
    }


def _decoded(
    maps: Sequence[Maps], case: StoredCase, rules: WalkRules
) -> list[tuple[WalkedContour, ...]]:
    """The contours of each sequence."""
    if maps[0].shape[1] != len(SIDES) * CHANNELS_PER_JOINT:
        return [contours_from_landmarks(part, rules) for part in maps]
    certainties = [certainty_of_slices(part) for part in maps]
    if rules.both_sequences:
        places = [case.place_mm[part] for part in case.parts]
        certainties = of_both_sequences(certainties, places)
    return [
        contours_from_maps(part, rules, sure) for part, sure in zip(maps, certainties, strict=True)
    ]
