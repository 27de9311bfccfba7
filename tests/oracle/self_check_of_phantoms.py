"""False alarm rate of the self-check, and detection of every swap of sides.

Phantoms of every style, turned, shifted and cut to a part of the field of view, with their true
contours and true lesions as findings: every result is right, so nothing may be stopped.

Run it with ``python -m tests.oracle.self_check_of_phantoms 240``.
"""

import argparse
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import typer
from numpy.typing import NDArray
from pydicom import dcmread
from pydicom.dataset import Dataset

from models.delineation import Contour, Delineation
from models.findings import POSITIONS, Finding, Lesion, Position, Side, Sight
from models.findings import Sequence as Kind
from models.regions import REGION_LABELS, region_label_map
from models.volume import Volume
from sij_node.dicom.volumes import volume_from
from sij_node.domain.prior_comparison import NOTHING_EARLIER, SincePrior
from sij_node.errors import ResultsInconsistent
from sij_node.results.analysed_series import AnalysedSeries
from sij_node.results.build import AnalysedStudy
from sij_node.verify.check_results import check_results
from sij_node.verify.check_sides import check_sides_of_findings
from tests.oracle.check_pictures import check_results_and_pictures
from tests.support.oriented_volumes import reordered
from tests.support.prior_reports import earlier
from tests.support.result_files import evidence_of, made
from trainer.phantom.case import PhantomCase, PhantomOptions, make_case
from trainer.phantom.dicom_files import VENDORS, write_study

STYLES = ("plain", "plausible", "randomised")
SLICES, MATRIX = 8, 112
FIRST_SEED = 7_000_000
"""Seeds that nothing was trained on."""

Outcome = tuple[str, str]
"""The style of a phantom, and what happened to its study."""


def outcomes(number: int) -> list[Outcome]:
    """What becomes of one phantom study: passed or stopped, its swap found or missed."""
    style = STYLES[number % len(STYLES)]
    rng = np.random.default_rng(FIRST_SEED + number)
    study = _study(number, style, rng)
    since = SincePrior(earlier(), (), True) if number % 2 else NOTHING_EARLIER
    results = made(
        study,
        since,
        objects=("seg", "findings", "scores", "presentation", "summary", "pdf"),
        language="de" if rng.random() < 0.5 else "en",
        empty_frames=bool(rng.random() < 0.2),
    )
    found = [(style, _checked(check_results, results.files.values(), results.evidence))]
    if found[0][1] == "passed":
        drawn = _checked(check_results_and_pictures, results.files.values(), results.evidence)
        found.append((style, f"pictures {drawn}"))
    if len(results.evidence.joints) == len(Side):
        swapped = _checked(check_sides_of_findings, evidence_of(_swapped(study)))
        found.append((style, "swap missed" if swapped == "passed" else "swap found"))
    return found


def _checked(check, *arguments) -> str:
    try:
        check(*arguments)
    except ResultsInconsistent as error:
        return f"stopped: {error}"
    return "passed"


def _study(number: int, style: str, rng: np.random.Generator) -> AnalysedStudy:
    options = PhantomOptions(SLICES, MATRIX, disease="balanced", style=style)
    case = make_case(FIRST_SEED + number, options)
    placed = _placed(case, rng)
    with TemporaryDirectory() as folder:
        files = write_study(
            placed,
            Path(folder),
            vendor=str(rng.choice(sorted(VENDORS))),
            enhanced=bool(rng.random() < 0.5),
            extra_localiser=False,
        )
        images = [dcmread(file) for file in files]
    series = tuple(_analysed(kind, placed, images) for kind in Kind)
    return AnalysedStudy(series, tuple(_findings(case, series, rng)))


def _placed(case: PhantomCase, rng: np.random.Generator) -> PhantomCase:
    """The same patient elsewhere: turned, off-centre, rows for columns, half of it cut away."""
    turn = _turn(np.radians(rng.uniform([-25, -10, -25], [25, 10, 25])))
    moved = np.eye(4)
    moved[:3, :3], moved[:3, 3] = turn, rng.uniform(-80, 80, 3)
    part = rng.choice([0.0, 0.35, -0.35, 0.55, -0.55], p=[0.5, 0.125, 0.125, 0.125, 0.125])
    lying, flips = bool(rng.random() < 0.3), tuple(np.flatnonzero(rng.random(3) < 0.4).tolist())
    volumes, truths = [], []
    for volume, truth in ((case.t1, case.t1_truth), (case.stir, case.stir_truth)):
        cut, rest = _cut(volume, truth, part)
        there = Volume(cut.voxels, moved @ cut.affine)
        volumes.append(reordered(there, lying, flips))
        truths.append(_on(volumes[-1], there, rest))
    return replace(case, t1=volumes[0], stir=volumes[1], t1_truth=truths[0], stir_truth=truths[1])


