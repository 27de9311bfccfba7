"""Contours on real images: ``python -m trainer evaluate real FOLDER``.

Evaluates what a folder contains: scans as NIfTI (``CASE_T1W.nii.gz``, ``CASE_STIR.nii.gz``),
hand-drawn joint lines (``lines/CASE.json``) and masks of the bone around the joints
(``masks/CASE_*.nii.gz``). They are used for evaluation only: no weights are trained on
them, and none of them is stored.
"""

import json
import sys
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray
from scipy.ndimage import binary_closing, map_coordinates

from models.acceptance import shows_joints
from models.contour_tracing import evenly_spaced
from models.delineate import delineations, loaded_contour_network
from models.delineation import Contour, Delineation
from models.findings import Side
from models.orientation import canonical
from models.volume import Volume
from models.weights import INTENDED_USE, read_card
from trainer.evaluation.contour_summary import Resampling, percentile_estimate, share_estimate
from trainer.experiment import SHIPPED_WEIGHTS
from trainer.markdown_table import markdown
from trainer.metrics.contour_error import ContourError, contour_error
from trainer.nifti import read_nifti
from trainer.overlay_sheets import write_sheet
from trainer.run_metadata import code_version

KINDS = ("T1W", "STIR")
EDGE_SLICES = 1
FAR_MM, BESIDE_MM = 2.76, 8.0
"""The paper's 95th percentile, and what lies beyond any part of a joint."""
DATA_DESCRIPTION = (
    "Real oblique-coronal SIJ MRI of patients with axial spondyloarthritis, published with PLOS "
    "ONE 10.1371/journal.pone.0284508, 3.3 mm slices, field of view 200 mm. The lines were drawn "
    "by eye once, by one annotator a case (error about 1 mm along, 2 to 3 mm at the ends). The "
    "generator was tuned and networks were chosen on these images, no weights were trained on them."
)


@dataclass(frozen=True, eq=False)
class RealScan:
    """One volume in canonical orientation with its annotations.

    Parameters
    ----------
    lines
        Joint lines in the volume's (row, column), by slice and side; None without annotation.
    ambiguous
        Where careful annotators might differ.
    bone
        The experts' region of bone on the volume's grid, gaps between bones closed; or None.
    """

    case: str
    kind: str
    volume: Volume
    lines: Mapping[tuple[int, Side], NDArray[np.float64]] | None
    ambiguous: frozenset[tuple[int, Side]]
    bone: NDArray[np.bool_] | None


@dataclass(frozen=True, eq=False)
class Row:
    """One joint on one slice that has a line, a contour, or both.

    Parameters
    ----------
    cause
        What is wrong, see `cause_of`; empty if nothing is.
    """

    case: str
    kind: str
    drawn: bool
    found: bool
    ambiguous: bool
    error: ContourError
    quality: float
    cause: str = ""


def evaluate_real(
    folder: Annotated[Path, typer.Argument(help="Scans, lines and masks.")],
    weights: Annotated[Path, typer.Option(help="Folder of the contour network.")] = SHIPPED_WEIGHTS
    / "contour",
    sheets: Annotated[
        Path | None, typer.Option(help="Folder for contact sheets, outside the checkout.")
    ] = None,
    report: Annotated[Path | None, typer.Option(help="JSON file for the numbers.")] = None,
) -> None:
    """Compare contours with hand-drawn lines on real images."""
    studies = list(read_studies(folder))
    network, rules = loaded_contour_network(weights)
    rows: list[Row] = []
    inside: dict[str, list[float]] = {}
    per_scan: list[dict[str, Any]] = []
    rejected = 0
    for scans in studies:
        found = [
            one.delineation
            for one in delineations(network, rules, tuple(scan.volume for scan in scans))
        ]
        rejected += not shows_joints(found)
        for scan, delineation in zip(scans, found, strict=True):
            judged = judged_scan(scan, delineation)
            rows += judged
            shares = shares_inside(scan, delineation)
            per_scan.append(scan_summary(scan, delineation, judged, shares))
            if scan.bone is not None and scan.kind == "T1W":
                inside[scan.case] = shares
            if sheets is not None:
                lines = scan.lines or {}
                write_sheet(
                    scan.volume, delineation, lines, sheets / f"{scan.case}_{scan.kind}.png"
                )
    numbers = _numbers(rows, inside, len(studies), rejected)
    card = read_card(weights)
    numbers |= {
        "per scan": per_scan,
        "warning": INTENDED_USE,
        "data": DATA_DESCRIPTION,
        "network": f"{card.name} {card.version}",
        "code": code_version(),
        "command": f"python -m trainer {' '.join(sys.argv[1:2])} real FOLDER",
    }
    print(real_page(numbers))
    if report is not None:
        report.write_text(json.dumps(numbers, indent=1) + "\n", encoding="utf-8")


