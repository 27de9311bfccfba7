"""Contours on real images: ``python -m trainer evaluate real FOLDER``.

Evaluates what a folder contains, see `trainer.evaluation.real_scans`. The images are used for
evaluation only: no weights are trained on them, and none of them is stored.
"""

import json
import sys
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from scipy.ndimage import map_coordinates

from models.acceptance import shows_joints
from models.contour_tracing import evenly_spaced
from models.delineate import (
    ContourNetwork,
    ContourRules,
    delineations,
    loaded_contour_network,
)
from models.delineation import Contour, Delineation
from models.findings import Side
from models.joint_unet import JointNetwork
from models.regions import region_label_map
from models.weights import read_card
from trainer.errors import TrainingInputInvalid
from trainer.evaluation.contour_summary import (
    Estimate,
    Resampling,
    percentile_estimate,
    share_estimate,
)
from trainer.evaluation.real_scans import KINDS, RealScan, read_studies
from trainer.experiment import SHIPPED_WEIGHTS
from trainer.markdown_table import markdown
from trainer.metrics.contour_error import ContourError, contour_error
from trainer.overlay_sheets import write_sheet
from trainer.run_metadata import evaluation_origin

EDGE_SLICES = 1
FAR_MM, BESIDE_MM = 2.76, 8.0
"""The paper's 95th percentile, and what lies beyond any part of a joint."""
CHECKOUT = Path(__file__).resolve().parents[2]


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
    side: Side
    drawn: bool
    found: bool
    ambiguous: bool
    error: ContourError
    quality: float
    cause: str = ""


def evaluate_real(
    folder: Annotated[Path, typer.Argument(help="Scans, lines, masks and outlined oedema.")],
    weights: Annotated[Path, typer.Option(help="Folder of the contour network.")] = SHIPPED_WEIGHTS
    / "contour",
    sheets: Annotated[
        Path | None, typer.Option(help="Folder for contact sheets, outside the checkout.")
    ] = None,
    report: Annotated[Path | None, typer.Option(help="JSON file for the numbers.")] = None,
    half: Annotated[bool, typer.Option("--half", help="Compute in half precision.")] = False,
) -> None:
    """Compare contours with what people drew on real images."""
    if sheets is not None and sheets.resolve().is_relative_to(CHECKOUT):
        raise TrainingInputInvalid(
            f"{sheets} lies in the checkout; pictures of patients must not: choose another folder"
        )
    network, rules = loaded_contour_network(weights)
    if isinstance(network, JointNetwork):
        network.half_precision = half
    judged: list[JudgedScan] = []
    studies = rejected = 0
    for scans in read_studies(folder):
        found = delineated(network, rules, scans)
        studies, rejected = studies + 1, rejected + (not shows_joints(found))
        judged += [JudgedScan.of(*one) for one in zip(scans, found, strict=True)]
        if sheets is not None:
            for scan, delineation in zip(scans, found, strict=True):
                path = sheets / f"{scan.case}_{scan.kind}.png"
                write_sheet(scan.volume, delineation, scan.lines or {}, path)
    card = read_card(weights)
    numbers = _numbers(judged, studies, rejected) | evaluation_origin(
        card, f"{' '.join(sys.argv[1:2])} real FOLDER"
    )
    print(real_page(numbers))
    if report is not None:
        report.write_text(json.dumps(numbers, indent=1) + "\n", encoding="utf-8")


def delineated(
    network: ContourNetwork, rules: ContourRules, scans: Sequence[RealScan]
) -> list[Delineation]:
    """The network's contours on the scans of one study."""
    volumes = tuple(scan.volume for scan in scans)
    return [one.delineation for one in delineations(network, rules, volumes)]


def judged_scans(scans: Sequence[RealScan], seen: Sequence[Delineation]) -> list[Row]:
    """Every joint on every slice of a study that has a line or a contour."""
    return [
        row
        for scan, delineation in zip(scans, seen, strict=True)
        for row in judged_scan(scan, delineation)
    ]


