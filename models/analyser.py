"""Both networks put to work on one study: two volumes in, contours, regions and findings out.

Source: paper, Figure 1 (delineate, cut regions of interest, score lesions).
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval
from torch.nn.utils.rnn import pad_sequence

from models.acceptance import RULE, shows_joints
from models.calibration import Calibration
from models.class_activation import (
    SequenceFeatures,
    SquarePoint,
    head_evidence,
    seen_best,
    slices_alone,
)
from models.delineate import ContourNetwork, ContourRules, contour_network_of, delineations
from models.delineation import Delineation
from models.findings import (
    HEADS,
    POSITIONS,
    Finding,
    Position,
    Sequence,
    Side,
    Sight,
)
from models.image_quality import Reference, image_quality, reference_from, whole_joint
from models.lesion_resnet34 import WHOLE_ZONE, BasicBlock, LesionResNet34, zone_of_head
from models.mri_criteria import SlicesSeen, counted_on
from models.orientation import canonical, carried
from models.preprocess import normalised
from models.quality_limits import ImageQuality
from models.regions import joint_zones, region_label_map
from models.roi import (
    RoiBox,
    RoiRules,
    Sighting,
    cut,
    joint_boxes,
    on_slices,
    slices_within,
)
from models.volume import Volume
from models.weights import LoadedNetwork, WeightsInvalid, check_known_case, load_network

DeviceChoice = Literal["auto", "cpu", "cuda"]
Progress = Callable[[str], None]


class NoJointSeen(ValueError):
    """Neither sequence shows the sacroiliac joints."""


@dataclass(frozen=True)
class NetworkIdentity:
    """Which network answered, and where."""

    name: str
    version: str
    sha256: str
    intended_use: str
    device: str


@dataclass(frozen=True, eq=False)
class Analysis:
    """Everything the networks say of a study.

    Parameters
    ----------
    t1, stir
        Contours in the indices of the volumes that were given.
    t1_regions, stir_regions
        Label maps of those volumes, values of REGION_LABELS.
    findings
        28, in the order of POSITIONS; those that are present say where they are seen best.
    networks
        Contour, then lesion.
    seconds
        How long each stage took, by its name.
    quality
        Of each joint that was seen, on T1 and on STIR.
    slices
        On which slices of STIR each present oedema shows, and of T1 each other present lesion,
        in the indices of the volumes that were given: those on which alone it would be called
        present.
    """

    t1: Delineation
    stir: Delineation
    t1_regions: NDArray[np.uint8]
    stir_regions: NDArray[np.uint8]
    findings: tuple[Finding, ...]
    networks: tuple[NetworkIdentity, ...]
    seconds: Mapping[str, float]
    quality: tuple[ImageQuality, ...] = ()
    slices: SlicesSeen | None = None


@dataclass(frozen=True, eq=False)
class _ScoredJoint:
    """What the lesion network says of a joint.

    Parameters
    ----------
    probabilities
        14, in the order of HEADS; None where neither sequence shows the region.
    points
        Where the heads that are at or above their threshold see the lesion, by their number.
    slices
        Likewise, on which slices of the sequence that shows such lesions, from the first slice
        that was looked at.
    """

    probabilities: tuple[float | None, ...]
    points: Mapping[int, SquarePoint | None]
    slices: Mapping[int, frozenset[int]]
    quality: tuple[ImageQuality, ...]


_View = tuple[Tensor, SequenceFeatures]
"""A joint's squares on one sequence, and what the lesion network sees there."""


def _sequence_of(head: int) -> int:
    """Number of the sequence on whose slices a head's lesion is counted: 0 for T1, 1 for STIR."""
    return tuple(Sequence).index(counted_on(HEADS[head].lesion))


def mixed_precision(device: torch.device, wanted: bool) -> torch.autocast:
    """Within this, if wanted, convolutions compute in the half precision of the device."""
    half = torch.float16 if device.type == "cuda" else torch.bfloat16
    return torch.autocast(device.type, half, enabled=wanted)


def _shown(looked: list[SequenceFeatures], head: int) -> bool:
    """Whether either sequence shows a head's region on any slice."""
    zone = zone_of_head(head)
    return any(
        bool((one.zones > 0 if zone == WHOLE_ZONE else one.zones == zone + 1).any())
        for one in looked
    )


def _no_progress(_: str) -> None:
    """Progress that nobody wants to know."""


