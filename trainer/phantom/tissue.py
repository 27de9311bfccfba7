"""MR signal of tissues: proton density, fat fraction, relaxation times and signal equations.

A tissue holds two pools, water and fat, whose magnetisations add before the scanner takes the
modulus. Signals are therefore signed; after inversion most water is negative.

Source: two-pool spin echo and inversion recovery equations; relaxation times as published for
1.5 T and 3 T.
"""

from dataclasses import dataclass
from math import exp

FAT_T1_MS = (290.0, 370.0)
FAT_T2_MS = (165.0, 133.0)


@dataclass(frozen=True)
class Tissue:
    """A water and a fat pool; relaxation times at 1.5 T and 3 T."""

    proton_density: float
    fat_fraction: float
    water_t1_ms: tuple[float, float]
    water_t2_ms: tuple[float, float]


@dataclass(frozen=True)
class PulseSequence:
    """Timing of a sequence; `inversion_ms` is None for a spin echo without inversion."""

    field_t: float
    repetition_ms: float
    echo_ms: float
    inversion_ms: float | None = None
    echo_train_ms: float = 100.0


TISSUES: dict[str, Tissue] = {
    "marrow": Tissue(0.90, 0.50, (1050, 1250), (70, 60)),
    "red marrow": Tissue(0.90, 0.28, (1050, 1250), (70, 60)),
    "yellow marrow": Tissue(0.92, 0.74, (1050, 1250), (65, 57)),
    "fatty lesion": Tissue(0.95, 0.88, (1050, 1250), (60, 55)),
    "oedema": Tissue(0.97, 0.15, (1550, 1850), (125, 115)),
    "sclerosis": Tissue(0.30, 0.20, (1000, 1200), (40, 35)),
    "cortex": Tissue(0.05, 0.0, (1000, 1000), (2, 2)),
    "cartilage": Tissue(0.70, 0.0, (1030, 1200), (42, 37)),
    "fluid": Tissue(1.0, 0.0, (3200, 4000), (1200, 900)),
    "vessel": Tissue(1.0, 0.0, (1440, 1930), (250, 150)),
    "inflamed erosion": Tissue(0.95, 0.0, (1500, 1800), (120, 110)),
    "muscle": Tissue(0.80, 0.03, (1010, 1420), (37, 32)),
    "fat": Tissue(1.0, 0.95, (1000, 1200), (40, 35)),
    "ligament": Tissue(0.45, 0.30, (1000, 1200), (25, 22)),
    "disc": Tissue(0.75, 0.0, (1100, 1300), (60, 50)),
    "bowel": Tissue(0.85, 0.05, (1200, 1500), (70, 60)),
    "gas": Tissue(0.02, 0.0, (1000, 1000), (5, 5)),
}


def _pool(sequence: PulseSequence, t1_ms: float, t2_ms: float) -> float:
    decay = exp(-sequence.echo_ms / t2_ms)
    if sequence.inversion_ms is None:
        return (1 - exp(-sequence.repetition_ms / t1_ms)) * decay
    recovery_ms = max(sequence.repetition_ms - sequence.echo_train_ms, 0.0)
    return (1 - 2 * exp(-sequence.inversion_ms / t1_ms) + exp(-recovery_ms / t1_ms)) * decay


def pools(tissue: Tissue, sequence: PulseSequence) -> complex:
    """Signed signals of a tissue: water as the real part, fat as the imaginary part."""
    at = int(sequence.field_t >= 2)
    water = _pool(sequence, tissue.water_t1_ms[at], tissue.water_t2_ms[at])
    fat = _pool(sequence, FAT_T1_MS[at], FAT_T2_MS[at])
    share = tissue.fat_fraction
    return tissue.proton_density * complex((1 - share) * water, share * fat)


def signal(tissue: Tissue, sequence: PulseSequence) -> float:
    """Signed signal of a tissue; the modulus is taken after summation over a voxel.

    Parameters
    ----------
    tissue
        The two pools.
    sequence
        Field strength and timing; 2 T and above count as 3 T.

    Returns
    -------
    float
        Relative to a fully relaxed pool of proton density 1.
    """
    at = int(sequence.field_t >= 2)
    water = _pool(sequence, tissue.water_t1_ms[at], tissue.water_t2_ms[at])
    fat = _pool(sequence, FAT_T1_MS[at], FAT_T2_MS[at])
    mixed = (1 - tissue.fat_fraction) * water + tissue.fat_fraction * fat
    return tissue.proton_density * mixed
