"""Cases prepared for training: each is generated and cropped once, and stored in one file.

A case holds the input of the contour network (every slice at 224 × 224 with the true contours)
and of the lesion network (both joints cropped from T1 and STIR along slightly perturbed contours,
as a contour network would produce them).
"""

import multiprocessing
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import compress
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from models.contour_tracing import evenly_spaced
from models.contour_unet import SIDES
from models.delineation import Contour, Delineation
from models.findings import POSITIONS, Side
from models.joint_presence import slice_places
from models.orientation import canonical, carried
from models.preprocess import NETWORK_PX, frame_of, network_slices, normalised
from models.regions import joint_zones, region_label_map
from models.roi import RoiRules, Sighting, cut, joint_boxes
from models.volume import Volume
from trainer.experiment import CaseSplit, ExperimentInvalid
from trainer.phantom.case import PhantomCase, make_case, training_options
from trainer.subjects import check_split

CONTOUR_POINTS = 16
GREY_PER_UNIT = 127.5
"""Normalised intensities 0 to 2 are stored as bytes."""

SHIFT_MM, ENDS_MM, MISSED = 1.0, 1.5, 0.08
"""Simulated errors of a contour network: standard deviation of the whole line's shift and of each
end along the line, and the share of missed contours."""

CASES_PER_REPORT = 20

STORED_SUFFIX = ".npz"
UNREAD = -1
_NO_CONTOURS = np.zeros((0, len(SIDES), CONTOUR_POINTS, 2), np.float32)
_SEQUENCES = ("t1", "stir")


@dataclass(frozen=True, eq=False)
class StoredCase:
    """One case in the format that training reads.

    Parameters
    ----------
    images
        uint8, ``(slices, 224, 224)``: T1 from front to back, then STIR.
    contours
        float32, ``(slices, 2, 16, 2)`` in network pixels (right, left); NaN where not seen.
    pixel_mm, native_mm
        Pixel size of the network input and of the original image, ``(slices,)``.
    place_mm
        Position of each slice along the normal of the first series, to match T1 with STIR; NaN
        if unknown, ``(slices,)``.
    stir_from
        Index of the first STIR slice.
    style
        Style of the phantom.
    rois
        uint8 intensities and zones by (sequence, side), each ``(2, slices, size, size)``.
    severity
        int8, ``(28,)`` in the order of POSITIONS; UNREAD where there is no label.
    lesions_readable
        False for a case that is used to train contours only.
    readings
        The site's readings: 1, 0 or MISSING, int8, ``(28, readers, sessions)``; None for a
        phantom.
    """

    seed: int
    images: NDArray[np.uint8]
    contours: NDArray[np.float32]
    pixel_mm: NDArray[np.float32]
    native_mm: NDArray[np.float32]
    place_mm: NDArray[np.float64]
    stir_from: int
    style: str
    rois: dict[tuple[str, Side], NDArray[np.uint8]]
    severity: NDArray[np.int8]
    lesions_readable: bool
    readings: NDArray[np.int8] | None = None

    @property
    def network_images(self) -> torch.Tensor:
        """Every slice as input of the contour network, float32, ``(slices, 1, 224, 224)``."""
        return torch.from_numpy(self.images).unsqueeze(1).float() / GREY_PER_UNIT

    @property
    def parts(self) -> tuple[slice, ...]:
        """The T1 slices and the STIR slices, where there are any."""
        parts = slice(0, self.stir_from), slice(self.stir_from, len(self.images))
        return tuple(part for part in parts if part.stop > part.start)


def stored_case(case: PhantomCase, rules: RoiRules) -> StoredCase:
    """A phantom case cropped and scaled to the input of the networks."""
    sightings = _sightings(case)
    return stored(
        case.seed,
        sightings,
        stir_from=len(case.t1.voxels),
        style=_style_name(case),
        rois=joint_rois(sightings, rules, np.random.default_rng(case.seed)),
        severity=[case.severity[position] for position in POSITIONS],
        lesions_readable=case.lesions_readable,
    )


