from dataclasses import replace
from pathlib import Path

import pytest
import torch

from models.findings import HEADS
from models.lesion_resnet34 import LesionArchitecture, LesionResNet34, Pooling
from trainer.experiment import CaseSplit, ExperimentInvalid, read_experiment
from trainer.lesions.lesion_targets import simulated_readings, training_targets
from trainer.lesions.lesion_training import JointSample
from trainer.readers.reader_plan import ReaderModel, ReaderPlan

SHIPPED = read_experiment(Path("trainer/experiments/lesion.toml"))
PLAN = replace(SHIPPED, synthetic_erosions=0.0, slab_share=0.0)
READ = replace(PLAN, readers=ReaderPlan(ReaderModel.CHAIN))


def network():
    return LesionResNet34(LesionArchitecture(2, 1, Pooling.ZONES))


def joints(count=40):
    generator = torch.Generator().manual_seed(0)
    nothing = torch.zeros(2, 1, 4, 4, dtype=torch.uint8)
    grades = torch.randint(0, 4, (count, len(HEADS)), generator=generator).float()
    return tuple(JointSample(nothing, nothing, (g >= 1).float(), g) for g in grades)


def test_without_readers_the_network_alone_learns_from_true_labels():
    net = network()

    lesson = training_targets(PLAN, net, joints())

    assert lesson.module is net
    assert all((one.positive == (one.grades >= 1)).all() for one in lesson.joints)


def test_with_readers_the_matrices_learn_beside_the_network():
    net = network()

    lesson = training_targets(READ, net, joints())
    taught = torch.stack([one.positive for one in lesson.joints])
    logits = torch.zeros(len(taught), len(HEADS), requires_grad=True)
    sum(lesson.losses(logits, taught, 0.5).values()).backward()

    beside = len(list(lesson.module.parameters())) - len(list(net.parameters()))
    assert beside == 1
    assert taught.shape == (40, len(HEADS), 9)
    assert logits.grad.any()


def test_simulated_readings_mostly_say_what_is_there():
    said = simulated_readings(joints(200), seed=3).present_share
    truth = torch.stack([one.positive for one in joints(200)]).numpy()

    assert said[truth == 1].mean() > 0.8
    assert said[truth == 0].mean() < 0.1


OWN = replace(READ, cases=CaseSplit((0, 1), (1, 2), (2, 3), "own"))


def read(readers, sessions, count=12):
    """Joints with what a site's readers said of them, some of it missing."""
    generator = torch.Generator().manual_seed(1)
    shape = (count, len(HEADS), readers, sessions)
    said = torch.randint(-1, 2, shape, generator=generator).to(torch.int8)
    return tuple(replace(j, readings=r) for j, r in zip(joints(count), said, strict=True))


@pytest.mark.parametrize(("readers", "sessions", "nodes"), [(1, 1, 2), (3, 1, 4), (4, 2, 13)])
def test_the_hierarchy_follows_from_a_site_s_own_readers(readers, sessions, nodes):
    lesson = training_targets(OWN, network(), read(readers, sessions))

    taught = torch.stack([one.positive for one in lesson.joints])
    assert taught.shape == (12, len(HEADS), nodes)
    assert all(
        map(torch.isfinite, lesson.losses(torch.zeros(12, len(HEADS)), taught, 0.5).values())
    )


def test_cases_without_readings_are_refused():
    with pytest.raises(ExperimentInvalid, match="needs cases with readings"):
        training_targets(OWN, network(), joints())


def test_a_reader_whom_a_site_does_not_have_is_refused():
    plan = replace(OWN, readers=ReaderPlan(ReaderModel.SESSION, reader=3, session=1))

    with pytest.raises(ExperimentInvalid, match="reader 3"):
        training_targets(plan, network(), read(2, 1))


def test_a_reader_plan_in_an_experiment_is_checked(tmp_path):
    path = tmp_path / "odd.toml"
    path.write_text(Path("trainer/experiments/lesion.toml").read_text() + "\n[readers]\nmind = 1\n")

    with pytest.raises(ExperimentInvalid, match="mind"):
        read_experiment(path)


@pytest.mark.parametrize("setting", ["synthetic_erosions", "slab_share"])
def test_drawn_lesions_are_refused_beside_readings(setting):
    with pytest.raises(ExperimentInvalid, match=f"{setting}.*drawn lesions have no readings"):
        replace(READ, **{setting: 0.2})


@pytest.mark.parametrize("setting", ["synthetic_erosions", "slab_share"])
def test_a_share_beyond_0_to_1_is_refused(setting):
    with pytest.raises(ExperimentInvalid, match=f"{setting} must be between 0 and 1, got 1.2"):
        replace(OWN, **{setting: 1.2})
