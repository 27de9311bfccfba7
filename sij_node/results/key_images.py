"""The key images, T1 next to STIR, with contours and numbered rings.

Always in frontal view: the patient's right is on the left of the picture, the head at the top.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image, ImageDraw

from models.delineation import Contour
from models.findings import Finding, Region, Side, Sight
from models.orientation import canonical
from models.volume import Volume
from sij_node.results.analysed_series import AnalysedSeries
from sij_node.results.fonts import pixel_font
from sij_node.results.presentation_state import RING_MM, window

MOST = 6
"""Maximum number of key images."""
MARGIN_MM = 22.0
"""Margin of bone around both joints."""
FINENESS = 2
"""Supersampling factor, for smooth lines."""
BLACK, WHITE = (0, 0, 0), (245, 245, 245)
YELLOW = (255, 221, 51)
RED = (255, 90, 70)
SACRUM = (Region.UPPER_SACRUM, Region.LOWER_SACRUM)
Slices = tuple[int | None, ...]


@dataclass(frozen=True)
class NumberedLesion:
    """A lesion, where it is best seen, and its number among those at one location."""

    number: int
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
    seen: tuple[NumberedLesion, ...]


def key_places(
    series: Sequence[AnalysedSeries], findings: Sequence[Finding], most: int = MOST
) -> list[KeyLocation]:
    """The locations with most lesions, anterior to posterior; without lesions, mid-joint.

    Parameters
    ----------
    series
        T1 and STIR.
    """
    by_place: dict[Slices, list[NumberedLesion]] = {}
    for number, one in enumerate(series):
        for finding, sight in one.seen(findings):
            here = by_place.setdefault(_slices_at(series, number, sight.slice_index), [])
            here.append(NumberedLesion(len(here) + 1, finding, sight))
    if not by_place:
        return [KeyLocation(place, ()) for place in _middle(series)]
    largest = sorted(by_place, key=lambda place: -len(by_place[place]))[:most]
    places = [KeyLocation(place, tuple(by_place[place])) for place in largest]
    return sorted(places, key=lambda place: _depth_mm(series, place.slices))


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
        seen: Iterable[NumberedLesion],
        width_px: int,
        height_px: int,
    ) -> Image.Image:
        """Draw a slice with its contours and a numbered ring around each lesion.

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
        for ring in _rings(here, self.upright.spacing_mm[2]):
            self._draw_ring(pen, ring, size)
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

    def _draw_ring(
        self, pen: ImageDraw.ImageDraw, ring: list[NumberedLesion], size: tuple[int, int]
    ) -> None:
        sight = ring[0].sight
        ((x, y),) = self._on_picture(sight.slice_index, [(sight.row, sight.column)], size)
        column_mm = self.upright.spacing_mm[2]
        radius = RING_MM / column_mm * size[0] / (self.frame[2] - self.frame[0])
        pen.ellipse((x - radius, y - radius, x + radius, y + radius), None, RED, 2 * FINENESS)
        in_sacrum = ring[0].finding.position.head.region in SACRUM
        to_the_left = in_sacrum != (ring[0].finding.position.side is Side.RIGHT)
        away = -(radius + 3 * FINENESS) if to_the_left else radius + 3 * FINENESS
        pen.text(
            (x + away, y),
            ", ".join(str(one.number) for one in ring),
            RED,
            pixel_font(15 * FINENESS, "bold"),
            anchor="rm" if to_the_left else "lm",
            stroke_width=FINENESS,
            stroke_fill=BLACK,
        )


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


def _rings(seen: Iterable[NumberedLesion], pixel_mm: float) -> list[list[NumberedLesion]]:
    """Group lesions whose rings would overlap into one ring."""
    rings: list[list[NumberedLesion]] = []
    for one in seen:
        near = (ring for ring in rings if _apart_px(one, ring[0]) * pixel_mm < RING_MM)
        ring = next(near, None)
        if ring is None:
            rings.append([one])
        else:
            ring.append(one)
    return rings


def _apart_px(one: NumberedLesion, other: NumberedLesion) -> float:
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
