"""Trials that never took place: patients, their visits, how their disease went, who read what.

Three of them mirror the paper's: one to learn from, with several visits per patient and three
read sessions that cover ever later visits; one of early disease without ankylosis; one of
advanced disease on other scanners, read once by three readers. The last two are for testing only.

Other scanners are here images of another style, which nothing was learnt from in that trial.

Source: paper, "Datasets" (MEASURE 1, PREVENT, SURPASS); every patient here is a phantom.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from models.findings import POSITIONS, Lesion, Position
from trainer.phantom.case import PhantomOptions
from trainer.phantom.lesion_maps import sample_severity
from trainer.phantom.simulated_readers import SimulatedReader, SimulatedReadings, read_by

SEEDS_PER_PATIENT = 10
READING_MISSING = 0.03
"""Share of a session's joints that a reader left out."""

WORSENS = {
    Lesion.OEDEMA: 0.04,
    Lesion.EROSION: 0.05,
    Lesion.FATTY_LESION: 0.08,
    Lesion.SCLEROSIS: 0.04,
    Lesion.ANKYLOSIS: 0.02,
}
HEALS = {
    Lesion.OEDEMA: 0.30,
    Lesion.EROSION: 0.05,
    Lesion.FATTY_LESION: 0.03,
    Lesion.SCLEROSIS: 0.05,
    Lesion.ANKYLOSIS: 0.0,
}
"""Chance per visit that a grade rises by one where there is a lesion, and that it falls by one.
Under treatment oedema goes; a fused joint stays fused."""
APPEARS = 0.25
"""A lesion appears where there is none so many times less often than one worsens."""


@dataclass(frozen=True)
class Trial:
    """How a trial was planned.

    Parameters
    ----------
    name
        Of the trial and of its folder.
    patients
        How many.
    weeks
        Of the visits.
    attendance
        Share of the patients who came to each visit.
    last_week_read
        Of each read session.
    readers
        Who read.
    options
        What all phantoms of the trial have in common.
    first_seed
        Of the first patient; trials never share a seed with each other or with a training.
    ankylosis
        False where no joint is fused.
    """

    name: str
    patients: int
    weeks: tuple[int, ...]
    attendance: tuple[float, ...]
    last_week_read: tuple[int, ...]
    readers: tuple[SimulatedReader, ...]
    first_seed: int
    options: PhantomOptions = field(default_factory=PhantomOptions)
    ankylosis: bool = True


TRIALS: Mapping[str, Trial] = {
    trial.name: trial
    for trial in (
        Trial(
            "measure-like",
            40,
            (0, 16, 52, 104, 156, 208),
            (1.0, 0.95, 0.85, 0.6, 0.4, 0.2),
            (52, 104, 208),
            (SimulatedReader("R1", 0.35), SimulatedReader("R2", -0.35)),
            1_000_000,
        ),
        Trial(
            "prevent-like",
            40,
            (0, 16, 52, 104),
            (1.0, 0.45, 0.35, 0.2),
            (52, 104, 104),
            (SimulatedReader("R1", 0.2), SimulatedReader("R2", -0.3)),
            2_000_000,
            PhantomOptions(disease="early"),
            ankylosis=False,
        ),
        Trial(
            "surpass-like",
            20,
            (0, 16, 52, 104),
            (1.0, 0.45, 0.35, 0.2),
            (104,),
            (SimulatedReader("R1", 0.4), SimulatedReader("R2", 0.0), SimulatedReader("R3", -0.4)),
            3_000_000,
            PhantomOptions(disease="advanced", style="plausible"),
        ),
    )
}


@dataclass(frozen=True)
class Visit:
    """One study of one patient.

    Parameters
    ----------
    patient
        Number within the trial.
    week
        Since the first visit.
    seed
        Of the study's phantom.
    options
        With the patient's shape and his grades at this visit.
    """

    patient: int
    week: int
    seed: int
    options: PhantomOptions


def visits_of(trial: Trial) -> tuple[Visit, ...]:
    """All visits of a trial, patient by patient; always the same ones."""
    return tuple(
        visit for patient in range(trial.patients) for visit in _visits_of_patient(trial, patient)
    )


def _visits_of_patient(trial: Trial, patient: int) -> Iterator[Visit]:
    seed = trial.first_seed + patient * SEEDS_PER_PATIENT
    rng = np.random.default_rng(seed)
    grades = sample_severity(rng, trial.options.disease)
    for number, (week, came) in enumerate(zip(trial.weeks, trial.attendance, strict=True)):
        if number:
            grades = after_a_while(rng, grades)
        if not trial.ankylosis:
            grades = {p: 0 if p.head.lesion is Lesion.ANKYLOSIS else g for p, g in grades.items()}
        if rng.random() < came:
            severity = tuple(grades[position] for position in POSITIONS)
            options = replace(trial.options, pelvis_seed=seed, severity=severity)
            yield Visit(patient, week, seed + 1 + number, options)


def after_a_while(rng: np.random.Generator, grades: Mapping[Position, int]) -> dict[Position, int]:
    """The grades at the next visit: some a step worse, some a step better."""
    later = {}
    for position, grade in grades.items():
        worsens = WORSENS[position.head.lesion] * (1 if grade else APPEARS)
        drawn = rng.random()
        step = 1 if drawn < worsens else -1 if drawn > 1 - HEALS[position.head.lesion] else 0
        later[position] = int(np.clip(grade + step, 0, 3))
    return later


def read_sessions(
    trial: Trial, weeks: NDArray[np.integer], rng: np.random.Generator
) -> NDArray[np.bool_]:
    """Who read joints seen at these weeks in which session, ``(joints, readers, sessions)``.

    A session reads up to its last week; every reader leaves out a few joints.
    """
    within = weeks[:, None] <= np.array(trial.last_week_read)[None, :]
    shape = (len(weeks), len(trial.readers), len(trial.last_week_read))
    return np.asarray(within[:, None, :] & (rng.random(shape) >= READING_MISSING))


def trial_reading(
    trial: Trial,
    weeks: NDArray[np.integer],
    severity: NDArray[np.integer],
    contrast: NDArray[np.float64],
    seed: int,
) -> SimulatedReadings:
    """What a trial's readers say of its joints; the same seed gives the same readings.

    Parameters
    ----------
    weeks
        Of the visit at which each joint is seen, ``(joints,)``.
    severity, contrast
        As for `trainer.phantom.simulated_readers.read_by`, visit by visit, right before left.
    """
    rng = np.random.default_rng([seed, trial.first_seed])
    return read_by(severity, contrast, trial.readers, read_sessions(trial, weeks, rng), rng)