def read_studies(folder: Path) -> Iterator[list[RealScan]]:
    """Every case of a folder with its T1 and, where there is one, its STIR."""
    paths = sorted(folder.rglob("*_T1W.nii.gz"))
    for path in paths:
        case = path.name.removesuffix("_T1W.nii.gz")
        there = [path, path.with_name(f"{case}_STIR.nii.gz")]
        yield [
            _scan(folder, case, kind, one)
            for kind, one in zip(KINDS, there, strict=True)
            if one.exists()
        ]


def _scan(folder: Path, case: str, kind: str, path: Path) -> RealScan:
    volume = canonical(read_nifti(path))
    lines, ambiguous = _lines(folder / "lines" / f"{case}.json", volume)
    mask = next(iter(sorted((folder / "masks").glob(f"{case}_*.nii.gz"))), None)
    bone = None if mask is None else _bone(canonical(read_nifti(mask)), volume)
    return RealScan(case, kind, volume, lines, ambiguous, bone)


def _lines(
    path: Path, volume: Volume
) -> tuple[dict[tuple[int, Side], NDArray[np.float64]] | None, frozenset[tuple[int, Side]]]:
    if not path.exists():
        return None, frozenset()
    drawn = json.loads(path.read_text(encoding="utf-8"))
    lines = {}
    for sides in drawn["lines"].values():
        for side, points in sides.items():
            if points:
                at = volume.to_indices(np.array(points))
                lines[round(float(at[:, 0].mean())), Side(side)] = at[:, 1:]
    doubtful = {
        (int(number), Side(side)) for number, sides in drawn["ambiguous"].items() for side in sides
    }
    return lines, frozenset(doubtful)


def _bone(mask: Volume, volume: Volume) -> NDArray[np.bool_] | None:
    """The mask with the joint space between both bones closed, on the volume's grid."""
    if mask.voxels.shape != volume.voxels.shape:
        return None
    reach = max(1, round(3.0 / volume.spacing_mm[1]))
    disc = np.hypot(*np.indices((2 * reach + 1,) * 2) - reach) <= reach
    return np.stack([binary_closing(one > 0, disc) for one in mask.voxels])


def judged_scan(scan: RealScan, delineation: Delineation) -> list[Row]:
    """Every joint on every slice that has a line or a contour; none without annotation."""
    if scan.lines is None:
        return []
    found = {(one.slice_index, one.side): one for one in delineation.contours}
    return [
        _row(scan, key, found)
        for key in sorted(set(found) | set(scan.lines), key=lambda key: (key[0], str(key[1])))
    ]


def cause_of(
    key: tuple[int, Side],
    drawn: Set[tuple[int, Side]],
    found: Set[tuple[int, Side]],
    error: ContourError,
) -> str:
    """Why a joint on a slice is missed, false or far off.

    Parameters
    ----------
    key
        Slice and side.
    drawn, found
        Slices and sides with a line, and with a contour.
    error
        Of the contour against the line, where there are both.
    """
    slices = sorted(number for number, side in drawn if side is key[1])
    if key not in found:
        if not any(side is key[1] for _, side in found):
            return "missed: the joint was not found"
        at_the_end = min(key[0] - slices[0], slices[-1] - key[0]) <= EDGE_SLICES
        return f"missed: {'first or last slices' if at_the_end else 'within the joint'}"
    if key not in drawn:
        beyond = not slices or key[0] < slices[0] or key[0] > slices[-1]
        return f"false: {'in front of or behind the joint' if beyond else 'within the joint'}"
    if error.rms > FAR_MM:
        return "far off: beside the joint" if error.rms > BESIDE_MM else "far off: partly"
    return "far off: runs on too far" if error.symmetric_rms > 2 * FAR_MM else ""


def _row(
    scan: RealScan, key: tuple[int, Side], contours: Mapping[tuple[int, Side], Contour]
) -> Row:
    contour = contours.get(key)
    line = (scan.lines or {}).get(key)
    mm = np.array(scan.volume.spacing_mm[1:])
    error = ContourError(*[float("nan")] * 4)
    if line is not None:
        error = contour_error(line * mm, None if contour is None else contour.points * mm)
    quality = 0.0 if contour is None else contour.quality
    doubtful = key in scan.ambiguous
    cause = cause_of(key, set(scan.lines or {}), set(contours), error)
    drawn, found = line is not None, contour is not None
    return Row(scan.case, scan.kind, drawn, found, doubtful, error, quality, cause)


def scan_summary(
    scan: RealScan, delineation: Delineation, rows: Sequence[Row], inside: Sequence[float]
) -> dict[str, Any]:
    """What was found on one scan; columns without lines or masks are empty."""
    drawn = [row for row in rows if row.drawn]
    errors = [row.error.rms for row in drawn]
    sides = [contour.side for contour in delineation.contours]
    return {
        "scan": f"{scan.case} {scan.kind}",
        "contours right": sides.count(Side.RIGHT),
        "contours left": sides.count(Side.LEFT),
        "mean quality": _mean([contour.quality for contour in delineation.contours]),
        "lines": len(drawn) or "",
        "missed": sum(not row.found for row in drawn) if drawn else "",
        "false": sum(not row.drawn for row in rows) if drawn else "",
        "rms p50, mm": _rounded(float(np.median(errors))) if drawn else "",
        "inside bone": f"{np.mean(inside):.0%}" if inside else "",
    }


