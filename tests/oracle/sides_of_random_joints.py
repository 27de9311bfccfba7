"""How often the check of sides stops a right study of random joints, and whether it finds swaps.

Joints of any patient, drawn as lines without images or networks: turned about every axis, off the
centre, or with one joint outside the field of view.

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
    cosines = oblique(rng.uniform(-10, 60), rng.uniform(-15, 15))
    shape = (SLICES, ROWS, COLUMNS)
    images = classic_series(
        np.zeros(shape, np.uint16), cosines=cosines, spacing_mm=(SPACING_MM, PIXEL_MM, PIXEL_MM)
    )
    source = volume_from(images)
    only = rng.choice([None, None, *Side])
    contours = _contours(rng, source.volume, only)
    regions = region_label_map(source.volume, contours)
    series = AnalysedSeries("T1", source, images, contours, regions)
    return ExpectedResults(tuple(images), (series,), _findings(rng, contours))


def _contours(rng: np.random.Generator, volume: Volume, only: Side | None) -> Delineation:
    """Lines that converge downwards, of a patient turned in the plane and off the centre."""
    middle = volume.to_patient((SLICES / 2, ROWS / 2, COLUMNS / 2))
    offset = np.array([rng.uniform(-40, 40), 0, rng.uniform(-20, 20)])
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
            found.append(Contour(index, side, volume.to_indices(at)[:, 1:], 0.9))
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
    """One lesion, one contour, and all contours under the other side's name.

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
        kept = [one for one in contours if (one.slice_index, one.side) != (4, Side.LEFT)]
        moved = [replace(one, side=Side.LEFT) if _is_right(one, 4) else one for one in kept]
        swaps += [_with(study, everything), _with(study, moved)]
    return swaps


def _is_right(contour: Contour, index: int) -> bool:
    return contour.slice_index == index and contour.side is Side.RIGHT


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