def stored(
    number: int,
    sightings: Sequence[Sighting],
    *,
    stir_from: int,
    style: str,
    rois: dict[tuple[str, Side], NDArray[np.uint8]],
    severity: Sequence[int],
    lesions_readable: bool,
    readings: NDArray[np.int8] | None = None,
) -> StoredCase:
    """A case in the format that training reads, from series in canonical orientation.

    Parameters
    ----------
    number
        Of the case.
    sightings
        Every series with its true contours, in the order in which slices are stored.
    rois, severity, lesions_readable, readings, stir_from, style
        As in `StoredCase`.
    """
    squares = [network_slices(sighting.volume) for sighting in sightings]
    native = [s.volume.spacing_mm[1] for s in sightings]
    scales = [mm / frame_of(s.volume).scale for mm, s in zip(native, sightings, strict=True)]
    counts = [len(part) for part in squares]
    return StoredCase(
        number,
        _as_bytes(torch.cat([torch.zeros(0, 1, NETWORK_PX, NETWORK_PX), *squares])[:, 0]),
        np.concatenate([_NO_CONTOURS, *map(_network_contours, sightings)]),
        np.repeat(scales, counts).astype(np.float32),
        np.repeat(native, counts).astype(np.float32),
        _slice_places(sightings),
        stir_from,
        style,
        rois,
        np.array(severity, dtype=np.int8),
        lesions_readable,
        readings,
    )


def _style_name(case: PhantomCase) -> str:
    style = case.parameters.get("style", {})
    return str(style.get("name", "plain")) if isinstance(style, dict) else str(style)


def joint_squares(case: PhantomCase, rules: RoiRules) -> dict[tuple[str, Side], NDArray[np.uint8]]:
    """The joints of a case as input of the lesion network; see `StoredCase.rois`."""
    return joint_rois(_sightings(case), rules, np.random.default_rng(case.seed))


def _sightings(case: PhantomCase) -> list[Sighting]:
    return [
        canonical_sighting(case.t1, case.t1_truth),
        canonical_sighting(case.stir, case.stir_truth),
    ]


def canonical_sighting(volume: Volume, truth: Delineation) -> Sighting:
    """A series and its contours in canonical orientation."""
    upright = canonical(volume)
    return Sighting(upright, carried(truth, volume, upright))


def _slice_places(sightings: Sequence[Sighting]) -> NDArray[np.float64]:
    """Slice positions of one T1 and one STIR; NaN for any other number of series."""
    volumes = [sighting.volume for sighting in sightings]
    if len(volumes) == len(_SEQUENCES):
        return np.concatenate(slice_places(volumes))
    return np.full(sum(len(volume.voxels) for volume in volumes), np.nan)


def _as_bytes(values: torch.Tensor) -> NDArray[np.uint8]:
    return (values * GREY_PER_UNIT).round().clamp(0, 255).to(torch.uint8).numpy()


def _network_contours(sighting: Sighting) -> NDArray[np.float32]:
    frame = frame_of(sighting.volume)
    slices = len(sighting.volume.voxels)
    contours = np.full((slices, len(SIDES), CONTOUR_POINTS, 2), np.nan, dtype=np.float32)
    for contour in sighting.delineation.contours:
        line = evenly_spaced(contour.points, CONTOUR_POINTS)
        contours[contour.slice_index, SIDES.index(contour.side)] = frame.to_network(line)
    return contours


def joint_rois(
    sightings: Sequence[Sighting], rules: RoiRules, rng: np.random.Generator
) -> dict[tuple[str, Side], NDArray[np.uint8]]:
    """Both joints cropped from T1 and STIR along perturbed contours; see `StoredCase`."""
    drawn = [Sighting(s.volume, _perturbed(s, rng)) for s in sightings]
    boxes = joint_boxes(drawn, rules)
    rois = {}
    for sequence, sighting in zip(_SEQUENCES, drawn, strict=True):
        volume, labels = sighting.volume, region_label_map(sighting.volume, sighting.delineation)
        grey = normalised(volume.voxels)
        for side, box in boxes.items():
            zones = joint_zones(labels, side)
            square = _as_bytes(cut(volume, grey, box, rules.size_px))
            zone = cut(volume, zones, box, rules.size_px, nearest=True).numpy().astype(np.uint8)
            rois[sequence, side] = np.stack([square, zone])
    return rois


def _perturbed(sighting: Sighting, rng: np.random.Generator) -> Delineation:
    """The true contours shifted slightly, lengthened or shortened at the ends, some missing."""
    per_mm = 1 / np.array(sighting.volume.spacing_mm[1:])
    truth = sighting.delineation.contours
    seen = rng.random(len(truth)) >= MISSED
    contours = []
    for contour in compress(truth, seen):
        points = contour.points + rng.normal(0, SHIFT_MM, 2) * per_mm
        along = points[-1] - points[0]
        along = along / np.linalg.norm(along)
        slide = np.linspace(rng.normal(0, ENDS_MM), rng.normal(0, ENDS_MM), len(points))
        points = points + slide[:, None] * along * per_mm
        contours.append(Contour(contour.slice_index, contour.side, points, contour.quality))
    return Delineation(tuple(contours))


