"""The visits of a trial, drawn once and kept: squares, true grades, and what a network sees there.

Whatever is there already is left as it is, so that work which was stopped goes on where it was.
"""

import multiprocessing
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from models.findings import HEADS, POSITIONS, Side
from models.lesion_resnet34 import WHOLE_ZONE, LesionResNet34, Pooling
from models.roi import RoiRules
from models.weights import LoadedNetwork
from trainer.phantom.case import make_case
from trainer.phantom.simulated_readers import contrasts
from trainer.phantom.trials import Trial, Visit, visits_of
from trainer.prepared_cases import GREY_PER_UNIT, joint_squares

SEQUENCES = ("t1", "stir")


@dataclass(frozen=True, eq=False)
class TrialJoints:
    """The joints of a trial that both sequences show, visit by visit, right before left.

    Parameters
    ----------
    features
        What the encoder sees of T1 and STIR in each zone, float32, ``(joints, 2, zones, n)``.
    logits
        What the network's own heads say, ``(joints, 14)``; they learnt from true labels.
    severity
        True Berlin grades, int8, ``(joints, 14)``.
    contrast
        How clearly each lesion shows, ``(joints, 14)``.
    patient, week
        ``(joints,)``.
    left
        Whether it is the patient's left joint, ``(joints,)``.
    """

    features: NDArray[np.float32]
    logits: NDArray[np.float32]
    severity: NDArray[np.int8]
    contrast: NDArray[np.float64]
    patient: NDArray[np.int64]
    week: NDArray[np.int64]
    left: NDArray[np.bool_]

    @property
    def present(self) -> NDArray[np.bool_]:
        """The latent truth: a Berlin grade of 1 or more."""
        return self.severity >= 1


def draw_visits(trial: Trial, folder: Path, rules: RoiRules, processes: int = 1) -> int:
    """Draw every visit that is not kept yet; how many were drawn.

    Parameters
    ----------
    folder
        Of all trials; each has a folder of its own in it.
    """
    home = folder / trial.name
    home.mkdir(parents=True, exist_ok=True)
    tasks = [(v, home, rules) for v in visits_of(trial) if not _path(home, v).exists()]
    if not tasks:
        return 0
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        for number, _ in enumerate(pool.imap_unordered(_draw, tasks), 1):
            if number % 20 == 0:
                print(f"{trial.name}: {number} of {len(tasks)} visits drawn", flush=True)
    return len(tasks)


def _path(home: Path, visit: Visit) -> Path:
    return home / f"{visit.seed:07d}.npz"


def _draw(task: tuple[Visit, Path, RoiRules]) -> None:
    visit, home, rules = task
    torch.set_num_threads(1)
    case = make_case(visit.seed, visit.options)
    squares = {f"{s}_{side}": roi for (s, side), roi in joint_squares(case, rules).items()}
    severity = np.array([case.severity[position] for position in POSITIONS], np.int8)
    _write(_path(home, visit), squares | {"severity": severity, "contrast": contrasts(case)})


def _write(path: Path, arrays: dict[str, NDArray[np.generic]]) -> None:
    """A half-written file never carries its name."""
    partial = path.with_suffix(".partial")
    with partial.open("wb") as file:
        np.savez(file, allow_pickle=False, **arrays)
    partial.rename(path)


def seen_joints(trial: Trial, folder: Path, encoder: LoadedNetwork) -> TrialJoints:
    """What a network's encoder sees of the visits that `draw_visits` kept.

    Parameters
    ----------
    encoder
        A lesion network; what it sees is kept under the digest of its weights.

    Raises
    ------
    FileNotFoundError
        If a visit was not drawn.
    TypeError
        If `encoder` is no lesion network.
    """
    if not isinstance(encoder.network, LesionResNet34):
        raise TypeError(f"{encoder.card.name} is no lesion network")
    home, visits = folder / trial.name, visits_of(trial)
    cache = home / encoder.card.sha256[:12]
    cache.mkdir(exist_ok=True)
    seen = np.concatenate([_seen(encoder.network, _path(home, v), _path(cache, v)) for v in visits])
    whole = np.isfinite(seen).all(axis=(1, 2, 3))
    severity, contrast = _truth(home, visits)
    each = len(Side)
    return TrialJoints(
        seen[whole],
        _own_logits(encoder.network, seen[whole]),
        severity[whole],
        contrast[whole],
        np.repeat([visit.patient for visit in visits], each)[whole],
        np.repeat([visit.week for visit in visits], each)[whole],
        np.tile([side is Side.LEFT for side in Side], len(visits))[whole],
    )


def _own_logits(network: LesionResNet34, seen: NDArray[np.float32]) -> NDArray[np.float32]:
    with torch.inference_mode():
        logits: torch.Tensor = network(*torch.from_numpy(seen).unbind(dim=1))
    return np.asarray(logits.numpy(), np.float32)


def _truth(home: Path, visits: Sequence[Visit]) -> tuple[NDArray[np.int8], NDArray[np.float64]]:
    severity, contrast = [], []
    for visit in visits:
        with np.load(_path(home, visit)) as kept:
            severity.append(kept["severity"].reshape(-1, len(HEADS)))
            contrast.append(kept["contrast"].reshape(-1, len(HEADS)))
    return np.concatenate(severity), np.concatenate(contrast)


def _seen(network: LesionResNet34, visit: Path, cached: Path) -> NDArray[np.float32]:
    """Both joints of a visit, ``(2, 2, zones, n)``; NaN where a sequence does not show one."""
    if not cached.exists():
        with np.load(visit) as kept:
            names = [[f"{sequence}_{side}" for sequence in SEQUENCES] for side in Side]
            described = [[_described(network, kept.get(name)) for name in row] for row in names]
        _write(cached, {"features": np.array(described, np.float32)})
    with np.load(cached) as kept:
        return np.asarray(kept["features"])


def _described(network: LesionResNet34, roi: NDArray[np.uint8] | None) -> NDArray[np.float32]:
    if roi is None:
        zones = WHOLE_ZONE + 1 if network.architecture.pooling is Pooling.ZONES else 1
        return np.full((zones, network.architecture.embedding), np.nan, np.float32)
    stack = torch.from_numpy(roi)
    present = torch.ones(1, stack.shape[1], dtype=torch.bool)
    # As in training: bfloat16 is several times faster and alters a description by parts in 10,000.
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        seen = network.encode(stack[:1].float() / GREY_PER_UNIT, stack[1:], present)
    return np.asarray(seen[0].float().numpy(), np.float32)