class _Stages:
    """Names each stage as it begins and keeps how long it took."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._current = ""
        self._since = time.perf_counter()
        self.seconds: dict[str, float] = {}

    def begin(self, name: str) -> None:
        now = time.perf_counter()
        if self._current:
            self.seconds[self._current] = now - self._since
        self._current, self._since = name, now
        if name:
            self._progress(name)


@dataclass(frozen=True, eq=False)
class Analyser:
    """Both networks, checked and ready; made by `load`."""

    contour: ContourNetwork
    lesion: LesionResNet34
    contour_rules: ContourRules
    roi_rules: RoiRules
    calibration: Calibration
    thresholds: tuple[float, ...]
    identities: tuple[NetworkIdentity, NetworkIdentity]
    device: torch.device
    reference: Reference | None = None
    mixed: bool = False

    @classmethod
    def load(
        cls,
        weights_folder: Path,
        device: DeviceChoice = "auto",
        threads: int = 0,
        mixed: bool = False,
    ) -> "Analyser":
        """Read both networks, check them, and make them fast.

        Parameters
        ----------
        weights_folder
            Holds the folders ``contour`` and ``lesion``.
        device
            "auto" takes a GPU where there is one.
        threads
            CPU threads for the networks; 0 leaves the number as it is.
        mixed
            Lets the lesion network's convolutions compute in half precision; faster on a GPU, and
            scores differ by less than a hundredth.

        Raises
        ------
        WeightsInvalid
            If a network is refused, does not answer its known case, or CUDA is wanted and
            missing.
        """
        if threads:
            torch.set_num_threads(threads)
        place = _chosen_device(device)
        contour, lesion = (_ready(weights_folder / name, place) for name in ("contour", "lesion"))
        network, rules = contour_network_of(contour, weights_folder / "contour")
        if not isinstance(lesion.network, LesionResNet34):
            raise WeightsInvalid(f"{weights_folder / 'lesion'} holds no lesion network")
        return cls(
            network,
            lesion.network,
            rules,
            _roi_rules(lesion.card.settings),
            calibration_of(lesion.card.settings),
            thresholds_of(lesion.card.settings),
            (_identity(contour, place), _identity(lesion, place)),
            place,
            reference_from(lesion.card.settings),
            mixed,
        )

    def analyse(self, t1: Volume, stir: Volume, progress: Progress = _no_progress) -> Analysis:
        """Delineate both joints and score their lesions.

        Parameters
        ----------
        t1, stir
            Of one study and frame of reference; any in-plane orientation and slice order.
        progress
            Told the name of each stage as it begins.

        Raises
        ------
        NoJointSeen
            If neither volume shows the joints as a study of them would.
        """
        stages = _Stages(progress)
        stages.begin("delineation")
        upright = (canonical(t1), canonical(stir))
        seen = self.delineate(upright)
        if not shows_joints([sighting.delineation for sighting in seen]):
            raise NoJointSeen(f"no sacroiliac joint was seen for certain: {RULE}")
        stages.begin("regions")
        t1_contours = carried(seen[0].delineation, upright[0], t1)
        stir_contours = carried(seen[1].delineation, upright[1], stir)
        t1_regions = region_label_map(t1, t1_contours)
        stir_regions = region_label_map(stir, stir_contours)
        stages.begin("lesions")
        labels = [_upright_labels(t1, t1_regions), _upright_labels(stir, stir_regions)]
        boxes = joint_boxes(seen, self.roi_rules)
        views = self._looks(seen, labels, boxes)
        joints = {side: self._score(seen, views[side], box) for side, box in boxes.items()}
        sights = {
            Position(side, HEADS[number]): self._sight(point, boxes[side], upright, (t1, stir))
            for side, joint in joints.items()
            for number, point in joint.points.items()
            if point is not None
        }
        slices = {
            Position(side, HEADS[number]): self._slices(
                numbers,
                boxes[side],
                upright[_sequence_of(number)],
                (t1, stir)[_sequence_of(number)],
            )
            for side, joint in joints.items()
            for number, numbers in joint.slices.items()
        }
        stages.begin("")
        return Analysis(
            t1_contours,
            stir_contours,
            t1_regions,
            stir_regions,
            tuple(self._finding(position, joints, sights) for position in POSITIONS),
            self.identities,
            stages.seconds,
            tuple(quality for joint in joints.values() for quality in joint.quality),
            slices,
        )

    def delineate(self, volumes: tuple[Volume, ...]) -> list[Sighting]:
        """The contours on every slice of one or two canonical volumes: T1 and STIR of a study."""
        return delineations(self.contour, self.contour_rules, volumes)

    def _score(self, seen: list[Sighting], views: list[_View], box: RoiBox) -> _ScoredJoint:
        """The 14 probabilities of one joint, and where its lesions are seen."""
        with torch.inference_mode():
            looked = [features for _, features in views]
            described = [self.lesion.pooled(one.features, one.zones, one.present) for one in looked]
            logits: Tensor = self.lesion(*described)
        shown = np.array([_shown(looked, number) for number in range(len(HEADS))])
        probabilities = self.calibration.probabilities(logits[0].cpu().numpy())
        present = shown & (probabilities >= np.array(self.thresholds))
        with torch.inference_mode():
            evidence = {
                int(number): head_evidence(self.lesion, int(number), looked)
                for number in np.flatnonzero(present)
            }
            points = {number: seen_best(one) for number, one in evidence.items()}
            slices = {number: self._called_alone(number, looked) for number in evidence}
        return _ScoredJoint(
            tuple(float(p) if seen else None for p, seen in zip(probabilities, shown, strict=True)),
            points,
            slices,
            self._quality(seen, box, views, described),
        )

    def _called_alone(self, number: int, looked: list[SequenceFeatures]) -> frozenset[int]:
        """Slices on each of which alone a head's lesion would be called present."""
        logits = slices_alone(self.lesion, number, looked, _sequence_of(number)).cpu().numpy()
        probabilities = self.calibration.of_head(number, logits)
        return frozenset(np.flatnonzero(probabilities >= self.thresholds[number]).tolist())

    def _quality(
        self,
        seen: list[Sighting],
        box: RoiBox,
        views: list[_View],
        described: list[Tensor],
    ) -> tuple[ImageQuality, ...]:
        reference = self.reference
        strangeness = None if reference is None else reference.strangeness(whole_joint(described))
        return tuple(
            image_quality(
                kind,
                box.side,
                sighting.volume,
                sighting.delineation,
                squares=squares,
                zones=features.zones[0],
                strangeness=strangeness,
            )
            for kind, sighting, (squares, features) in zip(Sequence, seen, views, strict=True)
        )

    def _looks(
        self,
        seen: list[Sighting],
        labels: list[NDArray[np.uint8]],
        boxes: Mapping[Side, RoiBox],
    ) -> Mapping[Side, list[_View]]:
        """What the lesion network sees of every joint on T1 and on STIR, all in one batch."""
        size = self.roi_rules.size_px
        grey = [normalised(sighting.volume.voxels) for sighting in seen]
        squares, zones = [], []
        for side, box in boxes.items():
            for sighting, values, label in zip(seen, grey, labels, strict=True):
                squares.append(cut(sighting.volume, values, box, size))
                mine = cut(sighting.volume, joint_zones(label, side), box, size, nearest=True)
                zones.append(mine.to(torch.uint8))
        counts = [len(one) for one in squares]
        batch, marked = (
            pad_sequence(part, batch_first=True).to(self.device) for part in (squares, zones)
        )
        slices = torch.arange(max(counts), device=self.device)
        present = slices < torch.tensor(counts, device=self.device)[:, None]
        with torch.inference_mode(), mixed_precision(self.device, self.mixed):
            features = self.lesion.feature_maps(batch, marked, present)
        views = [
            (
                batch[n, :count],
                SequenceFeatures(
                    features[[n], :, :count], marked[[n], :count], present[[n], :count]
                ),
            )
            for n, count in enumerate(counts)
        ]
        return {side: views[2 * n : 2 * n + 2] for n, side in enumerate(boxes)}

    def _sight(
        self,
        point: SquarePoint,
        box: RoiBox,
        upright: tuple[Volume, Volume],
        given: tuple[Volume, Volume],
    ) -> Sight:
        """A point of a joint's square in the indices of the volume that was given."""
        volume = upright[point.sequence]
        chosen = slices_within(volume, box)[[point.slice_number]]
        pixel = np.array([point.row, point.column])
        at = on_slices(volume, chosen, box, pixel, self.roi_rules.size_px)
        place = volume.to_patient(np.insert(at[0], 0, chosen[0]))
        slice_index, row, column = given[point.sequence].to_indices(place).tolist()
        return Sight(tuple(Sequence)[point.sequence], round(slice_index), row, column)

    def _slices(
        self, numbers: frozenset[int], box: RoiBox, volume: Volume, given: Volume
    ) -> frozenset[int]:
        """Slices of a joint's square as indices of the volume that was given."""
        chosen = slices_within(volume, box)[sorted(numbers)]
        corners = np.stack([chosen, np.zeros_like(chosen), np.zeros_like(chosen)], axis=1)
        at = given.to_indices(volume.to_patient(corners))[:, 0]
        return frozenset(np.rint(at).astype(int).tolist())

    def _finding(
        self,
        position: Position,
        joints: Mapping[Side, _ScoredJoint],
        sights: Mapping[Position, Sight],
    ) -> Finding:
        number = HEADS.index(position.head)
        joint = joints.get(position.side)
        probability = None if joint is None else joint.probabilities[number]
        return Finding(position, probability, self.thresholds[number], sights.get(position))


