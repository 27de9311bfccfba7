from hypothesis import given
from hypothesis import strategies as st

from models.findings import HEADS, POSITIONS, Finding, Head, Lesion, Position, Region, Side
from models.lesion_counts import counted, study_counts


def findings(present=(), unseen=()):
    return tuple(
        Finding(p, None if p in unseen else 0.9 if p in present else 0.1, 0.5) for p in POSITIONS
    )


def at(side, lesion, region):
    return Position(side, Head(lesion, region))


RIGHT_OEDEMA = at(Side.RIGHT, Lesion.OEDEMA, Region.UPPER_ILIUM)
LOWER_OEDEMA = at(Side.RIGHT, Lesion.OEDEMA, Region.LOWER_SACRUM)
LEFT_SCLEROSIS = at(Side.LEFT, Lesion.SCLEROSIS, Region.JOINT)


def test_a_study_s_lesions_are_counted_over_both_joints_and_in_each():
    study = study_counts(findings(present=(RIGHT_OEDEMA, LOWER_OEDEMA, LEFT_SCLEROSIS)))

    assert str(study.counts[Lesion.OEDEMA]) == "2 of 8"
    assert str(study.counts[Lesion.SCLEROSIS]) == "1 of 2"
    right, left = study.joints
    assert (right.active, right.structural) == (2, 0)
    assert (left.active, left.structural) == (0, 1)


def test_a_joint_that_was_not_seen_is_not_counted_as_healthy():
    unseen = [position for position in POSITIONS if position.side is Side.LEFT]

    study = study_counts(findings(present=(RIGHT_OEDEMA,), unseen=unseen))

    assert str(study.counts[Lesion.OEDEMA]) == "1 of 4 seen (8)"
    assert [joint.seen for joint in study.joints] == [True, False]


@given(st.sets(st.sampled_from(POSITIONS)), st.sets(st.sampled_from(POSITIONS)))
def test_joints_and_lesions_add_up_to_the_study(present, unseen):
    given_ = findings(present, unseen)

    study, whole = study_counts(given_), counted(given_)

    assert whole.positions == len(POSITIONS)
    assert sum(count.present for count in study.counts.values()) == whole.present
    assert sum(joint.active + joint.structural for joint in study.joints) == whole.present
    assert sum(c.evaluable for j in study.joints for c in j.counts.values()) == whole.evaluable


def test_every_head_is_active_or_structural():
    study = study_counts(findings(present=POSITIONS))

    assert [joint.active + joint.structural for joint in study.joints] == [len(HEADS)] * 2
