"""Reads back a key image: it shows its slice, unmirrored, with the right annotations.

Where a voxel lies on the picture is worked out once more, from the headers' planes: seen from the
front, the box around all contours in the middle, with a margin.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt, find_objects, label
from scipy.spatial import cKDTree

from models.findings import Lesion
from sij_node.errors import ResultsInconsistent
from sij_node.results.analysed_series import AnalysedSeries
from sij_node.verify.expected_results import ExpectedResults, contour_mm

MARGIN_MM, RING_MM = 16.0, 4.0
SAME_LINE_PX, SAME_PLACE_PX = 1.5, 0.5
"""How far a single pixel of a line may lie off, and all of them in the mean."""
LEAST_DRAWN, LEAST_OF_A_RING = 0.7, 0.5
"""Part of a line that nothing hides, and of a ring, that must be there."""
_HIDING_PX = 3.0
"""Numbers and rings hide what is so near to them."""
_LABEL_PX = 64.0
"""How far from a ring its numbers may reach."""
_YELLOW = (255, 221, 51)
_COLOURS = {
    Lesion.OEDEMA: (90, 165, 255),
    Lesion.EROSION: (255, 90, 70),
    Lesion.FATTY_LESION: (255, 135, 0),
    Lesion.SCLEROSIS: (205, 140, 255),
    Lesion.ANKYLOSIS: (45, 215, 150),
}
_RING_STEP_PX, _MOST_RINGS = 3.0, 5
"""Lesions at one point have concentric rings."""
_SAME_COLOUR = 45
_MOST_MIXED_PX = 30
"""Pixels in which other colours may blend to that of a lesion."""
_GRID = 72
_AS_LIKE = 0.03
"""Slices whose likeness differs by less cannot be told apart by it alone."""
_LIKER = 0.02
_FLAT = 1e-6
_LETTER_BOX = (44, 18)
"""Across from the edge and, to both sides of the middle, down; pixels."""
_LETTER_EDGE, _LETTER_HEIGHT = (7, 14), (9, 22)
"""How far from the edge a letter begins, and how high it is, at least and at most; pixels."""

Picture = NDArray[np.uint8]
_Points = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class ExpectedSeriesView:
    """One series as every picture shows it.

    Parameters
    ----------
    lying
        Whether rows run across, as columns otherwise do.
    steps_mm
        From pixel to pixel across and down on the picture; negative where the image counts back.
    centre_mm
        What is in the middle, in steps from the first pixel.
    half_mm
        From the middle to the edge, across and down.
    """

    series: AnalysedSeries
    lying: bool
    steps_mm: _Points
    centre_mm: _Points
    half_mm: _Points

    def shown_at(self, pixels: _Points, size: _Points) -> _Points:
        """Points (across, down) on a picture of a size, for pixels (row, column)."""
        turned = pixels if self.lying else pixels[..., ::-1]
        parts = (turned * self.steps_mm - self.centre_mm) / self.half_mm
        return np.asarray((parts + 1) / 2 * size)

    def pixels_at(self, points: _Points, size: _Points) -> _Points:
        """The inverse of `shown_at`."""
        parts = points / size * 2 - 1
        turned = (parts * self.half_mm + self.centre_mm) / self.steps_mm
        return turned if self.lying else turned[..., ::-1]

    @cached_property
    def grey(self) -> tuple[float, float]:
        """Values that are shown black and white, about."""
        dark, bright = np.percentile(self.series.source.volume.voxels[:, ::2, ::2], (1, 99.5))
        return float(dark), float(bright)


def views(evidence: ExpectedResults, size: tuple[int, int]) -> list[ExpectedSeriesView]:
    """How pictures of a size (columns, rows) show each series; none where nothing is drawn.

    Parameters
    ----------
    size
        Columns and rows.
    """
    found = [contour_mm(one, each) for one in evidence.series for each in one.delineation.contours]
    if not found:
        return []
    first = evidence.series[0]
    indices = first.source.volume.to_indices(np.concatenate(found))
    low, high = indices.min(axis=0), indices.max(axis=0)
    lying, steps = _axes(evidence, first)
    box = (high - low)[1:] if lying else (high - low)[:0:-1]
    half = box / 2 * np.abs(steps) + MARGIN_MM
    ratio = size[0] / size[1]
    across = max(half[0], half[1] * ratio)
    centre = first.source.volume.to_patient((low + high) / 2)
    return [
        _view(evidence, one, centre, np.array([across, across / ratio])) for one in evidence.series
    ]


def _view(
    evidence: ExpectedResults, series: AnalysedSeries, centre_mm: _Points, half: _Points
) -> ExpectedSeriesView:
    lying, steps = _axes(evidence, series)
    row_column = series.source.volume.to_indices(centre_mm)[1:]
    return ExpectedSeriesView(
        series, lying, steps, (row_column if lying else row_column[::-1]) * steps, half
    )


def _axes(evidence: ExpectedResults, series: AnalysedSeries) -> tuple[bool, _Points]:
    """Whether rows run across; and signed steps to the patient's left and to the feet, in mm."""
    source = series.source.sources[0]
    plane = evidence.slices[source.sop_instance_uid, source.frame_number].plane
    row, column = plane.down_mm, plane.across_mm
    row_mm, column_mm = np.linalg.norm(row), np.linalg.norm(column)
    upright = abs(column[0]) / column_mm + abs(row[2]) / row_mm
    lying = abs(row[0]) / row_mm + abs(column[2]) / column_mm > upright + 1e-9
    left, feet = (row, column) if lying else (column, row)
    steps = np.linalg.norm([left, feet], axis=1) * np.where([left[0] < 0, feet[2] > 0], -1, 1)
    return bool(lying), steps


