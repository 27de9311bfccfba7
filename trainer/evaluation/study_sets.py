"""Sets of evaluation studies, and cached predictions of both networks.

Predictions are cached per study, so that an interrupted evaluation can resume. A change of
weights, settings or phantom code invalidates the cache.
"""

import hashlib
import json
import multiprocessing
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from models.analyser import Analyser
from models.burden_scores import BurdenName, BurdenScore
from models.findings import Lesion
from models.mri_criteria import Definition
from models.weights import read_card
from trainer.evaluation.end_to_end import StudyPrediction, predict_phantom, predict_second_phantom
from trainer.experiment import ExperimentInvalid
from trainer.metrics.pointing import Pointing
from trainer.phantom.case import PhantomOptions, make_case
from trainer.phantom.second_phantom import make_second_case
from trainer.phantom.trials import Trial, visits_of

NETWORKS = ("contour", "lesion")
SECOND_PHANTOM = "second_phantom"
SECOND_FIRST = 30000
"""Seed of the second phantom's first patient."""
_ROOT = Path(__file__).parents[2]
_DRAWN_BY = (
    "models/*.py",
    "trainer/phantom/*.py",
    "trainer/evaluation/end_to_end.py",
)


@dataclass(frozen=True)
class EvaluationStudy:
    """One study of a set.

    Parameters
    ----------
    seed
        Of the phantom.
    patient
        Patient number within the set.
    week
        Weeks since the patient's first visit.
    options
        Of the phantom; None for the second phantom.
    """

    seed: int
    patient: int
    week: int = 0
    options: PhantomOptions | None = None


@dataclass(frozen=True)
class StudySet:
    """Studies that are evaluated together.

    Parameters
    ----------
    name
        Key on the card.
    studies
        Patient by patient.
    trial
        Trial whose readers read them; None if only the truth is known.
    """

    name: str
    studies: tuple[EvaluationStudy, ...]
    trial: Trial | None = None

    @property
    def patients(self) -> int:
        """Number of patients."""
        return len({study.patient for study in self.studies})


def plausible_set(seeds: Iterable[int]) -> StudySet:
    """The test cases of an experiment, in plausible style."""
    options = PhantomOptions(style="plausible")
    return StudySet("test", tuple(EvaluationStudy(seed, seed, options=options) for seed in seeds))


def second_set(seeds: Iterable[int]) -> StudySet:
    """Patients of the second phantom."""
    return StudySet(SECOND_PHANTOM, tuple(EvaluationStudy(seed, seed) for seed in seeds))


def trial_set(trial: Trial) -> StudySet:
    """All visits of a trial."""
    studies = tuple(EvaluationStudy(v.seed, v.patient, v.week, v.options) for v in visits_of(trial))
    return StudySet(trial.name.replace("-", "_"), studies, trial)


def check_not_trained_on(study_set: StudySet, weights: Path) -> None:
    """Check that no study of the set was used for training or validation of either network.

    Raises
    ------
    ExperimentInvalid
        If one was used.
    """
    seeds = {study.seed for study in study_set.studies if study.options is not None}
    for name in NETWORKS:
        cases = read_card(weights / name).training.get("cases", {})
        for use in ("training", "validation"):
            seen = seeds & set(range(*cases.get(use, (0, 0))))
            if seen:
                raise ExperimentInvalid(
                    f"{study_set.name} contains phantom {min(seen)}, which was used for {use} "
                    f"of the {name} network; evaluate on studies not used for training"
                )


def predictions_on(
    study_set: StudySet, weights: Path, runs: Path, processes: int = 1
) -> list[StudyPrediction]:
    """Predictions of both networks for every study of a set, in order.

    Parameters
    ----------
    weights
        Folder with one subfolder per network.
    runs
        Predictions are cached in its folder ``answers``.
    processes
        Studies analysed in parallel.

    Raises
    ------
    ExperimentInvalid
        See `check_not_trained_on`.
    """
    check_not_trained_on(study_set, weights)
    home = runs / "answers" / fingerprint(weights) / study_set.name
    home.mkdir(parents=True, exist_ok=True)
    missing = [study for study in study_set.studies if not _path(home, study).exists()]
    if missing:
        _predict(missing, home, weights, min(processes, len(missing)))
    return [_read_prediction(_path(home, study)) for study in study_set.studies]