@dataclass(frozen=True, eq=False)
class JudgedScan:
    """What was found on one scan, compared with what people drew.

    Parameters
    ----------
    inside
        Share of each contour's length inside the experts' region.
    oedema_ml
        Volume of each outline.
    covered
        Share of each outline inside the lesion regions beside the contours.
    """

    name: str
    case: str
    kind: str
    rows: list[Row]
    summary: Mapping[str, Any]
    inside: list[float]
    oedema_ml: list[float]
    covered: list[float]

    @classmethod
    def of(cls, scan: RealScan, delineation: Delineation) -> "JudgedScan":
        """Judge one scan."""
        rows, inside = judged_scan(scan, delineation), shares_inside(scan, delineation)
        voxel_ml = float(np.prod(scan.volume.spacing_mm)) / 1000
        regions = region_label_map(scan.volume, delineation) > 0
        return cls(
            f"{scan.case} {scan.kind}",
            scan.case,
            scan.kind,
            rows,
            scan_summary(scan, delineation, rows, inside),
            inside,
            [float(one.sum()) * voxel_ml for one in scan.oedema],
            [float((one & regions).sum() / max(1, one.sum())) for one in scan.oedema],
        )


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
    return Row(scan.case, scan.kind, key[1], drawn, found, doubtful, error, quality, cause)


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
    if not causes:
        return ""
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


def _numbers(judged: Sequence[JudgedScan], studies: int, rejected: int) -> dict[str, Any]:
    rows = [row for one in judged for row in one.rows]
    clear = [row for row in rows if not row.ambiguous]
    tables = {
        f"{kind}, {name}": summary_of([row for row in part if row.kind == kind])
        for kind in KINDS
        for name, part in (("all", rows), ("without ambiguous slices", clear))
    }
    shares = {one.case: one.inside for one in judged if one.kind == "T1W" and one.inside}
    return {
        "studies": studies,
        "refused": rejected,
        "against lines": {name: one for name, one in tables.items() if one},
        "causes": causes_table(rows),
        "inside the experts' region": inside_summary(shares) if shares else {},
        "oedema": [_oedema_row(one) for one in judged if one.oedema_ml],
        "per scan": [one.summary for one in judged],
    }


def inside_summary(shares: Mapping[str, Sequence[float]]) -> dict[str, Any]:
    """How many contours lie inside the experts' region, in percent with intervals over patients.

    Parameters
    ----------
    shares
        Of each contour's length inside the region, by case.
    """
    subjects = [n for n, of_case in enumerate(shares.values()) for _ in of_case]
    values = np.array([share for of_case in shares.values() for share in of_case])
    resampling = Resampling.of(range(len(shares)))
    result: dict[str, Any] = {"contours": len(values), "patients": len(shares)}
    for least in (0.95, 0.7):
        one = share_estimate(values >= least, np.ones(len(values), bool), subjects, resampling)
        result[f"with {least:.0%} or more of their length inside, %"] = _percent(one)
    return result


def _oedema_row(judged: JudgedScan) -> dict[str, Any]:
    return {
        "scan": judged.name,
        "outlines": len(judged.oedema_ml),
        "median volume, ml": round(float(np.median(judged.oedema_ml)), 1),
        "in the lesion regions": f"{np.median(judged.covered):.0%}",
    }


def _percent(one: Estimate) -> list[float]:
    return [round(100 * value, 1) for value in (one.value, one.low, one.high)]


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
        result[f"{name}, %"] = _percent(one)
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
    """The numbers as Markdown; without lines, masks or outlines their tables are left out."""
    inside = numbers["inside the experts' region"]
    tables = [
        f"{numbers['network']}: {numbers['studies']} scans or pairs, "
        f"{numbers['refused']} rejected.",
        table_of("against hand-drawn lines", numbers["against lines"]),
        table_of("inside the experts' region", {"T1W": inside} if inside else {}),
        numbers["causes"],
        _records(numbers.get("oedema", [])),
        _records(numbers.get("per scan", [])),
    ]
    return "\n\n".join(table for table in tables if table) + "\n"


def _records(rows: Sequence[Mapping[str, Any]]) -> str:
    return markdown(list(rows[0]), ([*one.values()] for one in rows)) if rows else ""


def table_of(title: str, tables: Mapping[str, Mapping[str, Any]]) -> str:
    """Summaries side by side as a table in Markdown."""
    if not tables:
        return ""
    names = next(iter(tables.values()))
    rows = ([name, *(cell(table[name]) for table in tables.values())] for name in names)
    return markdown([title, *tables], rows)


def cell(value: object) -> str:
    """A number, or a number with its interval, as a cell of a table."""
    if isinstance(value, list):
        return f"{value[0]} ({value[1]} to {value[2]})"
    return str(value)