def check_key_image(
    picture: Picture,
    own: ExpectedSeriesView,
    looking: Sequence[ExpectedSeriesView],
    evidence: ExpectedResults,
    named: str | None = None,
) -> int:
    """Hold a picture against the slices of its series.

    Parameters
    ----------
    picture
        Shape ``(rows, columns, 3)``.
    own
        Of the series that it is said to show.
    looking
        Of all series.
    named
        The image number that is written beside it, if one can be read.

    Returns
    -------
    int
        The slice that it shows.

    Raises
    ------
    ResultsInconsistent
        If it is mirrored, of another series or slice, or its contours, rings or letters of the
        sides are not where they belong.
    """
    _check_letters(picture)
    wrong = ResultsInconsistent(f"A key image of {own.series.sequence} shows another slice.")
    alike = _most_alike(picture, own, looking)
    for index in alike:
        if named is not None and own.series.image_number(index) != named:
            continue
        try:
            check_contours(picture, own, index)
            check_rings(picture, own, index, evidence)
        except ResultsInconsistent as error:
            wrong = error if index == alike[0] or named is not None else wrong
            continue
        return index
    raise wrong


def has_rings(picture: Picture) -> bool:
    """Whether any lesion is pointed at."""
    return any(_near(picture, colour).any() for colour in _COLOURS.values())


# ---- which slice, and which way round ------------------------------------------------------------


def _most_alike(
    picture: Picture, own: ExpectedSeriesView, looking: Sequence[ExpectedSeriesView]
) -> list[int]:
    """The slices that the picture may show, the most alike first."""
    rows, columns, _ = picture.shape
    size = np.array([columns, rows], float)
    parts = (np.arange(_GRID) + 0.5) / _GRID
    points = np.stack(np.meshgrid(parts * columns, parts * rows), -1).reshape(-1, 2)
    x, y = points.astype(int).T
    at = picture[y, x].astype(float)
    undrawn = np.ptp(at, axis=1) < 8
    points, grey = points[undrawn], at[undrawn].mean(axis=1)
    alike = _likenesses(grey, points, size, own)
    best = float(np.nanmax(alike, initial=-1.0))
    others = [view for view in looking if view is not own]
    turned = [points * [-1, 1] + size * [1, 0], points * [1, -1] + size * [0, 1]]
    rivals = [
        *(_likenesses(grey, one, size, own) for one in turned),
        *(_likenesses(grey, points, size, view) for view in others),
    ]
    if float(np.nanmax(np.concatenate(rivals), initial=-1.0)) > best + _LIKER:
        raise ResultsInconsistent(
            f"A key image of {own.series.sequence} is mirrored or shows another series."
        )
    order = np.argsort(-np.nan_to_num(alike, nan=-1.0), kind="stable")
    return [int(i) for i in order if np.isnan(alike[i]) or alike[i] >= best - _AS_LIKE]