def fingerprint(weights: Path) -> str:
    """Cache key: both networks, their settings, and the phantom code."""
    digest = hashlib.sha256()
    for name in NETWORKS:
        card = read_card(weights / name)
        settings = json.dumps([card.settings, asdict(card.architecture)], sort_keys=True)
        digest.update(f"{card.sha256} {settings}".encode())
    for path in sorted(path for pattern in _DRAWN_BY for path in _ROOT.glob(pattern)):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


def _path(home: Path, study: EvaluationStudy) -> Path:
    return home / f"{study.seed:07d}.json"


def _predict(missing: Sequence[EvaluationStudy], home: Path, weights: Path, processes: int) -> None:
    if processes == 1:
        predictor = _StudyPredictor(home, weights)
        for number, study in enumerate(missing, 1):
            predictor(study)
            _print_progress(home, number, len(missing))
        return
    context = multiprocessing.get_context("spawn")
    with context.Pool(processes, _start_process, (home, weights)) as pool:
        for number, _ in enumerate(pool.imap_unordered(_predict_one, missing), 1):
            _print_progress(home, number, len(missing))


def _print_progress(home: Path, number: int, of: int) -> None:
    if number % 10 == 0 or number == of:
        print(f"{home.name}: {number} of {of} studies analysed", flush=True)


class _StudyPredictor:
    """Generates studies, runs the networks, and caches the predictions."""

    def __init__(self, home: Path, weights: Path) -> None:
        self._home, self._analyser = home, Analyser.load(weights, "cpu")

    def __call__(self, study: EvaluationStudy) -> None:
        if study.options is None:
            prediction = predict_second_phantom(self._analyser, make_second_case(study.seed))
        else:
            prediction = predict_phantom(self._analyser, make_case(study.seed, study.options))
        _write_prediction(prediction, _path(self._home, study))


_predictor: _StudyPredictor | None = None


def _start_process(home: Path, weights: Path) -> None:
    """Initialise a process of the pool."""
    global _predictor  # noqa: PLW0603  state of a pool process
    torch.set_num_threads(1)
    _predictor = _StudyPredictor(home, weights)


def _predict_one(study: EvaluationStudy) -> None:
    assert _predictor is not None  # noqa: S101  `_start_process` ran before
    _predictor(study)


def _write_prediction(prediction: StudyPrediction, path: Path) -> None:
    """Write to a temporary name until the file is complete."""
    content = {
        "severity": prediction.severity.tolist(),
        "contrast": _numbers(prediction.contrast),
        "probability": _numbers(prediction.probability),
        "pointings": [asdict(one) for one in prediction.pointings],
        "definitions": prediction.definitions,
        "burden": [(asdict(score), true) for score, true in prediction.burden],
    }
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(content), encoding="utf-8")
    partial.rename(path)


def _numbers(values: Iterable[float]) -> list[float | None]:
    return [None if np.isnan(value) else float(value) for value in values]


def _read_prediction(path: Path) -> StudyPrediction:
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    pointings = (Pointing(**one) for one in content["pointings"])
    return StudyPrediction(
        np.array(content["severity"], np.int8),
        np.array(content["contrast"], float),
        np.array(content["probability"], float),
        tuple(replace(one, lesion=Lesion(one.lesion)) for one in pointings),
        {Definition(name): (met[0], met[1]) for name, met in content["definitions"].items()},
        tuple(
            (BurdenScore(**score | {"name": BurdenName(score["name"])}), true)
            for score, true in content.get("burden", ())
        ),
    )
