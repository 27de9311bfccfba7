from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from models.findings import HEADS, Side
from models.roi import RoiRules
from models.weights import load_network
from trainer.phantom.case import PhantomOptions
from trainer.phantom.trials import TRIALS, visits_of
from trainer.reader_study.reader_commands import untrained
from trainer.reader_study.trial_visits import draw_visits, seen_joints

SMALL = replace(
    TRIALS["measure-like"],
    name="small",
    patients=1,
    weeks=(0, 16),
    attendance=(1.0, 1.0),
    options=PhantomOptions(slices=15, matrix=256),
)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trials")
    assert draw_visits(SMALL, folder, RoiRules()) == 2
    return folder


@pytest.fixture(scope="module")
def encoder():
    return load_network(Path("models/weights/lesion"))


def test_visits_that_are_there_are_not_drawn_again(drawn):
    visit = visits_of(SMALL)[0]
    path = drawn / SMALL.name / f"{visit.seed:07d}.npz"
    path.rename(path.with_suffix(".kept"))

    again = draw_visits(SMALL, drawn, RoiRules())

    path.with_suffix(".kept").rename(path)
    assert again == 1


def test_a_trial_s_joints_come_with_their_truth_and_what_the_encoder_sees(drawn, encoder):
    joints = seen_joints(SMALL, drawn, encoder)

    visits = visits_of(SMALL)
    wanted = np.array([v.options.severity for v in visits]).reshape(-1, len(HEADS))
    np.testing.assert_array_equal(joints.severity, wanted)
    assert joints.features.shape[:3] == (len(visits) * len(Side), 2, 6)
    assert joints.logits.shape == joints.severity.shape
    assert joints.left.tolist() == [False, True, False, True]
    assert joints.week.tolist() == [0, 0, 16, 16]
    assert not np.array_equal(joints.features[0], joints.features[1])


def test_an_encoder_that_has_learnt_nothing_sees_something_else(drawn, encoder):
    nothing = untrained(encoder)

    seen, usual = (seen_joints(SMALL, drawn, one) for one in (nothing, encoder))

    assert seen.features.shape == usual.features.shape
    assert np.isfinite(seen.features).all()
    assert seen.features.std(axis=0).mean() > 0.01
    assert not np.allclose(seen.features, usual.features)
    again = untrained(encoder).network.state_dict()
    assert all((again[name] == one).all() for name, one in nothing.network.state_dict().items())


def test_what_was_seen_is_kept_for_the_same_weights(drawn, encoder):
    first = seen_joints(SMALL, drawn, encoder)
    for file in (drawn / SMALL.name).glob("*.npz"):
        with np.load(file) as kept:
            severity, contrast = kept["severity"], kept["contrast"]
        np.savez(file, severity=severity, contrast=contrast)

    again = seen_joints(SMALL, drawn, encoder)

    np.testing.assert_array_equal(first.features, again.features)