def _mean(values: Sequence[float]) -> float | str:
    return round(float(np.mean(values)), 2) if values else ""


def _rounded(mm: float) -> float | str:
    return round(mm, 2) if np.isfinite(mm) else "missed"


def causes_table(rows: Sequence[Row]) -> str:
    """How often each cause occurs, by sequence, as Markdown."""
    causes = sorted({row.cause for row in rows} - {""})
    counted = (
        [cause, *(sum(row.cause == cause and row.kind == kind for row in rows) for kind in KINDS)]
        for cause in causes
    )
    return markdown(["cause", *KINDS], counted)


def shares_inside(scan: RealScan, delineation: Delineation) -> list[float]:
    """How much of each contour's length lies inside the experts' region."""
    if scan.bone is None:
        return []
    return [
        float(
            map_coordinates(
                scan.bone[one.slice_index].astype(np.float32),
                evenly_spaced(one.points, 64).T,
                order=0,
            ).mean()
        )
        for one in delineation.contours
    ]


def _numbers(
    rows: Sequence[Row], inside: Mapping[str, Sequence[float]], studies: int, rejected: int
) -> dict[str, Any]:
    clear = [row for row in rows if not row.ambiguous]
    shares = [share for of_case in inside.values() for share in of_case]
    tables = {
        f"{kind}, {name}": summary_of([row for row in part if row.kind == kind])
        for kind in KINDS
        for name, part in (("all", rows), ("without ambiguous slices", clear))
    }
    masked = {
        "contours": len(shares),
        "with 95 % or more of their length inside": float(np.mean(np.array(shares) >= 0.95)),
        "with 70 % or more inside": float(np.mean(np.array(shares) >= 0.7)),
    }
    return {
        "studies": studies,
        "refused": rejected,
        "against lines": {name: one for name, one in tables.items() if one},
        "causes": causes_table(rows),
        "inside the experts' region": masked if shares else {},
    }


def summary_of(rows: Sequence[Row]) -> dict[str, Any]:
    """Missed, false and percentiles, each with its interval over patients; empty without lines."""
    drawn = [row for row in rows if row.drawn]
    if not drawn:
        return {}
    number = {case: n for n, case in enumerate(sorted({row.case for row in rows}))}
    resampling = Resampling.of(tuple(number.values()))
    subjects = [number[row.case] for row in rows]
    missed, false = (
        np.array([row.drawn and not row.found for row in rows]),
        np.array([not row.drawn for row in rows]),
    )
    result: dict[str, Any] = {"lines": len(drawn), "patients": len(number)}
    for name, counted in (("missed", missed), ("false", false)):
        one = share_estimate(counted, ~false, subjects, resampling)
        result[f"{name}, %"] = [round(100 * v, 1) for v in (one.value, one.low, one.high)]
    of_drawn = [number[row.case] for row in drawn]
    for measure in ("rms", "symmetric_rms"):
        values = np.array([getattr(row.error, measure) for row in drawn])
        for percent in (50, 75, 90, 95):
            one = percentile_estimate(values, of_drawn, percent, resampling)
            result[f"{measure} p{percent}, mm"] = [
                round(v, 2) if np.isfinite(v) else "missed" for v in (one.value, one.low, one.high)
            ]
    return result


def real_page(numbers: Mapping[str, Any]) -> str:
    """The numbers as Markdown."""
    lines = [
        f"{numbers['network']}: {numbers['studies']} scans or pairs, "
        f"{numbers['refused']} rejected.",
        "",
        table_of("against hand-drawn lines", numbers["against lines"]),
        "",
        *(
            f"- inside the experts' region: {name}: {value if value > 1 else f'{value:.1%}'}"
            for name, value in numbers["inside the experts' region"].items()
        ),
    ]
    lines += ["", numbers["causes"]]
    scans = numbers.get("per scan", [])
    if scans:
        lines += ["", markdown(list(scans[0]), ([*one.values()] for one in scans))]
    return "\n".join(lines) + "\n"


def table_of(title: str, tables: Mapping[str, Mapping[str, Any]]) -> str:
    """Summaries side by side as a table in Markdown."""
    names = next(iter(tables.values()), {})
    rows = ([name, *(_cell(table[name]) for table in tables.values())] for name in names)
    return markdown([title, *tables], rows)


def _cell(value: object) -> str:
    if isinstance(value, list):
        return f"{value[0]} ({value[1]} to {value[2]})"
    return str(value)