def _upright_labels(volume: Volume, labels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A label map in the canonical orientation of its volume."""
    return canonical(Volume(labels.astype(np.float32), volume.affine)).voxels.astype(np.uint8)


def _chosen_device(wish: DeviceChoice) -> torch.device:
    available = torch.cuda.is_available()
    if wish == "cuda" and not available:
        raise WeightsInvalid("the networks were to run on a GPU, but CUDA finds none; use cpu")
    return torch.device("cuda" if available and wish != "cpu" else "cpu")


def _ready(folder: Path, device: torch.device) -> LoadedNetwork:
    """A network folded, laid out for speed, on its device, and checked on its known case."""
    loaded = load_network(folder)
    fold_batch_norm(loaded.network)
    flat = not isinstance(loaded.network, LesionResNet34)
    layout = torch.channels_last if flat else torch.channels_last_3d
    loaded.network.to(device).to(memory_format=layout)  # type: ignore[call-overload]
    check_known_case(loaded, device)
    return loaded


def fold_batch_norm(network: nn.Module) -> None:
    """Multiply every batch norm into the convolution before it, in place; answers stay the same."""
    for module in network.modules():
        for convolution, norm in _pairs(module):
            folded = fuse_conv_bn_eval(getattr(module, convolution), getattr(module, norm))
            setattr(module, convolution, folded)
            setattr(module, norm, nn.Identity())


def _pairs(module: nn.Module) -> list[tuple[str, str]]:
    """Names of a module's own convolutions and of the batch norms that follow them."""
    if isinstance(module, nn.Sequential):
        names = [name for name, _ in module.named_children()]
        return [
            (before, after)
            for before, after in pairwise(names)
            if isinstance(getattr(module, after), nn.BatchNorm2d | nn.BatchNorm3d)
        ]
    if isinstance(module, BasicBlock):
        return [("conv1", "bn1"), ("conv2", "bn2")]
    return [("conv1", "bn1")] if isinstance(module, LesionResNet34) else []


def _identity(loaded: LoadedNetwork, device: torch.device) -> NetworkIdentity:
    card = loaded.card
    return NetworkIdentity(card.name, card.version, card.sha256, card.intended_use, str(device))


def _roi_rules(settings: Mapping[str, Any]) -> RoiRules:
    try:
        return RoiRules(**settings["roi"])
    except (KeyError, TypeError) as error:
        raise WeightsInvalid(f"the lesion network's card has no usable roi: {error}") from error


def calibration_of(settings: Mapping[str, Any]) -> Calibration:
    """The calibration on a lesion network's card; without one, logits are used unchanged.

    Raises
    ------
    WeightsInvalid
        If it is incomplete or not finite.
    """
    try:
        kept: dict[str, Any] = dict(settings.get("calibration", {}))
        pairs: dict[str, Any] = {
            name: tuple(kept.pop(name)) for name in ("scale", "shift") if name in kept
        }
        return Calibration(**pairs, **kept)
    except (TypeError, ValueError) as error:
        raise WeightsInvalid(
            f"the lesion network's card has no usable calibration: {error}"
        ) from error


def thresholds_of(settings: Mapping[str, Any]) -> tuple[float, ...]:
    """The thresholds on a lesion network's card, one for each head, between 0 and 1.

    Raises
    ------
    WeightsInvalid
        If one is missing or out of range.
    """
    thresholds = tuple(float(value) for value in settings.get("thresholds", ()))
    if len(thresholds) != len(HEADS) or not all(0 < value < 1 for value in thresholds):
        raise WeightsInvalid(
            f"the lesion network's card needs {len(HEADS)} thresholds between 0 and 1, "
            f"it has {len(thresholds)}"
        )
    return thresholds
