"""Negative examples: other body regions, or nothing, on which no joint may be found.

Knees, heads, hips, sagittal spines and axial pelves are built from a few solid shapes. They need
not be realistic, only different from a sacroiliac joint and from one another.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from trainer.phantom.anatomy import Grid
from trainer.phantom.paint import Picture, Signals, blend, ramp
from trainer.phantom.scanner import Slab, Texture, painted_size

Point = tuple[float, float, float]


@dataclass(frozen=True)
class Solid:
    """One shape in the frame of the slab: (depth, down, across) in mm from its centre.

    Parameters
    ----------
    kind
        "ellipsoid", "box" or "shaft"; a shaft is a rounded box, like a long bone.
    radii
        Half extents along depth, down and across before rotation.
    angle_rad
        Rotation in the image plane, from down towards across.
    shell_mm
        Thickness of the cortex; 0 for none.
    """

    tissue: str
    kind: str
    centre: Point
    radii: Point
    angle_rad: float = 0.0
    shell_mm: float = 0.0

    def inside(self, depth: float, down: Grid, across: Grid) -> Grid:
        """Approximate signed distance to the border in mm, positive inside."""
        z, r, c = depth - self.centre[0], down - self.centre[1], across - self.centre[2]
        cos, sin = np.float32(np.cos(self.angle_rad)), np.float32(np.sin(self.angle_rad))
        along, aside = cos * r + sin * c, cos * c - sin * r
        deep, high, wide = self.radii
        if self.kind == "box":
            box: Grid = np.minimum(high - np.abs(along), wide - np.abs(aside))
            return np.minimum(box, np.float32(deep - abs(z)))
        if self.kind == "shaft":
            round_: Grid = (1 - np.sqrt((z / deep) ** 2 + (aside / wide) ** 2)) * wide
            return np.minimum(round_, high - np.abs(along))
        radius = np.sqrt((z / deep) ** 2 + (along / high) ** 2 + (aside / wide) ** 2)
        ball: Grid = (1 - radius) * np.float32(min(self.radii))
        return ball


def _uniform(rng: np.random.Generator, low: float, high: float) -> float:
    return float(rng.uniform(low, high))


def _knee(rng: np.random.Generator) -> list[Solid]:
    leg = _uniform(rng, 45, 75)
    gap = _uniform(rng, 2, 4)
    bones = [
        Solid("yellow marrow", "shaft", (0, -70, 0), (16, 65, 15), 0, 2),
        Solid("marrow", "ellipsoid", (0, -18 - gap, -20), (28, 22, 22), 0, 1.2),
        Solid("marrow", "ellipsoid", (0, -18 - gap, 20), (28, 22, 22), 0, 1.2),
        Solid("marrow", "box", (0, -28, 0), (24, 14, 34), 0, 0),
        Solid("marrow", "box", (0, 12 + gap, 0), (26, 12, 38), 0, 1.2),
        Solid("yellow marrow", "shaft", (0, 70, 0), (15, 65, 15), 0, 2),
        Solid("yellow marrow", "shaft", (-10, 75, 34), (6, 60, 6), 0, 1.5),
    ]
    menisci = [Solid("cortex", "box", (0, 0, x), (20, 2.5, 9)) for x in (-28, 28)]
    return [
        Solid("fat", "shaft", (0, 0, 0), (leg + 12, 300, leg + 12)),
        Solid("muscle", "shaft", (0, -80, 0), (leg, 90, leg)),
        Solid("muscle", "shaft", (0, 90, 0), (leg - 4, 90, leg - 4)),
        *bones,
        *menisci,
    ]


def _head(rng: np.random.Generator) -> list[Solid]:
    wide, high = _uniform(rng, 62, 75), _uniform(rng, 70, 95)
    folds = [
        Solid(
            "fluid",
            "shaft",
            (_uniform(rng, -50, 50), high * 0.85 * np.cos(a), wide * 0.85 * np.sin(a)),
            (40, _uniform(rng, 6, 16), 1.6),
            -a,
        )
        for a in rng.uniform(0, 2 * np.pi, 30)
    ]
    slant = _uniform(rng, 0.2, 0.7)
    ventricles = [
        Solid("fluid", "ellipsoid", (0, -8, side * 10), (35, 22, 5), side * slant)
        for side in (-1, 1)
    ]
    return [
        Solid("fat", "ellipsoid", (0, 0, 0), (100, high + 10, wide + 10)),
        Solid("cortex", "ellipsoid", (0, 0, 0), (95, high + 5, wide + 5)),
        Solid("muscle", "ellipsoid", (0, 0, 0), (90, high, wide)),
        Solid("bowel", "ellipsoid", (0, 0, 0), (80, high * 0.82, wide * 0.82)),
        *folds,
        *ventricles,
        Solid("fluid", "box", (0, -30, 0), (90, high * 0.5, 1.2)),
        Solid("muscle", "box", (0, high + 40, 0), (40, 45, 40)),
    ]


def _back(rng: np.random.Generator) -> list[Solid]:
    """A sagittal lumbar spine."""
    high, deep = _uniform(rng, 12, 16), _uniform(rng, 15, 20)
    bend = _uniform(rng, 0.1, 0.35)
    column: list[Solid] = []
    for number in range(-4, 5):
        down = number * (2 * high + 9)
        across = 12 * np.sin(bend * number)
        angle = bend * 0.7 * np.cos(bend * number)
        radii = (22.0, high, deep)
        column.append(Solid("disc", "box", (0, down + high + 4, across), (22, 5, deep), angle))
        column.append(Solid("marrow", "box", (0, down, across), radii, angle, 1))
        spine = (0.0, down + 8, across + deep + 32)
        column.append(Solid("marrow", "box", spine, (4, 8, 16), 0.3, 1))
    return [
        Solid("fat", "box", (0, 0, 0), (200, 300, _uniform(rng, 95, 130))),
        Solid("muscle", "box", (0, 0, 55), (200, 300, 28)),
        Solid("bowel", "box", (0, 0, -65), (200, 300, 40)),
        Solid("fluid", "box", (0, 0, deep + 10), (9, 300, 7)),
        *column,
    ]


def _hips(rng: np.random.Generator) -> list[Solid]:
    apart = _uniform(rng, 75, 95)
    found = [
        Solid("fat", "box", (0, 0, 0), (150, 300, apart + 75)),
        Solid("muscle", "box", (0, 0, 0), (150, 300, apart + 55)),
        Solid("fluid", "ellipsoid", (0, -5, 0), (35, 30, 40)),
    ]
    for side in (-1, 1):
        ball = _uniform(rng, 22, 27)
        found += [
            Solid("marrow", "shaft", (0, -60, side * (apart - 5)), (12, 50, 12), side * 0.5, 1.5),
            Solid("marrow", "ellipsoid", (0, -4, side * apart), (36, 36, 36), 0, 1.5),
            Solid("cartilage", "ellipsoid", (0, 0, side * apart), (ball + 2, ball + 2, ball + 2)),
            Solid("yellow marrow", "ellipsoid", (0, 0, side * apart), (ball, ball, ball), 0, 1),
            Solid("marrow", "shaft", (0, 22, side * (apart + 22)), (13, 26, 13), side * 0.8, 1.5),
            Solid("yellow marrow", "shaft", (0, 110, side * (apart + 34)), (15, 80, 15), 0, 3),
            Solid("marrow", "shaft", (0, 45, side * 30), (9, 40, 9), side * 1.1, 1.5),
        ]
    return found


def _from_below(rng: np.random.Generator) -> list[Solid]:
    """An axial pelvis."""
    wide, deep = _uniform(rng, 140, 185), _uniform(rng, 90, 125)
    skin = _uniform(rng, 8, 30)
    found = [
        Solid("fat", "ellipsoid", (0, 0, 0), (500, deep, wide)),
        Solid("muscle", "ellipsoid", (0, 0, 0), (480, deep - skin, wide - skin)),
        Solid("fat", "ellipsoid", (0, -30, 0), (300, 45, 62)),
        Solid("marrow", "ellipsoid", (0, 45, 0), (60, 26, 46), 0, 1.2),
        Solid("fluid", "ellipsoid", (0, 62, 0), (60, 5, 9)),
    ]
    for side in (-1, 1):
        at = (0.0, 20.0, side * _uniform(rng, 64, 78))
        found.append(Solid("marrow", "shaft", at, (60, 52, 9), -side * 0.5, 1.5))
    loops = [
        Solid(
            str(rng.choice(["bowel", "gas", "fluid"])),
            "ellipsoid",
            (0, _uniform(rng, -65, 5), _uniform(rng, -60, 60)),
            (60, _uniform(rng, 6, 20), _uniform(rng, 6, 20)),
        )
        for _ in range(12)
    ]
    return found + loops


def _ellipses(rng: np.random.Generator) -> list[Solid]:
    tissues = ["muscle", "fat", "marrow", "fluid", "cortex", "bowel", "vessel", "disc"]
    kinds = ["ellipsoid", "box", "shaft"]
    return [
        Solid(
            str(rng.choice(tissues)),
            str(rng.choice(kinds)),
            (_uniform(rng, -40, 40), _uniform(rng, -100, 100), _uniform(rng, -100, 100)),
            (_uniform(rng, 10, 60), _uniform(rng, 3, 80), _uniform(rng, 3, 80)),
            _uniform(rng, -1.6, 1.6),
            float(rng.choice([0.0, 0.0, 1.5])),
        )
        for _ in range(int(rng.integers(2, 40)))
    ]


def _nothing(_: np.random.Generator) -> list[Solid]:
    return []


PLACES: dict[str, Callable[[np.random.Generator], list[Solid]]] = {
    "knee": _knee,
    "head": _head,
    "back": _back,
    "hips": _hips,
    "from below": _from_below,
    "ellipses": _ellipses,
    "nothing": _nothing,
}
"""Other regions by name."""


def other_region_slices(
    rng: np.random.Generator,
    place: str,
    signals: Signals,
    slab: Slab,
    texture: Texture,
    step_mm: float,
) -> Picture:
    """Ideal slices of another region, ``(slices, points, points)``, complex like `signals`.

    Parameters
    ----------
    rng
        Use the same seed for both sequences, so that both show the same anatomy.
    place
        A key of `PLACES`.
    """
    solids = PLACES[place](rng)
    size, scale = _uniform(rng, 0.6, 1.3), rng.uniform(0.3, 1.5)
    lean, moved = _uniform(rng, -0.25, 0.25), rng.normal(0, 12, 2)
    points = painted_size(slab.field_of_view_mm, step_mm)
    step = slab.field_of_view_mm / points
    along = ((np.arange(points) - (points - 1) / 2) * step).astype(np.float32)
    cos, sin = np.float32(np.cos(lean)), np.float32(np.sin(lean))
    down = (cos * along[:, None] - sin * along[None, :] + np.float32(moved[0])) / np.float32(size)
    across = (sin * along[:, None] + cos * along[None, :] + np.float32(moved[1])) / np.float32(size)
    slices = []
    for offset in slab.offsets_mm():
        coarse, fine = texture.at(offset, along)
        ragged = np.float32(1.5 * scale) * coarse + np.float32(0.4 * scale) * fine
        image = np.zeros((points, points), np.complex64)
        for solid in solids:
            inside = solid.inside(float(offset) / size, down, across) * np.float32(size) + ragged
            if solid.shell_mm:
                blend(image, signals["cortex"], ramp(inside + solid.shell_mm, step))
            grain = 1 + np.float32(0.08 * scale) * fine + np.float32(0.2 * scale) * coarse
            blend(image, signals[solid.tissue] * grain, ramp(inside, step))
        slices.append(image)
    return np.stack(slices)