def write_case(stored: StoredCase, folder: Path) -> Path:
    """Write a case as ``<seed>.npz``, under a temporary name until it is complete."""
    path = folder / f"{stored.seed:06d}{STORED_SUFFIX}"
    rois: dict[str, NDArray[np.generic]] = {
        f"roi_{sequence}_{side}": roi for (sequence, side), roi in stored.rois.items()
    }
    partial = path.with_suffix(".partial")
    arrays = rois | {
        "images": stored.images,
        "contours": stored.contours,
        "pixel_mm": stored.pixel_mm,
        "native_mm": stored.native_mm,
        "place_mm": stored.place_mm,
        "stir_from": np.array(stored.stir_from),
        "style": np.array(stored.style),
        "severity": stored.severity,
        "lesions_readable": np.array(stored.lesions_readable),
    }
    if stored.readings is not None:
        arrays["readings"] = stored.readings
    with partial.open("wb") as file:
        np.savez(file, allow_pickle=False, **arrays)
    return partial.rename(path)


def read_case(folder: Path, seed: int) -> StoredCase:
    """Read a case written by this or an earlier version of `write_case`.

    Raises
    ------
    FileNotFoundError
        If it was not prepared.
    """
    with np.load(folder / f"{seed:06d}{STORED_SUFFIX}") as kept:
        rois = {
            (sequence, side): kept[f"roi_{sequence}_{side}"]
            for sequence in _SEQUENCES
            for side in Side
            if f"roi_{sequence}_{side}" in kept
        }
        return StoredCase(
            seed,
            kept["images"],
            kept["contours"],
            kept["pixel_mm"],
            kept.get("native_mm", np.full_like(kept["pixel_mm"], np.nan)),
            kept.get("place_mm", np.full(len(kept["pixel_mm"]), np.nan)),
            int(kept.get("stir_from", len(kept["images"]) // 2)),
            str(kept.get("style", "not kept")),
            rois,
            kept["severity"],
            bool(kept.get("lesions_readable", True)),
            kept.get("readings"),
        )


def ready_cases(
    split: CaseSplit, ranges: Iterable[tuple[int, int]], runs: Path, rules: RoiRules
) -> Path:
    """The folder with the cases of the given ranges; missing phantoms are generated.

    Raises
    ------
    ExperimentInvalid
        If a site's own case is missing.
    SubjectDivided
        If the split separates visits of the same person.
    """
    folder = runs / split.folder
    numbers = [number for one in ranges for number in range(*one)]
    if split.are_phantoms:
        prepare_cases(numbers, folder, rules)
        return folder
    check_split(folder, (split.training, split.validation, split.test))
    missing = [n for n in numbers if not (folder / f"{n:06d}{STORED_SUFFIX}").exists()]
    if missing:
        raise ExperimentInvalid(
            f"{folder} has no case {missing[0]}; create cases with "
            "`python -m trainer import-cases`, which also proposes a split"
        )
    return folder


def _prepare_one(task: tuple[int, Path, RoiRules]) -> int:
    seed, folder, rules = task
    torch.set_num_threads(1)
    write_case(stored_case(make_case(seed, training_options(seed)), rules), folder)
    return seed


def prepare_cases(seeds: Iterable[int], folder: Path, rules: RoiRules, processes: int = 2) -> int:
    """Generate and store every case that does not exist yet.

    Parameters
    ----------
    seeds
        One per subject.
    folder
        Created if it does not exist.

    Returns
    -------
    int
        Number of new cases; existing ones are not touched.
    """
    folder.mkdir(parents=True, exist_ok=True)
    there = {int(path.stem) for path in folder.glob(f"*{STORED_SUFFIX}")}
    missing = [(seed, folder, rules) for seed in seeds if seed not in there]
    if not missing:
        return 0
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        for number, _ in enumerate(pool.imap_unordered(_prepare_one, missing), 1):
            if number in (1, len(missing)) or number % CASES_PER_REPORT == 0:
                print(f"{number} of {len(missing)} cases generated", flush=True)
    return len(missing)
