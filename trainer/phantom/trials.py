"""Simulated trials: patients, visits, disease course, and reading sessions.

Three trials mirror the paper's: one for training, with several visits per patient and three
reading sessions that cover successively later visits; one of early disease without ankylosis; one
of advanced disease on other scanners, read once by three readers. The last two are for testing.

Other scanners are simulated by another style, which is not used in the training trial.

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
"""Share of a session's joints that a reader does not read."""

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
"""Probabilities per visit that the grade of a lesion rises by one, and that it falls by one.
Oedema resolves under treatment; ankylosis does not."""
APPEARS = 0.25
"""Rate of new lesions relative to that of worsening."""


@dataclass(frozen=True)
class Trial:
    """Design of a trial.

    Parameters
    ----------
    name
        Of the trial and its folder.
    patients
        Number of patients.
    weeks
        Of the visits.
    attendance
        Share of the patients at each visit.
    last_week_read
        Last week covered by each reading session.
    readers
        The simulated readers.
    options
        Common to all phantoms of the trial.
    first_seed
        Seed of the first patient; seeds differ from those of other trials and of training.
    ankylosis
        False if ankylosis does not occur.
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
        Weeks since the first visit.
    seed
        Of the phantom.
    options
        With the patient's anatomy and grades at this visit.
    """

    patient: int
    week: int
    seed: int
    options: PhantomOptions


def visits_of(trial: Trial) -> tuple[Visit, ...]:
    """All visits of a trial by patient, reproducible."""
    return tuple(
        visit for patient in range(trial.patients) for visit in _visits_of_patient(trial, patient)
    )


def _visits_of_patient(trial: Trial, patient: int) -> Iterator[Visit]:
    seed = trial.first_seed + patient * SEEDS_PER_PATIENT
    rng = np.random.default_rng(seed)
    grades = sample_severity(rng, trial.options.disease)
    for number, (week, came) in enumerate(zip(trial.weeks, trial.attendance, strict=True)):
        if number:
            grades = next_visit_grades(rng, grades)
        if not trial.ankylosis:
            grades = {p: 0 if p.head.lesion is Lesion.ANKYLOSIS else g for p, g in grades.items()}
        if rng.random() < came:
            severity = tuple(grades[position] for position in POSITIONS)
            options = replace(trial.options, pelvis_seed=seed, severity=severity)
            yield Visit(patient, week, seed + 1 + number, options)


def next_visit_grades(
    rng: np.random.Generator, grades: Mapping[Position, int]
) -> dict[Position, int]:
    """The grades at the next visit: some one grade worse, some one better."""
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
    """Sample which joints are read by whom in which session, ``(joints, readers, sessions)``.

    A session covers visits up to its last week; every reader skips a few joints.
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
    """Simulate the readings of a trial, reproducible by seed.

    Parameters
    ----------
    weeks
        Of the visit of each joint, ``(joints,)``.
    severity, contrast
        As in `trainer.phantom.simulated_readers.read_by`, by visit, right before left.
    """
    rng = np.random.default_rng([seed, trial.first_seed])
    return read_by(severity, contrast, trial.readers, read_sessions(trial, weeks, rng), rng)
