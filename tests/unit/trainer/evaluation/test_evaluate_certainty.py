"""Certainty is compared with where contours are wrong, joint by joint."""

import numpy as np
import pytest

from models.delineation import Contour, Delineation
from models.findings import Side
from models.volume import Volume
from trainer.evaluation.evaluate_certainty import (
    JointCertainty,
    certainties,
    certainty_summary,
    certainty_table,
)
from trainer.evaluation.evaluate_real import judged_scan
from trainer.evaluation.real_scans import RealScan

ROWS = np.linspace(10, 40, 13)


def line(column):
    return np.stack([ROWS, np.full(13, float(column))], axis=1)


def scan(lines, ambiguous=()):
    volume = Volume(np.zeros((6, 60, 64), np.float32), np.eye(4))
    return RealScan("7", "T1W", volume, lines, frozenset(ambiguous), None)


def found(columns, side=Side.LEFT, quality=0.7):
    contours = (Contour(n, side, line(column), quality) for n, column in columns.items())
    return Delineation(tuple(contours))


def judged(one, delineation):
    return list(certainties("real", one, judged_scan(one, delineation)))


def test_a_joint_is_wrong_from_more_than_a_third_of_its_lines_on():
    drawn = scan({(n, Side.LEFT): line(40) for n in (1, 2, 3)})

    (right,) = judged(drawn, found({1: 41, 2: 40, 3: 46}))
    (wrong,) = judged(drawn, found({1: 41, 2: 46, 3: 46}))
    (missed,) = judged(drawn, found({1: 40}))

    assert [one.is_wrong for one in (right, wrong, missed)] == [False, True, True]
    assert right.certainty == pytest.approx(0.7)


def test_ambiguous_lines_do_not_make_a_joint_wrong():
    drawn = {(n, Side.LEFT): line(40) for n in (1, 2)}

    (joint,) = judged(scan(drawn, {(2, Side.LEFT)}), found({1: 40, 2: 50}))

    assert not joint.is_wrong


def test_a_joint_that_is_not_there_is_wrong_and_one_without_contours_left_out():
    (joint,) = judged(scan({}), found({1: 20}, Side.RIGHT))

    assert joint.is_wrong
    assert judged(scan({(1, Side.LEFT): line(40)}), Delineation(())) == []


def test_low_certainty_of_wrong_joints_gives_a_high_auc():
    joints = [
        *(JointCertainty("own", one, is_wrong=False) for one in (0.9, 0.8, 0.45)),
        *(JointCertainty("other", one, is_wrong=True) for one in (0.3, 0.6)),
    ]

    every = certainty_summary(joints)["all"]

    assert every == {
        "joints": 5,
        "wrong": 2,
        "AUC": pytest.approx(5 / 6, abs=1e-3),
        "wrong and doubted": 1,
        "right but doubted": 1,
    }
    assert "| other | 2 | 2 |  | 1 | 0 |" in certainty_table(joints)
