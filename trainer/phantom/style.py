"""Style: domain randomisation of the phantom, from plausible to deliberately unrealistic.

Networks trained on one way of drawing overfit to it. A style varies the drawing: it omits tissues,
flattens or roughens them, deforms and widens joints, and changes contrasts. The truth holds in
every style: contours lie on the drawn joint, and grades reflect what is drawn.
"""

from dataclasses import dataclass

import numpy as np

STYLES = ("plain", "plausible", "randomised", "any")
PLAUSIBLE_SHARE = 0.4
"""Share of plausible cases in style "any"."""

BODIES = ("oval", "box", "ellipse", "none")
CONTRASTS = ("physics", "ordered", "free")
"""Signals from two-pool physics; random in an order that keeps lesions readable; or arbitrary."""
FORMS = ("lumpy", "blob", "band", "sheet")
"""Lumps, ellipsoids, a layer of constant depth along part of the joint, or along all of it."""
PIT_FILLINGS = ("inflamed erosion", "fluid", "cartilage")
BRIDGES = ("patches", "whole part", "storey")
"""Scattered; one connected part; everything between two heights, from front to back."""


@dataclass(frozen=True)
class Look:
    """Appearance: which tissues are drawn, and how finely.

    Parameters
    ----------
    texture
        Factor on fine and coarse texture.
    edge
        Factor on the blur width of borders.
    body
        Outline of the patient: one of `BODIES`; "none" fills the image.
    dropped
        Tissues that are omitted.
    """

    texture: float = 1.0
    edge: float = 1.0
    body: str = "oval"
    seams: bool = True
    cavity_fat: bool = True
    ligaments: bool = True
    canal: bool = True
    foramina: bool = True
    remnant: bool = True
    lumbar: bool = True
    hip: bool = True
    skin: bool = True
    dropped: tuple[str, ...] = ()


@dataclass(frozen=True)
class Shape:
    """Deformation of a pelvis; None keeps the sampled anatomy.

    Parameters
    ----------
    half_width_mm, slope, slope_depth, bow_mm
        Of both joints' midsurfaces; slope is the tangent of the angle to the vertical.
    ripple
        Factor on the joints' surface waves.
    curve_mm, curve_per_mm
        Amplitude and frequency of one long S-shaped wave.
    size
        Factor on the lengths of both limbs of the auricular surface.
    asymmetry
        Additional difference between the sides.
    wing_mm, crest_mm
        Thickness and height of the iliac wing.
    sacrum_front_mm, sacrum_back_mm, endplate_mm
        Extent of the sacrum.
    floor_mm, tip_mm
        Lower end of the ilium beside the notch, and of the sacrum.
    parting
        Factor on how fast the bones diverge beyond the cartilage.
    unevenness
        Of the marrow; 0 is uniform.
    """

    half_width_mm: float | None = None
    slope: float | None = None
    slope_depth: float | None = None
    bow_mm: float | None = None
    ripple: float = 1.0
    curve_mm: float = 0.0
    curve_per_mm: float = 0.1
    size: float = 1.0
    asymmetry: float = 0.0
    space_mm: float | None = None
    cortex_mm: float | None = None
    wing_mm: float | None = None
    crest_mm: float | None = None
    sacrum_front_mm: float | None = None
    sacrum_back_mm: float | None = None
    endplate_mm: float | None = None
    floor_mm: float = 0.0
    tip_mm: float | None = None
    parting: float = 1.0
    unevenness: float | None = None
    accessory_joint: tuple[bool, bool] = (False, False)
    iliosacral_complex: tuple[bool, bool] = (False, False)


@dataclass(frozen=True)
class LesionStyle:
    """Appearance of lesions.

    Parameters
    ----------
    forms
        Of oedema and fatty lesion, from `FORMS`; one is chosen per lesion.
    sclerosis_forms
        Likewise.
    least_opacity
        Lowest opacity of graded lesions.
    edge_mm
        Width of lesion borders; None samples 1.5 to 5 mm.
    widest_pit_mm
        Largest radius of an erosion.
    pit_fillings
        Tissues that fill erosions; one is chosen per quadrant, or fat.
    bridges
        Of ankylosis, from `BRIDGES`; one is chosen per joint.
    bridge_mm
        Depth of the bridge beyond the cortex; below 0 a line of cortex remains.
    mechanical
        Whether to add a small mechanical subchondral oedema.
    """

    forms: tuple[str, ...] = ("lumpy",)
    sclerosis_forms: tuple[str, ...] = ("lumpy",)
    least_opacity: float = 0.0
    edge_mm: float | None = None
    widest_pit_mm: float = 3.4
    pit_fillings: tuple[str, ...] = ("inflamed erosion",)
    bridges: tuple[str, ...] = ("patches",)
    bridge_mm: float = 0.6
    confluent: bool = False
    mechanical: bool = False


@dataclass(frozen=True)
class Style:
    """The style of one case.

    Parameters
    ----------
    name
        "plain", "plausible" or "randomised".
    contrast
        One of `CONTRASTS`.
    contrast_jitter
        Standard deviation of the log signal of each tissue.
    """

    name: str = "plain"
    look: Look = Look()
    shape: Shape = Shape()
    lesions: LesionStyle = LesionStyle()
    contrast: str = "physics"
    contrast_jitter: float = 0.05

    @property
    def lesions_readable(self) -> bool:
        """Whether lesion contrasts keep the order that defines them."""
        return self.contrast != "free"


PLAIN = Style()


def sample_style(rng: np.random.Generator, name: str) -> Style:
    """Sample a style of one of the kinds in `STYLES`.

    Raises
    ------
    ValueError
        If the name is unknown.
    """
    if name not in STYLES:
        raise ValueError(f"style must be one of {', '.join(STYLES)}, not {name!r}")
    if name == "plain":
        return PLAIN
    if name == "any":
        name = "plausible" if rng.random() < PLAUSIBLE_SHARE else "randomised"
    return _plausible(rng) if name == "plausible" else _randomised(rng)


