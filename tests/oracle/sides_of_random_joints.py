"""How often the check of sides stops a right study of random joints, and whether it finds swaps.

Joints of any patient, drawn as lines without images or networks: turned about every axis, seen from
any side, off the centre, or with one joint outside the field of view.

Run it with ``python -m tests.oracle.sides_of_random_joints 500``.
"""

import argparse
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import typer
from numpy.typing import NDArray

from models.delineation import Contour, Delineation
from models.findings import POSITIONS, Finding, Side, Sight
from models.regions import region_label_map
from models.volume import Volume
from sij_node.dicom.volumes import volume_from
from sij_node.errors import ResultsInconsistent
from sij_node.results.analysed_series import AnalysedSeries
from sij_node.verify.check_sides import check_sides_of_findings
from sij_node.verify.expected_results import ExpectedResults
from tests.support.mr_series import classic_series, oblique

SLICES, ROWS, COLUMNS, PIXEL_MM, SPACING_MM = 9, 60, 90, 3.0, 4.0
OTHER = {Side.LEFT: Side.RIGHT, Side.RIGHT: Side.LEFT}
_Line = NDArray[np.float64]


def outcome(number: int) -> tuple[bool, bool]:
    """Whether a right study passes, and whether every swap in it is found."""
    rng = np.random.default_rng(9_000_000 + number)
    study = _study(rng)
    return _passes(study), not any(_passes(swapped) for swapped in _swaps(study, rng))


def _study(rng: np.random.Generator) -> ExpectedResults:
    cosines = _seen_from_any_side(rng, *oblique(rng.uniform(-10, 60), rng.uniform(-15, 15)))
    shape = (SLICES, ROWS, COLUMNS)
    images = classic_series(
        np.zeros(shape, np.uint16), cosines=cosines, spacing_mm=(SPACING_MM, PIXEL_MM, PIXEL_MM)
    )
    source = volume_from(images)
    contours = Delineation(())
    while not contours.contours:
        contours = _contours(rng, source.volume, rng.choice([None, None, None, *Side]))
    regions = region_label_map(source.volume, contours)
    series = AnalysedSeries("T1", source, images, contours, regions)
    return ExpectedResults(tuple(images), (series,), _findings(rng, contours))


def _seen_from_any_side(
    rng: np.random.Generator, row: Sequence[float], column: Sequence[float]
) -> tuple[_Line, _Line]:
    """The same plane, mirrored, upside down or lying on its side."""
    axes = [
        sign * np.array(axis)
        for sign, axis in zip(rng.choice([-1, 1], 2), (row, column), strict=True)
    ]
    return (axes[1], axes[0]) if rng.random() < 0.3 else (axes[0], axes[1])


def _contours(rng: np.random.Generator, volume: Volume, only: Side | None) -> Delineation:
    """Lines that converge downwards, of a patient turned in the plane and off the centre.

    Joints beyond the edge of the image are left out.
    """
    middle = volume.to_patient((SLICES / 2, ROWS / 2, COLUMNS / 2))
    offset = np.array([rng.uniform(-80, 80), 0, rng.uniform(-30, 30)])
    apart_mm, roll = rng.uniform(50, 110), np.radians(rng.uniform(-25, 25))
    turn = np.array([[np.cos(roll), 0, np.sin(roll)], [0, 1, 0], [-np.sin(roll), 0, np.cos(roll)]])
    found = []
    for index in range(SLICES):
        plane = volume.to_patient((index, ROWS / 2, COLUMNS / 2)) - middle
        for side in [only] if only else Side:
            up = np.linspace(25, -25, 9)
            outwards = apart_mm / 2 + 0.3 * up + rng.uniform(-3, 3) - 0.5 * abs(index - 4)
            across = outwards * (1 if side is Side.LEFT else -1)
            at = np.stack([across, 0 * up, up], axis=1) @ turn.T + offset + plane + middle
            points = volume.to_indices(at)[:, 1:]
            if (points >= 0).all() and (points <= (ROWS - 1, COLUMNS - 1)).all():
                found.append(Contour(index, side, points, 0.9))
    return Delineation(tuple(found))


def _findings(rng: np.random.Generator, contours: Delineation) -> tuple[Finding, ...]:
    """Each positive finding within 10 mm of its own joint."""
    found = []
    for position in POSITIONS:
        lines = contours.of(position.side)
        if lines:
            line = lines[rng.integers(len(lines))]
            row, column = line.points[rng.integers(len(line.points))]
            column += rng.uniform(-10, 10) / PIXEL_MM
            sight = Sight("T1", line.slice_index, float(row), float(column))
            found.append(Finding(position, 0.9, 0.5, sight))
    return tuple(found)


def _swaps(study: ExpectedResults, rng: np.random.Generator) -> Sequence[ExpectedResults]:
    """One lesion, one contour, all contours, and all regions under the other side's name.

    One joint alone, with everything that belongs to it, could be either: only its lesions tell.
    """
    (series,) = study.series
    contours = list(series.delineation.contours)
    number = int(rng.integers(len(study.findings)))
    finding = study.findings[number]
    renamed = replace(
        finding, position=replace(finding.position, side=OTHER[finding.position.side])
    )
    lesion = [*study.findings[:number], renamed, *study.findings[number + 1 :]]
    swaps = [replace(study, findings=tuple(lesion))]
    if len({one.side for one in contours}) == 2:
        everything = [replace(one, side=OTHER[one.side]) for one in contours]
        swapped = _with(study, everything)
        regions = replace(series, regions=swapped.series[0].regions)
        swaps += [swapped, replace(study, series=(regions,), findings=())]
        swaps += [_with(study, moved) for moved in _one_moved(contours, rng)]
    return swaps


def _one_moved(contours: Sequence[Contour], rng: np.random.Generator) -> Sequence[list[Contour]]:
    """One contour under the other side's name, in place of the one that is there."""
    one = contours[rng.integers(len(contours))]
    moved = replace(one, side=OTHER[one.side])
    place = (moved.slice_index, moved.side)
    rest = [c for c in contours if c is not one and (c.slice_index, c.side) != place]
    return [[moved, *rest]] if {c.side for c in rest} == set(Side) else []


def _with(study: ExpectedResults, contours: Sequence[Contour]) -> ExpectedResults:
    (series,) = study.series
    found = Delineation(tuple(contours))
    regions = region_label_map(series.source.volume, found)
    return replace(
        study, series=(replace(series, delineation=found, regions=regions),), findings=()
    )


def _passes(study: ExpectedResults) -> bool:
    try:
        check_sides_of_findings(study)
    except ResultsInconsistent:
        return False
    return True


def main() -> None:
    """Print how many of a number of studies pass, and in how many every swap is found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("studies", type=int, nargs="?", default=500)
    counts = Counter(map(outcome, range(parser.parse_args().studies)))
    stopped = sum(count for (passes, _), count in counts.items() if not passes)
    missed = sum(count for (_, found), count in counts.items() if not found)
    typer.echo(f"{counts.total()} studies: {stopped} stopped wrongly, {missed} with a swap missed")


if __name__ == "__main__":
    main()
