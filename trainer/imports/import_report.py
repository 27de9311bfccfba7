"""What an import made of each case: geometry, sides, labels, and what is left out and why.

``import_report.md`` lies beside the prepared cases, with an overlay picture of every series.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.case_file import Case, CaseFileInvalid, CaseSeries
from models.findings import Side
from trainer.imports.agreement import agreement_tables
from trainer.markdown_table import markdown
from trainer.overlay_sheets import write_sheet

REPORT = "import_report.md"
OVERLAYS = "overlays"
BOTH_SIDES_MM = 40.0
"""Contours further apart than this, from left to right, belong to both joints."""

AGREEMENT = """## Agreement

Cohen's kappa of present (score 1 or more) and absent. A network that learns from these readings
cannot be expected to agree with a reader better than readers agree with each other."""

HEAD = """# Import report

Check the pictures: contours (red) must follow the joints, and images must show them upright."""


def check_sides(case: Case, path: Path) -> None:
    """Check that contours lie on the side that they name.

    Raises
    ------
    CaseFileInvalid
        If one lies on the other side of the middle between both joints.
    """
    for one in case.series:
        across_mm = np.array([x for _, x in _across_mm(one)])
        if not len(across_mm) or np.ptp(across_mm) <= BOTH_SIDES_MM:
            continue
        middle_mm = (across_mm.min() + across_mm.max()) / 2
        for side, x in _across_mm(one):
            if (x > middle_mm) != (side is Side.LEFT):
                raise CaseFileInvalid(
                    f"{path}: in series {one.kind} a contour of the {side} joint lies on the "
                    "patient's other side; left and right are the patient's: correct the sides"
                )


def _across_mm(one: CaseSeries) -> Iterator[tuple[Side, float]]:
    """Side and mean x of every contour; x increases to the patient's left."""
    for contour in one.delineation.contours if one.delineation else ():
        at = one.volume.to_patient(np.insert(contour.points, 0, contour.slice_index, axis=1))
        yield contour.side, float(at[:, 0].mean())


def left_out_contours(one: CaseSeries) -> str:
    """Why a series does not train the contour network; empty if it does.

    Contours of one joint alone would teach that the other one is absent.
    """
    if one.delineation is None:
        return "no contours"
    sides = {contour.side for contour in one.delineation.contours}
    return f"contours on the {sides.pop()} only" if len(sides) == 1 else ""


def left_out_lesions(case: Case) -> str:
    """Why a case does not train the lesion network; empty if it does."""
    missing = [kind for kind in ("T1", "STIR") if case.of_kind(kind) is None]
    missing += [] if case.readings else ["readings"]
    return f"no {' and no '.join(missing)}" if missing else ""


class ImportReport:
    """Collects the rows of the report, and writes it with its pictures."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._series: list[list[object]] = []
        self._cases: list[list[object]] = []
        self._readings: list[NDArray[np.int8]] = []

    def add(self, number: int, case: Case, readings: NDArray[np.int8]) -> None:
        """Add a case, and write its overlay pictures.

        Parameters
        ----------
        readings
            0, 1 or MISSING, ``(28, readers, sessions)`` of all the site's cases.
        """
        self._readings.append(readings)
        for one in case.series:
            self._series.append([number, *_described(one), left_out_contours(one) or "–"])
            if one.delineation is not None:
                name = f"{number:06d}_{one.kind.replace(' ', '_')}.png"
                write_sheet(one.volume, one.delineation, {}, self._folder / OVERLAYS / name)
        readers = len({reading.reader for reading in case.readings})
        agreed, positive = case.agreed(), sum(case.agreed().values())
        reason = left_out_lesions(case) or "–"
        self._cases.append([number, readers, len(case.readings), len(agreed), positive, reason])

    def write(
        self, readers: Sequence[str], sessions: Sequence[int], subjects: Sequence[str]
    ) -> Path:
        """Write the report; the readers' agreement is part of it where positions were read twice.

        Parameters
        ----------
        subjects
            Of each case.
        """
        series = ["case", "series", "slices × rows × columns", "spacing, mm", "slice normal (LPS)",
                  "contours right", "contours left", "not used for contours"]  # fmt: skip
        cases = ["case", "readers", "readings", "positions with a consensus", "positive",
                 "not used for lesions"]  # fmt: skip
        parts = [HEAD, "## Series", markdown(series, self._series),
                 "## Readings", markdown(cases, self._cases)]  # fmt: skip
        agreement = agreement_tables(np.stack(self._readings), readers, sessions, subjects)
        parts += [AGREEMENT, agreement] if agreement else []
        path = self._folder / REPORT
        path.write_text("\n\n".join(parts) + "\n", encoding="utf-8")
        return path


def _described(one: CaseSeries) -> list[object]:
    normal = one.volume.affine[:3, 0] / np.linalg.norm(one.volume.affine[:3, 0])
    counts = [len(one.delineation.of(side)) if one.delineation else 0
              for side in (Side.RIGHT, Side.LEFT)]  # fmt: skip
    return [
        one.kind,
        " × ".join(str(size) for size in one.volume.voxels.shape),
        " × ".join(f"{mm:.2f}" for mm in one.volume.spacing_mm),
        ", ".join(f"{part:.2f}" for part in normal),
        *counts,
    ]
