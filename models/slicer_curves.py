"""Curves that were drawn in 3D Slicer: markups in JSON, ``.mrk.json``.

Source: the markups schema of 3D Slicer (coordinate system LPS or RAS, positions in mm).
"""

import json
import re
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.findings import Side

SUFFIX = ".mrk.json"
_OPEN = ("Curve", "Line")
_TO_LPS = {
    "LPS": np.ones(3),
    "RAS": np.array([-1.0, -1.0, 1.0]),
}
_SIDES = {"left": Side.LEFT, "l": Side.LEFT, "right": Side.RIGHT, "r": Side.RIGHT}


class CurvesInvalid(ValueError):
    """A file holds no curves of 3D Slicer that can be used."""


@dataclass(frozen=True, eq=False)
class PatientLine:
    """One line in the patient.

    Parameters
    ----------
    side
        Of the patient; None if nothing says it.
    points
        LPS millimetres, ``(n, 3)``.
    """

    side: Side | None
    points: NDArray[np.float64]


def side_named(text: str) -> Side | None:
    """The side that a name contains as a word, for instance ``SIJ_left`` or ``joint L``.

    Examples
    --------
    >>> side_named("SIJ_left"), side_named("clear")
    (<Side.LEFT: 'left'>, None)
    """
    words = re.findall(r"[a-z]+", re.sub(r"([a-z])([A-Z])", r"\1 \2", text).lower())
    found = {_SIDES[word] for word in words if word in _SIDES}
    return found.pop() if len(found) == 1 else None


def slicer_curves(text: str, name: str) -> tuple[PatientLine, ...]:
    """Every curve of a markups file.

    Parameters
    ----------
    name
        Of the file; its side counts where a curve names none.

    Raises
    ------
    CurvesInvalid
        If the file is not of this kind, or a curve is closed or has fewer than two points.
    """
    try:
        markups = json.loads(text)["markups"]
        return tuple(_line(one, name) for one in markups)
    except (ValueError, KeyError, TypeError) as error:
        if isinstance(error, CurvesInvalid):
            raise
        raise CurvesInvalid(
            f"{name} is not a markups file of 3D Slicer ({type(error).__name__}: {error}); save "
            f"the curves as {SUFFIX}"
        ) from error


def _line(markup: dict[str, Any], name: str) -> PatientLine:
    if markup["type"] not in _OPEN:
        raise CurvesInvalid(
            f"{name} has a markup of type {markup['type']}; draw an open curve along the joint"
        )
    system = markup.get("coordinateSystem", "LPS")
    if system not in _TO_LPS:
        raise CurvesInvalid(f"{name} has coordinates in {system}; save them in LPS or RAS")
    points = [
        point["position"]
        for point in markup["controlPoints"]
        if point.get("positionStatus", "defined") == "defined"
    ]
    placed = np.array(points, dtype=np.float64).reshape(-1, 3) * _TO_LPS[system]
    if len(placed) < 2:
        raise CurvesInvalid(f"{name} has a curve with {len(placed)} points; two are needed")
    labels = [str(point.get("label", "")) for point in markup["controlPoints"][:1]]
    told = (side_named(text) for text in (str(markup.get("name", "")), *labels, name))
    return PatientLine(next((side for side in told if side), None), placed)
