"""Runs both networks on a study: two volumes in, contours, regions and findings out.

Source: paper, Figure 1 (delineate, cut regions of interest, score lesions).
"""

import time
from collections.abc import Callable, Iterable, Mapping
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
from models.burden_scores import (
    RULES,
    BurdenScore,
    SliceChances,
    burden_scores,
    quadrants_of,
)
from models.class_activation import (
    SequenceFeatures,
    logit_contributions,
    single_slice_logits,
    strongest_point,
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
from models.joint_unet import JointNetwork
from models.lesion_resnet34 import WHOLE_ZONE, BasicBlock, LesionResNet34, zone_of_head
from models.mri_criteria import SlicesSeen, counted_on
from models.orientation import canonical, carried
from models.precision import MixedPrecision, computes_in_half, mixed_precision
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
from models.scoring_choice import DEFAULT_CHOICE, ScoringChoice
from models.scoring_rules import ScoringRules, scoring_rules
from models.volume import Volume
from models.weights import LoadedNetwork, WeightsInvalid, check_known_case, load_network

DeviceChoice = Literal["auto", "cpu", "cuda"]
Progress = Callable[[str], None]


class NoJointSeen(ValueError):
    """Neither sequence shows the sacroiliac joints."""


@dataclass(frozen=True)
class NetworkIdentity:
    """The network that was used, and the device it ran on."""

    name: str
    version: str
    sha256: str
    intended_use: str
    device: str


@dataclass(frozen=True, eq=False)
class Analysis:
    """The networks' results for a study.

    Parameters
    ----------
    t1, stir
        Contours in the indices of the original volumes.
    t1_regions, stir_regions
        Label maps of those volumes, values of REGION_LABELS.
    findings
        All 28, in the order of POSITIONS; those that are present have a sight.
    networks
        Contour network, then lesion network.
    seconds
        Duration of each stage, by name.
    quality
        Image quality of each joint with contours, on T1 and on STIR.
    slices
        Slices that show each present lesion, on STIR for oedema and on T1 for the others, as
        indices of the original volumes: those on which alone it would be called present.
    slice_chances
        For every quadrant; None if the card has no calibration of single slices.
    rules
        How logits became findings.
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
    slice_chances: SliceChances | None = None
    rules: ScoringRules | None = None

    @property
    def burden(self) -> tuple[BurdenScore, ...]:
        """The scores of lesion burden that the slices allow."""
        fitted = self.rules.calibration.prevalence if self.rules else None
        if fitted is None or self.slice_chances is None:
            return ()
        prevalence = {head.lesion: fitted[number] for number, head in enumerate(HEADS)}
        return burden_scores(self.findings, self.slice_chances, prevalence)


@dataclass(frozen=True, eq=False)
class _Series:
    """One sequence with its contours and regions.

    Parameters
    ----------
    given
        The original volume.
    upright
        The volume in canonical orientation, with its contours.
    delineation
        The contours in the indices of `given`.
    regions
        Label map of `given`.
    """

    given: Volume
    upright: Sighting
    delineation: Delineation
    regions: NDArray[np.uint8]


_Pair = tuple[_Series, _Series]
"""T1, then STIR."""


@dataclass(frozen=True, eq=False)
class _ScoredJoint:
    """The lesion network's results for a joint.

    Parameters
    ----------
    probabilities
        14, in the order of HEADS; None if neither sequence shows the region.
    sights
        Where each present lesion is seen best, by index of its head.
    slices
        The slices that show each present lesion, likewise.
    slice_chances
        As in `Analysis`, likewise; empty without a calibration of single slices.
    quality
        Image quality on T1 and on STIR.
    """

    probabilities: tuple[float | None, ...]
    sights: Mapping[int, Sight | None]
    slices: Mapping[int, frozenset[int]]
    slice_chances: Mapping[int, Mapping[int, float]]
    quality: tuple[ImageQuality, ...]


_LesionInput = tuple[Tensor, SequenceFeatures]
"""A joint's squares on one sequence, and their features."""


_BURDEN_HEADS = frozenset(
    HEADS.index(position.head) for rule in RULES.values() for position in quadrants_of(rule.lesion)
)
"""Indices of the heads that scores of lesion burden count."""


def _counted_sequence(head: int) -> int:
    """Index of the sequence whose slices are counted for a head: 0 for T1, 1 for STIR."""
    return tuple(Sequence).index(counted_on(HEADS[head].lesion))


def _evaluable(features: list[SequenceFeatures], head: int) -> bool:
    """Whether either sequence shows a head's region on any slice."""
    zone = zone_of_head(head)
    return any(
        bool((one.zones > 0 if zone == WHOLE_ZONE else one.zones == zone + 1).any())
        for one in features
    )


def _no_progress(_: str) -> None:
    """Discard progress."""


class _Stages:
    """Reports each stage as it begins and measures its duration."""

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
    """Both networks, loaded and checked; create with `load`."""

    contour: ContourNetwork
    lesion: LesionResNet34
    contour_rules: ContourRules
    roi_rules: RoiRules
    rules: ScoringRules
    identities: tuple[NetworkIdentity, NetworkIdentity]
    device: torch.device
    reference: Reference | None = None
    half: bool = False

    @classmethod
    def load(
        cls,
        weights_folder: Path,
        device: DeviceChoice = "auto",
        threads: int = 0,
        mixed: MixedPrecision = False,
        choice: ScoringChoice = DEFAULT_CHOICE,
    ) -> "Analyser":
        """Load both networks, check them, and optimise them for inference.

        Parameters
        ----------
        weights_folder
            Contains the folders ``contour`` and ``lesion``.
        device
            "auto" uses a GPU if there is one.
        threads
            CPU threads for the networks; 0 keeps PyTorch's default.
        mixed
            Compute convolutions in half precision: bfloat16 on a CPU, float16 on a GPU; "auto"
            does so on CPUs with bfloat16 instructions.
        choice
            Operating points and prevalence that the site chose.

        Raises
        ------
        WeightsInvalid
            If a network is invalid or fails its known case, or if CUDA is requested but not
            available.
        """
        if threads:
            torch.set_num_threads(threads)
        place = _chosen_device(device)
        half = computes_in_half(mixed, place)
        contour, lesion = (_ready(weights_folder / name, place) for name in ("contour", "lesion"))
        if half and not _agrees_in_half((contour, lesion), place):
            if mixed != "auto":
                raise WeightsInvalid(
                    f"{weights_folder} fails its known cases in half precision on {place}: "
                    "use mixed_precision = false"
                )
            half = False
        network, rules = contour_network_of(contour, weights_folder / "contour")
        if isinstance(network, JointNetwork):
            network.half_precision = half
        if not isinstance(lesion.network, LesionResNet34):
            raise WeightsInvalid(f"{weights_folder / 'lesion'} is not a lesion network")
        return cls(
            network,
            lesion.network,
            rules,
            _roi_rules(lesion.card.settings),
            scoring_rules(lesion.card.settings, choice),
            (_identity(contour, place, half), _identity(lesion, place, half)),
            place,
            reference_from(lesion.card.settings),
            half,
        )

    def analyse(self, t1: Volume, stir: Volume, progress: Progress = _no_progress) -> Analysis:
        """Delineate both joints and score their lesions.

        Parameters
        ----------
        t1, stir
            Of one study and frame of reference; any in-plane orientation and slice order.
        progress
            Called with the name of each stage as it begins.

        Raises
        ------
        NoJointSeen
            If the volumes do not show the sacroiliac joints.
        """
        stages = _Stages(progress)
        stages.begin("delineation")
        seen = self.delineate((canonical(t1), canonical(stir)))
        if not shows_joints([sighting.delineation for sighting in seen]):
            raise NoJointSeen(f"no sacroiliac joint found: {RULE}")
        stages.begin("regions")
        on_t1, on_stir = _series(t1, seen[0]), _series(stir, seen[1])
        stages.begin("lesions")
        joints = self._scored_joints((on_t1, on_stir))
        stages.begin("")
        return Analysis(
            on_t1.delineation,
            on_stir.delineation,
            on_t1.regions,
            on_stir.regions,
            tuple(self._finding(position, joints.get(position.side)) for position in POSITIONS),
            self.identities,
            stages.seconds,
            tuple(quality for joint in joints.values() for quality in joint.quality),
            {
                Position(side, HEADS[number]): slices
                for side, joint in joints.items()
                for number, slices in joint.slices.items()
            },
            {
                Position(side, HEADS[number]): chances
                for side, joint in joints.items()
                for number, chances in joint.slice_chances.items()
            }
            if self.rules.slices
            else None,
            self.rules,
        )

    def delineate(self, volumes: tuple[Volume, ...]) -> list[Sighting]:
        """Delineate one or two canonical volumes: T1 and STIR of a study."""
        return delineations(self.contour, self.contour_rules, volumes)

    def _scored_joints(self, series: _Pair) -> Mapping[Side, _ScoredJoint]:
        """Score every joint that has contours."""
        boxes = joint_boxes([one.upright for one in series], self.roi_rules)
        inputs = self._lesion_inputs(series, boxes)
        return {side: self._scored(series, inputs[side], box) for side, box in boxes.items()}

    def _scored(self, series: _Pair, inputs: list[_LesionInput], box: RoiBox) -> _ScoredJoint:
        """The 14 probabilities of one joint, and the position of its lesions."""
        features = [one for _, one in inputs]
        with torch.inference_mode():
            embeddings = [
                self.lesion.pooled(one.features, one.zones, one.present) for one in features
            ]
            logits: Tensor = self.lesion(*embeddings)
        evaluable = np.array([_evaluable(features, number) for number in range(len(HEADS))])
        probabilities = self.rules.calibration.probabilities(logits[0].cpu().numpy())
        present = evaluable & (probabilities >= np.array(self.rules.thresholds))
        numbers = [int(number) for number in np.flatnonzero(present)]
        counted = _BURDEN_HEADS if self.rules.slices else frozenset[int]()
        slice_logits = {
            number: self._slice_logits(number, features, series, box)
            for number in {*numbers, *counted}
        }
        return _ScoredJoint(
            tuple(
                float(probability) if known else None
                for probability, known in zip(probabilities, evaluable, strict=True)
            ),
            {number: self._sight(number, features, series, box) for number in numbers},
            {number: self._slices(number, slice_logits[number]) for number in numbers},
            self._slice_chances(slice_logits),
            self._quality(series, box, inputs, embeddings),
        )

    def _sight(
        self, number: int, features: list[SequenceFeatures], series: _Pair, box: RoiBox
    ) -> Sight | None:
        """Where a head's lesion is seen best, in the indices of the original volume."""
        with torch.inference_mode():
            point = strongest_point(logit_contributions(self.lesion, number, features))
        if point is None:
            return None
        given, volume = series[point.sequence].given, series[point.sequence].upright.volume
        chosen = slices_within(volume, box)[[point.slice_number]]
        pixel = np.array([point.row, point.column])
        at = on_slices(volume, chosen, box, pixel, self.roi_rules.size_px)
        place = volume.to_patient(np.insert(at[0], 0, chosen[0]))
        slice_index, row, column = given.to_indices(place).tolist()
        return Sight(tuple(Sequence)[point.sequence], round(slice_index), row, column)

    def _slice_logits(
        self, number: int, features: list[SequenceFeatures], series: _Pair, box: RoiBox
    ) -> Mapping[int, float]:
        """A head's logit of each single slice that shows its region, by original slice index."""
        counted = _counted_sequence(number)
        with torch.inference_mode():
            logits = single_slice_logits(self.lesion, number, features, counted).cpu().numpy()
        shown = np.flatnonzero(np.isfinite(logits))
        given, volume = series[counted].given, series[counted].upright.volume
        chosen = slices_within(volume, box)[shown]
        corners = np.stack([chosen, np.zeros_like(chosen), np.zeros_like(chosen)], axis=1)
        at = np.rint(given.to_indices(volume.to_patient(corners))[:, 0]).astype(int)
        return dict(zip(at.tolist(), logits[shown].tolist(), strict=True))

    def _slices(self, number: int, logits: Mapping[int, float]) -> frozenset[int]:
        """Slices on which alone a lesion would be called present."""
        threshold = self.rules.thresholds[number]
        calibrated = self.rules.calibration.of_head(number, np.array(list(logits.values())))
        return frozenset(np.array(list(logits), int)[calibrated >= threshold].tolist())

    def _slice_chances(
        self, logits: Mapping[int, Mapping[int, float]]
    ) -> Mapping[int, Mapping[int, float]]:
        """Probability that a lesion which is present shows on each slice."""
        calibration = self.rules.slices
        if calibration is None:
            return {}
        return {
            number: dict(
                zip(
                    logits[number],
                    calibration.of_head(number, np.array(list(logits[number].values()))).tolist(),
                    strict=True,
                )
            )
            for number in _BURDEN_HEADS
        }

    def _quality(
        self,
        series: _Pair,
        box: RoiBox,
        inputs: list[_LesionInput],
        embeddings: list[Tensor],
    ) -> tuple[ImageQuality, ...]:
        reference = self.reference
        strangeness = None if reference is None else reference.strangeness(whole_joint(embeddings))
        return tuple(
            image_quality(
                kind,
                box.side,
                one.upright.volume,
                one.upright.delineation,
                squares=squares,
                zones=features.zones[0],
                strangeness=strangeness,
            )
            for kind, one, (squares, features) in zip(Sequence, series, inputs, strict=True)
        )

    def _lesion_inputs(
        self, series: _Pair, boxes: Mapping[Side, RoiBox]
    ) -> Mapping[Side, list[_LesionInput]]:
        """Squares and features of every joint on T1 and on STIR, computed in one batch."""
        squares, zones = self._squares(series, boxes)
        counts = [len(one) for one in squares]
        batch, labels = (
            pad_sequence(part, batch_first=True).to(self.device) for part in (squares, zones)
        )
        slices = torch.arange(max(counts), device=self.device)
        present = slices < torch.tensor(counts, device=self.device)[:, None]
        with torch.inference_mode(), mixed_precision(self.device, self.half):
            features = self.lesion.feature_maps(batch, labels, present)
        inputs = [
            (
                batch[n, :count],
                SequenceFeatures(
                    features[[n], :, :count],
                    labels[[n], :count],
                    present[[n], :count],
                    self.lesion.architecture.strongest_cells,
                    self.lesion.architecture.inner_slices,
                ),
            )
            for n, count in enumerate(counts)
        ]
        return {side: inputs[2 * n : 2 * n + 2] for n, side in enumerate(boxes)}

    def _squares(
        self, series: _Pair, boxes: Mapping[Side, RoiBox]
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Intensities and zones of every joint's square: T1 and STIR of a joint, then the next."""
        size = self.roi_rules.size_px
        volumes = [one.upright.volume for one in series]
        intensities = [normalised(volume.voxels) for volume in volumes]
        labels = [_upright_labels(one.given, one.regions) for one in series]
        squares, zones = [], []
        for side, box in boxes.items():
            for volume, values, label in zip(volumes, intensities, labels, strict=True):
                squares.append(cut(volume, values, box, size))
                zone = cut(volume, joint_zones(label, side), box, size, nearest=True)
                zones.append(zone.to(torch.uint8))
        return squares, zones

    def _finding(self, position: Position, joint: _ScoredJoint | None) -> Finding:
        number = HEADS.index(position.head)
        threshold = self.rules.thresholds[number]
        point = self.rules.choice.point(position.head.lesion)
        if joint is None:
            return Finding(position, None, threshold, operating_point=point)
        return Finding(
            position, joint.probabilities[number], threshold, joint.sights.get(number), point
        )


def _series(given: Volume, upright: Sighting) -> _Series:
    """Carry a sequence's contours back to its original volume and label the regions there."""
    delineation = carried(upright.delineation, upright.volume, given)
    return _Series(given, upright, delineation, region_label_map(given, delineation))


def _upright_labels(volume: Volume, labels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A label map in the canonical orientation of its volume."""
    return canonical(Volume(labels.astype(np.float32), volume.affine)).voxels.astype(np.uint8)


def _chosen_device(choice: DeviceChoice) -> torch.device:
    available = torch.cuda.is_available()
    if choice == "cuda" and not available:
        raise WeightsInvalid("a GPU was requested but CUDA is not available; use device cpu")
    return torch.device("cuda" if available and choice != "cpu" else "cpu")


def _ready(folder: Path, device: torch.device) -> LoadedNetwork:
    """Load a network, optimise it for inference on a device, and check its known case."""
    loaded = load_network(folder)
    fold_batch_norm(loaded.network)
    flat = not isinstance(loaded.network, LesionResNet34)
    layout = torch.channels_last if flat else torch.channels_last_3d
    loaded.network.to(device).to(memory_format=layout)  # type: ignore[call-overload]
    check_known_case(loaded, device)
    return loaded


def fold_batch_norm(network: nn.Module) -> None:
    """Fold every batch norm into the convolution before it, in place; outputs stay the same."""
    for module in network.modules():
        for convolution, norm in _pairs(module):
            folded = fuse_conv_bn_eval(getattr(module, convolution), getattr(module, norm))
            setattr(module, convolution, folded)
            setattr(module, norm, nn.Identity())


def _pairs(module: nn.Module) -> list[tuple[str, str]]:
    """Names of a module's direct convolutions and the batch norms that follow them."""
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


def _agrees_in_half(networks: Iterable[LoadedNetwork], device: torch.device) -> bool:
    """Whether the known cases come out in half precision as they do in float32."""
    try:
        with mixed_precision(device, half=True):
            for loaded in networks:
                check_known_case(loaded, device)
    except WeightsInvalid:
        return False
    return True


def _identity(loaded: LoadedNetwork, device: torch.device, half: bool) -> NetworkIdentity:
    card = loaded.card
    place = f"{device}, half precision" if half else str(device)
    return NetworkIdentity(card.name, card.version, card.sha256, card.intended_use, place)


def _roi_rules(settings: Mapping[str, Any]) -> RoiRules:
    try:
        return RoiRules(**settings["roi"])
    except (KeyError, TypeError) as error:
        raise WeightsInvalid(f"the lesion network's card has no valid roi: {error}") from error
