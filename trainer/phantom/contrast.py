"""Contrast: the signal of each tissue in one case, from two-pool physics to arbitrary values.

"ordered" contrasts are not those of a scanner, but lesions remain recognisable: oedema darker
than marrow on T1 and brighter on STIR, a fatty lesion the reverse, sclerosis dark on
both.  "free" contrasts are arbitrary; only the position of the joint can be learnt from them.
"""

import numpy as np

from trainer.phantom.anatomy import Pelvis
from trainer.phantom.style import Style
from trainer.phantom.tissue import TISSUES, PulseSequence, pools, signal

_MARROW_LIKE = ("marrow", "red marrow", "yellow marrow", "fatty lesion", "oedema")
_TRABECULAR = ("marrow", "red marrow", "yellow marrow", "fatty lesion")
_REACH: dict[str, dict[str, tuple[float, float]]] = {
    "t1": {
        "oedema": (0.35, 0.85),
        "fatty lesion": (1.15, 1.7),
        "sclerosis": (0.08, 0.5),
        "inflamed erosion": (0.15, 0.65),
        "cortex": (0.02, 0.3),
        "cartilage": (0.1, 1.3),
        "muscle": (0.2, 0.9),
        "fat": (0.9, 2.0),
        "fluid": (0.1, 0.7),
        "vessel": (0.05, 1.2),
        "ligament": (0.1, 0.9),
        "disc": (0.2, 1.0),
        "bowel": (0.2, 1.2),
        "gas": (0.0, 0.2),
    },
    "stir": {
        "oedema": (1.35, 3.5),
        "fatty lesion": (0.2, 0.8),
        "sclerosis": (0.1, 0.6),
        "inflamed erosion": (1.0, 4.0),
        "cortex": (0.02, 0.4),
        "cartilage": (0.3, 2.5),
        "muscle": (0.3, 1.6),
        "fat": (0.1, 1.0),
        "fluid": (1.8, 6.0),
        "vessel": (0.2, 4.0),
        "ligament": (0.1, 1.0),
        "disc": (0.3, 3.0),
        "bowel": (0.3, 3.0),
        "gas": (0.0, 0.2),
    },
}
"""Signal relative to normal marrow, in a range wider than that of any scanner."""


def sequence_signals(
    rng: np.random.Generator, style: Style, name: str, sequence: PulseSequence, pelvis: Pelvis
) -> dict[str, complex]:
    """Signals of all tissues in one sequence, water real and fat imaginary.

    Parameters
    ----------
    name
        "t1" or "stir".
    """
    if style.contrast == "physics":
        return _by_physics(rng, style.contrast_jitter, sequence, pelvis)
    levels = _ordered(rng, name) if style.contrast == "ordered" else _free(rng)
    return {
        tissue: complex(level * (1 - fat), level * fat)
        for tissue, level in levels.items()
        for fat in (TISSUES[tissue].fat_fraction,)
    }


def plain_signals(
    rng: np.random.Generator, sequence: PulseSequence, dimming: float
) -> dict[str, complex]:
    """Signals of all tissues with jitter, common to marrow and its lesions.

    Trabecular bone dephases marrow on some scanners: `dimming` darkens it on STIR.
    """
    drift = rng.normal(0, 0.05)
    signals: dict[str, complex] = {
        name: signal(tissue, sequence)
        * float(np.exp(rng.normal(0, 0.05) + (drift if name in _MARROW_LIKE else 0)))
        for name, tissue in TISSUES.items()
    }
    return _dimmed(signals, sequence, dimming)


def _dimmed(
    signals: dict[str, complex], sequence: PulseSequence, dimming: float
) -> dict[str, complex]:
    if sequence.inversion_ms is None:
        return signals
    return {k: v * dimming if k in _TRABECULAR else v for k, v in signals.items()}


def _by_physics(
    rng: np.random.Generator, jitter: float, sequence: PulseSequence, pelvis: Pelvis
) -> dict[str, complex]:
    drift = rng.normal(0, jitter)
    lesion_jitter = min(jitter, 0.12)
    signals = {}
    for name, tissue in TISSUES.items():
        spread = lesion_jitter if name in _MARROW_LIKE or name == "sclerosis" else jitter
        level = rng.normal(0, spread) + (drift if name in _MARROW_LIKE else 0)
        signals[name] = pools(tissue, sequence) * float(np.exp(level))
    return _dimmed(signals, sequence, pelvis.marrow_dimming)


def _ordered(rng: np.random.Generator, name: str) -> dict[str, float]:
    marrow = float(rng.uniform(0.3, 1))
    levels = {
        tissue: marrow * float(rng.uniform(low, high))
        for tissue, (low, high) in _REACH[name].items()
    }
    # Red and yellow marrow differ less than marrow and its lesions.
    apart = float(rng.uniform(0, 0.12)) * (1 if name == "t1" else -1)
    return levels | {
        "marrow": marrow,
        "red marrow": marrow * (1 - apart),
        "yellow marrow": marrow * (1 + apart),
    }


def _free(rng: np.random.Generator) -> dict[str, float]:
    levels = {tissue: float(rng.uniform(0.02, 1)) for tissue in TISSUES}
    marrow = levels["marrow"]
    apart = float(rng.uniform(-0.2, 0.2))
    levels |= {"red marrow": marrow * (1 - apart), "yellow marrow": marrow * (1 + apart)}
    if min(abs(levels[t] - marrow) for t in ("cortex", "cartilage")) < 0.15:
        levels["cortex"] = levels["cartilage"] = (marrow + 0.5) % 1
    return levels