def _odds(rng: np.random.Generator, share: float) -> bool:
    return bool(rng.random() < share)


def _either(rng: np.random.Generator, low: float, high: float, odds: float = 1.0) -> float | None:
    return float(rng.uniform(low, high)) if _odds(rng, odds) else None


ACCESSORY_SHARE, COMPLEX_SHARE = 0.17, 0.09
"""Prevalence of an accessory joint and of an iliosacral complex, often bilateral."""


def _sides(rng: np.random.Generator, share: float) -> tuple[bool, bool]:
    """Sample the sides (right, left) of a variant with this prevalence."""
    if not _odds(rng, share):
        return (False, False)
    pairs = ((True, True), (True, False), (False, True))
    return pairs[int(rng.choice(3, p=[0.5, 0.25, 0.25]))]


def _plausible(rng: np.random.Generator) -> Style:
    return Style(
        name="plausible",
        look=Look(texture=float(rng.uniform(0.6, 1.2))),
        shape=Shape(
            accessory_joint=_sides(rng, ACCESSORY_SHARE),
            iliosacral_complex=_sides(rng, COMPLEX_SHARE),
        ),
        lesions=_lesion_style(rng, 0.6),
        contrast_jitter=float(rng.uniform(0.03, 0.1)),
    )


def _lesion_style(rng: np.random.Generator, lumpy: float) -> LesionStyle:
    forms = ("lumpy",) if _odds(rng, lumpy) else ("lumpy", "blob", "band")
    forms = forms if _odds(rng, 0.8) else ("blob",)
    return LesionStyle(
        forms=forms,
        sclerosis_forms=(*forms, "sheet"),
        least_opacity=float(rng.uniform(0.3, 0.95)) if _odds(rng, 0.6) else 0.0,
        edge_mm=_either(rng, 0.6, 5, 0.6),
        widest_pit_mm=float(rng.uniform(2.5, 5.5)),
        confluent=_odds(rng, 0.2),
        mechanical=_odds(rng, 0.2),
        pit_fillings=PIT_FILLINGS,
        bridges=BRIDGES,
        bridge_mm=float(rng.uniform(-0.3, 1.2)),
    )


def _randomised(rng: np.random.Generator) -> Style:
    flat = _odds(rng, 0.3)
    return Style(
        name="randomised",
        look=_random_look(rng, flat),
        shape=_random_shape(rng, flat),
        lesions=_lesion_style(rng, 0.25),
        contrast=str(rng.choice(CONTRASTS, p=[0.35, 0.35, 0.3])),
        contrast_jitter=float(rng.uniform(0.05, 0.3)),
    )


def _random_look(rng: np.random.Generator, flat: bool) -> Look:
    crude = rng.choice([0.15, 0.45, 0.9], p=[0.45, 0.35, 0.2])
    kept = {
        name: not _odds(rng, crude)
        for name in ("seams", "cavity_fat", "ligaments", "canal", "foramina", "remnant", "lumbar")
    }
    kinds = ("bowel", "gas", "fluid", "vessel", "muscle", "red marrow", "yellow marrow")
    return Look(
        texture=0.0 if flat else float(rng.uniform(0.2, 2.2)),
        edge=float(np.exp(rng.uniform(np.log(0.5), np.log(3.5)))),
        body=str(rng.choice(BODIES, p=[0.5, 0.15, 0.2, 0.15])),
        hip=not _odds(rng, crude),
        skin=not _odds(rng, crude),
        dropped=tuple(kind for kind in (*kinds, "sclerosis") if _odds(rng, crude)),
        **kept,
    )


def _random_shape(rng: np.random.Generator, flat: bool) -> Shape:
    half_width = float(rng.uniform(27, 60))
    steepest = min(0.8, (half_width - 12) / 42)
    bent = _odds(rng, 0.4)
    return Shape(
        half_width_mm=half_width,
        slope=float(rng.uniform(-0.08, steepest)),
        slope_depth=_either(rng, -0.5, 0.15, 0.6),
        bow_mm=_either(rng, -5, 6, 0.6),
        ripple=float(rng.choice([0.0, 1.0, rng.uniform(0, 2.2)], p=[0.4, 0.2, 0.4])),
        curve_mm=float(rng.uniform(-4.5, 4.5)) if bent else 0.0,
        curve_per_mm=float(rng.uniform(0.05, 0.13)),
        size=float(rng.uniform(0.65, 1.25)),
        asymmetry=float(rng.uniform(0, 1)) if _odds(rng, 0.3) else 0.0,
        space_mm=_either(rng, 0.8, 6, 0.7),
        cortex_mm=_either(rng, 0.0, 2.8, 0.7),
        wing_mm=_either(rng, 7, 42, 0.7),
        crest_mm=_either(rng, 38, 115, 0.7),
        sacrum_front_mm=_either(rng, -48, -26, 0.6),
        sacrum_back_mm=_either(rng, 20, 45, 0.6),
        endplate_mm=_either(rng, 26, 60, 0.6),
        floor_mm=float(rng.uniform(-90, 6)) if _odds(rng, 0.4) else 0.0,
        tip_mm=_either(rng, -95, -36, 0.4),
        parting=float(rng.choice([1.0, rng.uniform(0.3, 3)])),
        unevenness=0.0 if flat else _either(rng, 0, 0.8, 0.6),
        accessory_joint=_sides(rng, ACCESSORY_SHARE),
        iliosacral_complex=_sides(rng, COMPLEX_SHARE),
    )
