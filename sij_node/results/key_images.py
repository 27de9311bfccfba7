"""The key images, T1 next to STIR, with contours and a ring around each lesion.

A ring has the colour and the letter of its lesion.

Always in frontal view: the patient's right is on the left of the picture, the head at the top.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image, ImageDraw

from models.delineation import Contour
from models.findings import SACRUM, Finding, Lesion, Presence, Side, Sight
from models.orientation import canonical
from models.volume import Volume
from sij_node.results.analysed_series import AnalysedSeries
from sij_node.results.fonts import pixel_font
from sij_node.results.joint_diagram import ON_IMAGES
from sij_node.results.language import ENGLISH
from sij_node.results.presentation_state import RING_MM, window

MOST = 6
"""Maximum number of key images."""
MARGIN_MM = 16.0
"""Margin of bone around both joints."""
RING_STEP_PX = 3
"""Distance of concentric rings."""
FINENESS = 2
"""Supersampling factor, for smooth lines."""
BLACK, WHITE = (0, 0, 0), (245, 245, 245)
YELLOW = (255, 221, 51)
Slices = tuple[int | None, ...]


@dataclass(frozen=True)
class LabelledLesion:
    """A lesion, where it is best seen, and its label.

    Parameters
    ----------
    label
        The letter of the lesion, numbered where a location shows several of its kind.
    """

    label: str
    finding: Finding
    sight: Sight


@dataclass(frozen=True)
class KeyLocation:
    """One location in the body, on every series.

    Parameters
    ----------
    slices
        The slice of each series; None if the series does not cover the location.
    seen
        Lesions best seen there, on any of the series.
    """

    slices: Slices
    seen: tuple[LabelledLesion, ...]


def key_places(
    series: Sequence[AnalysedSeries],
    findings: Sequence[Finding],
    most: int = MOST,
    letters: Mapping[Lesion, str] = ENGLISH.letters,
) -> list[KeyLocation]:
    """The locations with most lesions, anterior to posterior; without lesions, mid-joint.

    Parameters
    ----------
    series
        T1 and STIR.
    letters
        The letter for each lesion.
    """
    by_place: dict[Slices, list[tuple[Finding, Sight]]] = {}
    for number, one in enumerate(series):
        for finding, sight in one.seen(findings):
            place = _slices_at(series, number, sight.slice_index)
            by_place.setdefault(place, []).append((finding, sight))
    if not by_place:
        return [KeyLocation(place, ()) for place in _middle(series)]
    largest = sorted(by_place, key=lambda place: -len(by_place[place]))[:most]
    places = [KeyLocation(place, _labelled(by_place[place], letters)) for place in largest]
    return sorted(places, key=lambda place: _depth_mm(series, place.slices))


def _labelled(
    seen: Sequence[tuple[Finding, Sight]], letters: Mapping[Lesion, str]
) -> tuple[LabelledLesion, ...]:
    total = Counter(finding.position.head.lesion for finding, _ in seen)
    so_far: Counter[Lesion] = Counter()
    labelled = []
    for finding, sight in seen:
        lesion = finding.position.head.lesion
        so_far[lesion] += 1
        number = str(so_far[lesion]) if total[lesion] > 1 else ""
        labelled.append(LabelledLesion(f"{letters[lesion]}{number}", finding, sight))
    return tuple(labelled)


def not_shown(findings: Iterable[Finding], places: Iterable[KeyLocation]) -> list[Finding]:
    """The present lesions that none of the key images shows."""
    shown = {one.finding.position for place in places for one in place.seen}
    return [
        finding
        for finding in findings
        if finding.presence is Presence.PRESENT and finding.position not in shown
    ]


def _middle(series: Sequence[AnalysedSeries]) -> list[Slices]:
    for number, one in enumerate(series):
        slices = sorted({contour.slice_index for contour in one.contours})
        if slices:
            return [_slices_at(series, number, slices[len(slices) // 2])]
    return []


def _slices_at(series: Sequence[AnalysedSeries], number: int, slice_index: int) -> Slices:
    """The slice of every series nearest to a slice of one of them."""
    own = series[number].source.volume
    middle = (np.array(own.voxels.shape) - 1) / 2
    centre = own.to_patient((slice_index, *middle[1:]))
    return tuple(
        slice_index if one is series[number] else _nearest_slice(one.source.volume, centre)
        for one in series
    )


def _nearest_slice(volume: Volume, position_mm: NDArray[np.float64]) -> int | None:
    index = round(float(volume.to_indices(position_mm)[0]))
    return index if 0 <= index < len(volume.voxels) else None


def _depth_mm(series: Sequence[AnalysedSeries], slices: Slices) -> float:
    """Position of a location from anterior to posterior."""
    return next(
        float(one.source.volume.to_patient((index, 0, 0))[1])
        for one, index in zip(series, slices, strict=True)
        if index is not None
    )


# ---- pictures ------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class SeriesView:
    """Frontal view of both joints on one series.

    Parameters
    ----------
    series
        The series shown.
    upright
        Its volume in canonical orientation.
    grey
        Values shown as black and as white.
    frame
        Left, upper, right and lower edge in pixels of an upright slice, from its corner.
    """

    series: AnalysedSeries
    upright: Volume
    grey: tuple[float, float]
    frame: tuple[float, float, float, float]

    def picture(
        self,
        slice_index: int,
        seen: Iterable[LabelledLesion],
        width_px: int,
        height_px: int,
    ) -> Image.Image:
        """Draw a slice with its contours and a labelled ring around each lesion.

        Parameters
        ----------
        slice_index
            Index in the original volume.
        seen
            Lesions; those on other slices or series are ignored.
        """
        size = (width_px * FINENESS, height_px * FINENESS)
        picture = self._image(slice_index).transform(
            size, Image.Transform.EXTENT, self.frame, Image.Resampling.BICUBIC
        )
        picture = picture.convert("RGB")
        pen = ImageDraw.Draw(picture)
        for contour in self.series.contours:
            if contour.slice_index == slice_index:
                self._draw_contour(pen, contour, size)
        here = [
            one
            for one in seen
            if (one.sight.sequence, one.sight.slice_index) == (self.series.sequence, slice_index)
        ]
        labels = Labels(pen, size)
        for ring in _rings(here, self.upright.spacing_mm[2]):
            self._draw_rings(pen, ring, labels, size)
        _draw_sides(pen, size)
        return picture.resize((width_px, height_px), Image.Resampling.BOX)

    def _image(self, slice_index: int) -> Image.Image:
        index = round(float(self._upright_indices([(slice_index, 0.0, 0.0)])[0, 0]))
        dark, bright = self.grey
        shown = (self.upright.voxels[index] - dark) / (bright - dark)
        return Image.fromarray((np.clip(shown, 0, 1) * 255).astype(np.uint8))

    def _upright_indices(self, indices: ArrayLike) -> NDArray[np.float64]:
        return self.upright.to_indices(self.series.source.volume.to_patient(indices))

    def _on_picture(
        self, slice_index: int, points: ArrayLike, size: tuple[int, int]
    ) -> NDArray[np.float64]:
        """Picture pixels (across, down) of points (row, column) of the original volume."""
        native = np.insert(np.asarray(points, float), 0, slice_index, axis=1)
        corner_based = self._upright_indices(native)[:, [2, 1]] + 0.5
        left, top, right, bottom = self.frame
        scale = np.array(size) / (right - left, bottom - top)
        return np.asarray((corner_based - (left, top)) * scale)

    def _draw_contour(
        self, pen: ImageDraw.ImageDraw, contour: Contour, size: tuple[int, int]
    ) -> None:
        at = self._on_picture(contour.slice_index, contour.points, size)
        pen.line([tuple(point) for point in at], YELLOW, width=2 * FINENESS, joint="curve")

    def _draw_rings(
        self,
        pen: ImageDraw.ImageDraw,
        rings: list[LabelledLesion],
        labels: "Labels",
        size: tuple[int, int],
    ) -> None:
        """Draw lesions at one point as concentric rings, then their labels in a row."""
        sight = rings[0].sight
        ((x, y),) = self._on_picture(sight.slice_index, [(sight.row, sight.column)], size)
        column_mm = self.upright.spacing_mm[2]
        radius = RING_MM / column_mm * size[0] / (self.frame[2] - self.frame[0])
        for one in rings:
            box = (x - radius, y - radius, x + radius, y + radius)
            pen.ellipse(box, None, _colour_of(one), 2 * FINENESS)
            radius += RING_STEP_PX * FINENESS
        position = rings[0].finding.position
        leftwards = (position.head.region in SACRUM) != (position.side is Side.RIGHT)
        labels.put((x, y), radius, rings, leftwards=leftwards)


class Labels:
    """The labels on a picture; none is written over another."""

    def __init__(self, pen: ImageDraw.ImageDraw, size: tuple[int, int]) -> None:
        self._pen = pen
        self._size = size
        self._font = pixel_font(15 * FINENESS, "bold")
        self._used: list[tuple[float, float, float, float]] = []

    def put(
        self,
        centre: tuple[float, float],
        radius: float,
        lesions: Sequence[LabelledLesion],
        *,
        leftwards: bool,
    ) -> None:
        """Write the labels of lesions in a row beside their ring, on its free side.

        Parameters
        ----------
        leftwards
            Which side to prefer.
        """
        texts = [one.label for one in lesions]
        gap = 4 * FINENESS
        widths = [self._font.getlength(text) for text in texts]
        width, height = sum(widths) + gap * (len(texts) - 1), 16.0 * FINENESS
        x, y = self._free_place(centre, radius + gap, (width, height), leftwards=leftwards)
        self._used.append((x, y, x + width, y + height))
        for one, length in zip(lesions, widths, strict=True):
            self._pen.text(
                (x, y + height / 2),
                one.label,
                _colour_of(one),
                self._font,
                anchor="lm",
                stroke_width=FINENESS,
                stroke_fill=BLACK,
            )
            x += length + gap

    def _free_place(
        self,
        centre: tuple[float, float],
        away: float,
        size: tuple[float, float],
        *,
        leftwards: bool,
    ) -> tuple[float, float]:
        (x, y), (width, height) = centre, size
        beside = [(x - away - width, y - height / 2), (x + away, y - height / 2)]
        candidates = [
            *(beside if leftwards else beside[::-1]),
            (x - width / 2, y - away - height),
            (x - width / 2, y + away),
        ]
        return next((one for one in candidates if self._is_free(one, size)), candidates[0])

    def _is_free(self, at: tuple[float, float], size: tuple[float, float]) -> bool:
        (x, y), (width, height) = at, size
        inside = 0 <= x <= self._size[0] - width and 0 <= y <= self._size[1] - height
        return inside and not any(
            x < right and left < x + width and y < lower and upper < y + height
            for left, upper, right, lower in self._used
        )


def _colour_of(one: LabelledLesion) -> tuple[int, int, int]:
    return ON_IMAGES[one.finding.position.head.lesion]


def _draw_sides(pen: ImageDraw.ImageDraw, size: tuple[int, int]) -> None:
    """Draw R and L, outlined so that they are legible on bright bone."""
    font, (width, height) = pixel_font(20 * FINENESS, "bold"), size
    for letter, across, anchor in (("R", 10 * FINENESS, "lm"), ("L", width - 10 * FINENESS, "rm")):
        pen.text(
            (across, height / 2),
            letter,
            WHITE,
            font,
            anchor=anchor,
            stroke_width=2 * FINENESS,
            stroke_fill=BLACK,
        )


def _rings(seen: Iterable[LabelledLesion], pixel_mm: float) -> list[list[LabelledLesion]]:
    """Group lesions whose rings would overlap into one ring."""
    rings: list[list[LabelledLesion]] = []
    for one in seen:
        near = (ring for ring in rings if _apart_px(one, ring[0]) * pixel_mm < RING_MM)
        ring = next(near, None)
        if ring is None:
            rings.append([one])
        else:
            ring.append(one)
    return rings


def _apart_px(one: LabelledLesion, other: LabelledLesion) -> float:
    return float(np.hypot(one.sight.row - other.sight.row, one.sight.column - other.sight.column))


def cameras(series: Sequence[AnalysedSeries], width_px: int, height_px: int) -> list[SeriesView]:
    """A view of each series; all show both joints at the same scale.

    Parameters
    ----------
    width_px, height_px
        Size of the pictures.
    """
    upright = [canonical(one.source.volume) for one in series]
    centre_mm, half_mm = _around_joints(series, upright[0])
    across_mm = max(half_mm[0], half_mm[1] * width_px / height_px)
    half_mm = np.array([across_mm, across_mm * height_px / width_px])
    return [
        SeriesView(one, volume, window(volume.voxels), _frame(volume, centre_mm, half_mm))
        for one, volume in zip(series, upright, strict=True)
    ]


def _around_joints(
    series: Sequence[AnalysedSeries], upright: Volume
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Centre in the patient, and half the size across and down, in mm, including the margin.

    Without contours, those of the whole first series.
    """
    found = [
        one.source.volume.to_patient(np.insert(contour.points, 0, contour.slice_index, axis=1))
        for one in series
        for contour in one.contours
    ]
    whole = upright.to_patient(np.array([(0, 0, 0), upright.voxels.shape]) - [[0], [1]])
    at = upright.to_indices(np.concatenate(found or [whole]))
    low, high = at.min(axis=0), at.max(axis=0)
    half_mm = (high - low)[[2, 1]] / 2 * np.array(upright.spacing_mm)[[2, 1]]
    return upright.to_patient((low + high) / 2), half_mm + (MARGIN_MM if found else 0.0)


def _frame(
    volume: Volume, centre_mm: NDArray[np.float64], half_mm: NDArray[np.float64]
) -> tuple[float, float, float, float]:
    x, y = volume.to_indices(centre_mm)[[2, 1]] + 0.5
    half_x, half_y = half_mm / np.array(volume.spacing_mm)[[2, 1]]
    return float(x - half_x), float(y - half_y), float(x + half_x), float(y + half_y)
