"""Of two contour networks the surer one answers a study."""

from types import SimpleNamespace

import numpy as np
import pytest

import models.delineate as delineate
from models.contour_tracing import WalkRules
from models.delineate import PairRules, delineations
from models.delineation import Contour, Delineation
from models.findings import Side
from models.joint_delineation import JointRules
from models.roi import Sighting
from models.volume import Volume

VOLUME = Volume(np.zeros((20, 8, 8), np.float32), np.eye(4))
RULES = PairRules(JointRules(), WalkRules())


def seen(count, quality):
    line = np.array([[1.0, 2.0], [5.0, 3.0]])
    contours = tuple(Contour(number, Side.LEFT, line, quality) for number in range(count))
    return [Sighting(VOLUME, Delineation(contours))]


@pytest.mark.parametrize(
    ("closely", "wholly", "expected"),
    [
        (seen(12, 0.8), seen(4, 0.9), 12),
        (seen(3, 0.9), seen(14, 0.8), 3),
        (seen(9, 0.4), seen(12, 0.5), 12),
        (seen(9, 0.4), seen(2, 0.5), 9),
        (seen(0, 0.9), seen(0, 0.9), 0),
    ],
    ids=["sure", "sure of few", "unsure, the other surer", "unsure, the other more so", "neither"],
)
def test_the_joints_network_answers_unless_the_other_is_surer(
    monkeypatch, closely, wholly, expected
):
    monkeypatch.setattr(delineate, "_walked", lambda *_: wholly)
    monkeypatch.setattr(
        delineate,
        "joint_lines",
        lambda *_: [
            [SimpleNamespace(**vars(contour)) for contour in one.delineation.contours]
            for one in closely
        ],
    )
    pair = SimpleNamespace(joints=None, whole=None)

    (answer,) = delineations(pair, RULES, [VOLUME])

    assert len(answer.delineation.contours) == expected
