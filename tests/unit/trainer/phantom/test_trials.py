from itertools import product

import numpy as np
import pytest

from models.findings import HEADS, POSITIONS, Head, Lesion, Region
from trainer.phantom.case import PhantomOptions, make_case
from trainer.phantom.lesion_maps import OPACITIES
from trainer.phantom.simulated_readers import (
    LITERATURE_KAPPA,
    SimulatedReader,
    chance_of_calling,
    contrasts,
    read_by,
)
from trainer.phantom.trials import TRIALS, read_sessions, visits_of
from trainer.readers.readings import MISSING, Readings, kappa, node_labels

MEASURE, PREVENT, SURPASS = (TRIALS[f"{name}-like"] for name in ("measure", "prevent", "surpass"))
CLEAR = {Lesion.EROSION: 0.8, Lesion.SCLEROSIS: 0.67, Lesion.ANKYLOSIS: 0.45}
"""Mean contrast of what phantoms show, of the lesions without opacities of their own."""


def grades_of(trial):
    return np.array([v.options.severity for v in visits_of(trial)]).reshape(-1, len(HEADS))


def typical_contrasts(severity, rng):
    shown = np.zeros(severity.shape)
    for number, head in enumerate(HEADS):
        mine = severity[:, number]
        if head.lesion in CLEAR:
            shown[:, number] = (mine > 0) * CLEAR[head.lesion]
        else:
            low, high = np.array([OPACITIES[head.lesion][grade] for grade in mine]).T
            drawn = (mine > 0) | (rng.random(len(mine)) < 0.2)
            shown[:, number] = drawn * rng.uniform(low, high)
    return shown


@pytest.fixture(scope="module")
def reading():
    rng = np.random.default_rng(5)
    severity = np.tile(grades_of(MEASURE), (4, 1))
    everyone = np.ones((len(severity), 2, 3), bool)
    contrast = typical_contrasts(severity, rng)
    return severity, read_by(severity, contrast, MEASURE.readers, everyone, rng)


def heads_of(lesion):
    return [number for number, head in enumerate(HEADS) if head.lesion is lesion]


@pytest.mark.parametrize("lesion", list(Lesion))
def test_two_readers_agree_as_in_the_literature(reading, lesion):
    values = reading[1].readings.values[:, heads_of(lesion)]

    agreed = np.mean(
        [kappa(values[:, :, 0, i], values[:, :, 1, j]) for i, j in product(range(3), repeat=2)]
    )

    assert agreed == pytest.approx(LITERATURE_KAPPA[lesion], abs=0.06)


def test_all_six_readings_agree_on_seven_to_nine_of_ten_places(reading):
    consensus = node_labels(reading[1].readings)[..., 0]

    for lesion in Lesion:
        assert 0.70 < (consensus[:, heads_of(lesion)] != MISSING).mean() < 0.92


def test_the_known_confusion_is_how_often_readings_are_wrong(reading):
    severity, said = reading
    present = severity >= 1
    for number, confusion in enumerate(said.confusion):
        called = said.readings.values[:, :, number, 0] == 1

        added = np.array([called[~present[:, h], h].mean() for h in range(len(HEADS))])
        missed = np.array([(~called[present[:, h], h]).mean() for h in range(len(HEADS))])

        np.testing.assert_allclose(confusion.false_positive, added, atol=0.03)
        np.testing.assert_allclose(confusion.false_negative, missed, atol=0.06)


def test_severe_and_clear_lesions_are_missed_least():
    severity = np.repeat(np.array([1, 1, 3, 3, 0, 0], np.int8)[:, None], len(HEADS), axis=1)
    contrast = np.repeat(np.array([0.2, 0.9, 0.2, 0.9, 0.0, 0.5])[:, None], len(HEADS), axis=1)

    faint, clear, severe, both, nothing, too_small = chance_of_calling(
        severity, contrast, SimulatedReader("R1", 0.0)
    )

    assert (faint < clear).all()
    assert (faint < severe).all()
    assert (severe < both).all()
    assert (nothing <= too_small).all()
    assert (too_small < clear).all()


def test_a_reader_who_leans_to_lesions_calls_more_and_misses_less(reading):
    eager, wary = reading[1].confusion

    assert (eager.false_positive > wary.false_positive).all()
    assert (eager.false_negative < wary.false_negative).all()


def test_later_visits_are_read_in_fewer_sessions():
    weeks = np.repeat(MEASURE.weeks, 400)

    read = read_sessions(MEASURE, weeks, np.random.default_rng(0))

    sessions = [round(read[weeks == week].sum(axis=2).mean()) for week in MEASURE.weeks]
    assert sessions == [3, 3, 3, 2, 1, 1]
    assert 0.95 < read[weeks == 0].mean() < 1


def test_trials_never_share_a_seed():
    seeds = [v.seed for trial in TRIALS.values() for v in visits_of(trial)]

    assert len(seeds) == len(set(seeds))
    assert min(seeds) > 100_000


def test_early_disease_has_no_ankylosis_and_advanced_has_most_lesions():
    share = {t.name: (grades_of(t) >= 1).mean(axis=0) for t in (MEASURE, PREVENT, SURPASS)}

    assert share[PREVENT.name][heads_of(Lesion.ANKYLOSIS)] == 0
    for lesion in Lesion:
        early, mixed, advanced = (
            share[trial.name][heads_of(lesion)].mean() for trial in (PREVENT, MEASURE, SURPASS)
        )
        assert early < mixed < advanced


def test_a_fused_joint_stays_fused():
    fused = [n for n, position in enumerate(POSITIONS) if position.head.lesion is Lesion.ANKYLOSIS]
    before = {}
    for visit in visits_of(SURPASS):
        now = np.array(visit.options.severity)[fused]
        assert (now >= before.get(visit.patient, 0)).all()
        before[visit.patient] = now


def test_a_patient_comes_first_at_week_0_and_keeps_his_shape():
    first, later = visits_of(MEASURE)[:2]

    assert (first.patient, first.week) == (later.patient, 0)
    assert first.options.pelvis_seed == later.options.pelvis_seed
    assert first.seed != later.seed


def test_contrast_is_zero_without_lesions_and_follows_the_grades():
    severity = tuple(
        3 if p.head == Head(Lesion.OEDEMA, Region.UPPER_ILIUM) else 0 for p in POSITIONS
    )

    shown = contrasts(make_case(11, PhantomOptions(slices=15, matrix=256, severity=severity)))

    assert shown.shape == (len(POSITIONS),)
    assert (shown[np.array(severity) == 3] > 0.35).all()
    assert (shown[heads_of(Lesion.ANKYLOSIS)] == 0).all()
    assert ((shown >= 0) & (shown <= 1)).all()


def test_readings_of_some_joints_are_those_joints():
    values = np.zeros((4, len(HEADS), 2, 3), np.int8)
    values[2] = 1

    assert (Readings(values).of(np.array([2])).values == 1).all()