def _likenesses(
    grey: NDArray[np.float64], points: _Points, size: _Points, view: ExpectedSeriesView
) -> NDArray[np.float64]:
    """Correlation with each slice; NaN where a slice, or the picture, is all the same."""
    voxels = view.series.source.volume.voxels
    row, column = np.rint(view.pixels_at(points, size)).astype(np.intp).T
    _, rows, columns = voxels.shape
    inside = (row >= 0) & (row < rows) & (column >= 0) & (column < columns)
    if not inside.any():
        return np.full(len(voxels), np.nan)
    values = np.clip(voxels[:, row[inside], column[inside]].astype(np.float64), *view.grey)
    values -= values.mean(axis=1, keepdims=True)
    seen = grey[inside] - grey[inside].mean()
    lengths = np.linalg.norm(seen) * np.linalg.norm(values, axis=1)
    return np.where(lengths > _FLAT, values @ seen / np.maximum(lengths, _FLAT), np.nan)


# ---- what is drawn on it -------------------------------------------------------------------------


def check_contours(picture: Picture, view: ExpectedSeriesView, index: int) -> None:
    """Every contour of the slice is drawn where it lies, and nothing else in its colour.

    Raises
    ------
    ResultsInconsistent
        If one is not.
    """
    drawn = _near(picture, _YELLOW)
    lines = list(_lines(picture, view, index))
    what = f"a key image of {view.series.sequence}, slice {index}"
    if not lines:
        if drawn.any():
            raise ResultsInconsistent(f"A contour is drawn on {what}, where none was found.")
        return
    away, hiding = _away_from(drawn), _away_from(_any_ring(picture))
    for line in lines:
        open_to_view = _at(away, line[_at(hiding, line) > _HIDING_PX])
        if len(open_to_view) and float(np.mean(open_to_view <= SAME_LINE_PX)) < LEAST_DRAWN:
            raise ResultsInconsistent(f"A contour is not drawn where it was found on {what}.")
    y, x = np.nonzero(drawn)
    away_by, nearest = cKDTree(np.concatenate(lines)).query(np.column_stack([x, y]) + 0.5)
    if not len(away_by):
        return
    if float(away_by.max()) > 2 * SAME_LINE_PX:
        raise ResultsInconsistent(f"A line is drawn beside the contours on {what}.")
    shift = (np.column_stack([x, y]) + 0.5 - np.concatenate(lines)[nearest]).mean(axis=0)
    if float(np.linalg.norm(shift)) > SAME_PLACE_PX:
        raise ResultsInconsistent(
            f"The contours are drawn {np.linalg.norm(shift):.1f} pixels off on {what}."
        )


def check_rings(
    picture: Picture, view: ExpectedSeriesView, index: int, evidence: ExpectedResults
) -> None:
    """Every ring lies around a lesion of the slice; if there are any, every lesion has one.

    Raises
    ------
    ResultsInconsistent
        If one does not, or has none.
    """
    if not has_rings(picture):
        return
    what = f"a key image of {view.series.sequence}, slice {index}"
    here = [f for f in evidence.seen_on(view.series) if f.sight and f.sight.slice_index == index]
    size = np.array(picture.shape[1::-1], float)
    radius = RING_MM / (2 * view.half_mm[0]) * size[0]
    for lesion, colour in _COLOURS.items():
        drawn = _near(picture, colour)
        at = [(f.sight.row, f.sight.column) for f in here if f.position.head.lesion is lesion]
        if not at and _is_ring(drawn):
            raise ResultsInconsistent(f"{lesion} is drawn on {what}, where none is seen.")
        if at:
            _check_rings_of(drawn, view.shown_at(np.array(at), size), radius, what)


def _is_ring(drawn: NDArray[np.bool_]) -> bool:
    """Whether more is drawn than where two other colours meet."""
    return bool(drawn.sum() > _MOST_MIXED_PX)