def _turn(angles: NDArray[np.float64]) -> NDArray[np.float64]:
    whole = np.eye(3)
    for axis, angle in enumerate(angles):
        one, other = [n for n in range(3) if n != axis]
        step = np.eye(3)
        step[[one, other], [one, other]] = np.cos(angle)
        step[one, other], step[other, one] = -np.sin(angle), np.sin(angle)
        whole = step @ whole
    return whole


def _cut(volume: Volume, truth: Delineation, part: float) -> tuple[Volume, Delineation]:
    """Columns cut away on one side; a joint of which a part is cut away is not delineated."""
    columns = volume.voxels.shape[2]
    first = round(max(part, 0.0) * columns)
    last = columns - round(max(-part, 0.0) * columns)
    affine = volume.affine.copy()
    affine[:3, 3] += affine[:3, 2] * first
    rest = [
        replace(one, points=one.points - [0, first])
        for one in truth.contours
        if one.points[:, 1].min() > first + 1 and one.points[:, 1].max() < last - 2
    ]
    return Volume(volume.voxels[:, :, first:last].copy(), affine), Delineation(tuple(rest))


def _on(volume: Volume, given: Volume, truth: Delineation) -> Delineation:
    """The same contours in the indices of another volume."""
    contours = []
    for one in truth.contours:
        at = volume.to_indices(given.to_patient(np.insert(one.points, 0, one.slice_index, axis=1)))
        contours.append(Contour(round(float(at[0, 0])), one.side, at[:, 1:], one.quality))
    return Delineation(tuple(contours))


def _analysed(kind: Kind, case: PhantomCase, images: Sequence[Dataset]) -> AnalysedSeries:
    given, truth = (case.t1, case.t1_truth) if kind is Kind.T1 else (case.stir, case.stir_truth)
    uids = list(dict.fromkeys(one.SeriesInstanceUID for one in images))
    own = [one for one in images if one.SeriesInstanceUID == uids[list(Kind).index(kind)]]
    source = volume_from(own)
    drawn = _on(source.volume, given, truth)
    return AnalysedSeries(kind, source, own, drawn, region_label_map(source.volume, drawn))


def _findings(
    case: PhantomCase, series: Sequence[AnalysedSeries], rng: np.random.Generator
) -> Iterator[Finding]:
    """What is true: grades from 1 are present, and seen at a voxel of their region."""
    seen = {side for one in series for side in Side if one.delineation.of(side)}
    for position in POSITIONS:
        threshold = float(rng.uniform(0.2, 0.8))
        present = case.severity[position] > 0
        low, high = (threshold, 1.0) if present else (0.0, threshold - 1e-6)
        probability = float(rng.uniform(low, high)) if position.side in seen else None
        sight = _sight(position, series, rng) if present and probability else None
        yield Finding(position, probability, threshold, sight)


def _sight(
    position: Position, series: Sequence[AnalysedSeries], rng: np.random.Generator
) -> Sight | None:
    kind = Kind.STIR if position.head.lesion in (Lesion.OEDEMA, Lesion.EROSION) else Kind.T1
    (one,) = (each for each in series if each.sequence is kind)
    voxels = np.argwhere(one.regions == REGION_LABELS[position.side, position.head.region])
    if not len(voxels):
        return None
    slice_index, row, column = rng.choice(voxels).tolist()
    return Sight(kind, slice_index, row + rng.uniform(-0.4, 0.4), column + rng.uniform(-0.4, 0.4))


def _swapped(study: AnalysedStudy) -> AnalysedStudy:
    """Right for left in everything that was found."""
    series = []
    for one in study.series:
        contours = [replace(each, side=_other(each.side)) for each in one.delineation.contours]
        found = Delineation(tuple(contours))
        regions = region_label_map(one.source.volume, found)
        series.append(replace(one, delineation=found, regions=regions))
    findings = [
        replace(each, position=replace(each.position, side=_other(each.position.side)))
        for each in study.findings
    ]
    return replace(study, series=tuple(series), findings=tuple(findings))


def _other(side: Side) -> Side:
    return Side.LEFT if side is Side.RIGHT else Side.RIGHT


def main() -> None:
    """Count the outcomes of so many studies."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("studies", type=int)
    parser.add_argument("--processes", type=int, default=2)
    asked = parser.parse_args()
    with ProcessPoolExecutor(asked.processes) as pool:
        counts = Counter(one for found in pool.map(outcomes, range(asked.studies)) for one in found)
    for (style, outcome), count in sorted(counts.items()):
        typer.echo(f"{style:<12} {count:>4}  {outcome}")


if __name__ == "__main__":
    main()