def _check_rings_of(drawn: NDArray[np.bool_], centres: _Points, radius: float, what: str) -> None:
    """Check the rings of one kind of lesion: all of them are there, and no other."""
    away, size = _away_from(drawn), np.array(drawn.shape[::-1], float)
    for centre in centres:
        rings = (
            next(_rings(centre[None], radius + number * _RING_STEP_PX))
            for number in range(_MOST_RINGS)
        )
        ringed = max(float(np.mean(_at(away, ring) <= SAME_LINE_PX)) for ring in rings)
        near = np.linalg.norm(centres - centre, axis=-1) < radius * 1.05
        inside = ((centre > radius) & (centre < size - radius)).all()
        if inside and near.sum() == 1 and ringed < LEAST_OF_A_RING:
            raise ResultsInconsistent(f"A lesion has no ring where it is seen on {what}.")
    y, x = np.nonzero(drawn)
    pixels = np.column_stack([x, y]) + 0.5
    to_nearest = np.linalg.norm(pixels[:, None] - centres, axis=-1).min(axis=1, initial=np.inf)
    if (to_nearest > radius + _LABEL_PX).sum() > _MOST_MIXED_PX:
        raise ResultsInconsistent(f"A ring is drawn beside the lesions on {what}.")


def _any_ring(picture: Picture) -> NDArray[np.bool_]:
    return np.any([_near(picture, colour) for colour in _COLOURS.values()], axis=0)


def _away_from(drawn: NDArray[np.bool_]) -> NDArray[np.float64]:
    """How far each pixel lies from what is drawn; infinitely where nothing is."""
    if not drawn.any():
        return np.full(drawn.shape, np.inf)
    return np.asarray(distance_transform_edt(~drawn))


def _lines(picture: Picture, view: ExpectedSeriesView, index: int) -> Iterator[_Points]:
    """The contours of a slice on the picture, a point for each half pixel."""
    size = np.array(picture.shape[1::-1], float)
    for contour in view.series.delineation.contours:
        if contour.slice_index == index:
            at = view.shown_at(contour.points, size)
            run = np.concatenate([[0], np.linalg.norm(np.diff(at, axis=0), axis=1).cumsum()])
            along = np.arange(0, run[-1], 0.5)
            yield np.column_stack([np.interp(along, run, axis) for axis in at.T])


def _rings(centres: _Points, radius: float) -> Iterator[_Points]:
    turn = np.linspace(0, 2 * np.pi, 72, endpoint=False)
    for centre in centres:
        yield centre + radius * np.column_stack([np.cos(turn), np.sin(turn)])


def _at(values: NDArray[np.float64], points: _Points) -> NDArray[np.float64]:
    x, y = _within(points, values)
    return np.asarray(values[y, x])


def _within(points: _Points, shape_of: NDArray[np.generic]) -> tuple[NDArray[np.intp], ...]:
    rows, columns = shape_of.shape
    x, y = np.floor(points).astype(np.intp).T
    return np.clip(x, 0, columns - 1), np.clip(y, 0, rows - 1)


def _near(picture: Picture, colour: tuple[int, int, int]) -> NDArray[np.bool_]:
    return np.asarray((abs(picture.astype(int) - colour) < _SAME_COLOUR).all(axis=-1))


# ---- letters -------------------------------------------------------------------------------------


def _check_letters(picture: Picture) -> None:
    """R stands at the left edge and L at the right one; only an R has ink above and to its right.

    Raises
    ------
    ResultsInconsistent
        If they do not.
    """
    across, down = _LETTER_BOX
    middle = picture.shape[0] // 2
    band = picture[middle - down : middle + down].min(axis=-1) > 150
    told = [_is_r(band[:, :across], from_right=False), _is_r(band[:, -across:], from_right=True)]
    if told != [True, False]:
        raise ResultsInconsistent("A key image has no R at its left edge and L at its right one.")


def _is_r(white: NDArray[np.bool_], *, from_right: bool) -> bool | None:
    """Whether the letter in a box is an R; None where there is none.

    The black edge of a letter keeps it apart from bright bone.
    """
    parts, _ = label(white)
    for number, (rows, columns) in enumerate(find_objects(parts), 1):
        gap = white.shape[1] - columns.stop if from_right else columns.start
        height = rows.stop - rows.start
        if _is_within(gap, _LETTER_EDGE) and _is_within(height, _LETTER_HEIGHT):
            letter = parts[rows, columns] == number
            upper_right = letter[: height // 2, letter.shape[1] // 2 :]
            return bool(upper_right.mean() > 0.25)
    return None


def _is_within(number: int, limits: tuple[int, int]) -> bool:
    return limits[0] <= number <= limits[1]
