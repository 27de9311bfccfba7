"""Finding joints and delineating them at a fixed scale."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from models.findings import Side
from models.joint_delineation import (
    JointRules,
    best_lines,
    joint_lines,
    of_both,
    present_run,
    resampled,
)
from models.joint_unet import (
    LINE,
    SINK,
    SOURCE,
    JointArchitecture,
    JointArchitectures,
    JointNetwork,
    standardised,
    triples,
)
from models.orientation import canonical
from models.volume import Volume

SIZE = 112
HALF_MM = 54.0
RULES = JointRules()


def gaussian(rows, columns, at, spread):
    return np.exp(-((rows - at[0]) ** 2 + (columns - at[1]) ** 2) / (2 * spread**2))


def maps_of(line):
    """Maps that show one line as a trained network would."""
    rows, columns = np.indices((SIZE, SIZE)).astype(float)
    maps = np.zeros((5, SIZE, SIZE), np.float32)
    away = np.hypot(rows[..., None] - line[:, 0], columns[..., None] - line[:, 1]).min(axis=-1)
    maps[LINE] = np.exp(-(away**2) / (2 * 1.8**2))
    maps[SOURCE], maps[SINK] = (gaussian(rows, columns, line[end], 3.0) for end in (0, -1))
    return maps


def leaning_line(lean):
    share = np.linspace(0, 1, 80)
    return np.stack([25 + 60 * share, 50 + lean * share + 3 * np.sin(6 * share)], axis=1)


@pytest.mark.parametrize("lean", [-40, -15, 0, 25, 45])
def test_the_best_line_lies_on_the_mask_and_reaches_both_ends(lean):
    line = leaning_line(lean)

    (found,) = best_lines(maps_of(line)[None], RULES)

    away = np.linalg.norm(found[:, None] - line[None], axis=2).min(axis=1)
    assert away.max() < 4.5
    assert np.median(away) < 0.6
    assert np.linalg.norm(found[[0, -1]] - line[[0, -1]], axis=1).max() < 4.5


def test_a_higher_peak_that_no_line_reaches_does_not_become_an_end():
    line = leaning_line(10)
    maps = maps_of(line)
    rows, columns = np.indices((SIZE, SIZE)).astype(float)
    maps[SINK] *= 0.7
    maps[SINK] += gaussian(rows, columns, (95, 15), 3.0).astype(np.float32)

    (found,) = best_lines(maps[None], RULES)

    assert np.linalg.norm(found[-1] - line[-1]) < 4


def test_a_joint_is_one_run_of_slices_through_a_slice_in_doubt():
    evidence = np.array([-4, -3, 2, 3, -0.5, 3, 3, 2, 2, 3, -3, 1.5, -4.0])

    usual = JointRules(extent_mm=36.0, extent_spread_mm=8.0)

    assert present_run(evidence, 4.0, usual).tolist() == list(range(2, 10))


def test_no_run_is_shown_where_every_slice_speaks_against_the_joint():
    assert not len(present_run(np.full(20, -1.0), 4.0, JointRules()))


def test_a_joint_that_was_found_is_shown_where_its_slices_are_only_in_doubt():
    doubtful = np.where(np.arange(20) // 9 == 1, -0.1, -1.0)

    assert present_run(doubtful, 4.0, JointRules()).tolist() == list(range(9, 18))
    assert not len(present_run(doubtful, 4.0, JointRules(visible_logit=0.0)))


def test_a_slice_is_judged_with_what_the_other_sequence_shows_in_its_place():
    first, second = of_both(
        [np.array([1.0, 1.0, 1.0]), np.array([5.0, 3.0])],
        [np.array([0.0, 4.0, 8.0]), np.array([4.0, 8.0])],
    )

    assert first == pytest.approx([1, 3, 2])
    assert second == pytest.approx([3, 2])


@pytest.mark.parametrize("pixel_mm", [0.45, 0.9, 1.7])
@pytest.mark.parametrize("mirrored", [False, True])
def test_a_square_shows_the_same_millimetres_whatever_the_matrix(pixel_mm, mirrored):
    count = round(260 / pixel_mm)
    along = (np.arange(count) - (count - 1) / 2) * pixel_mm
    spot = np.exp(-((along[:, None] - 12) ** 2 + (along[None] - 30) ** 2) / (2 * 4.0**2))
    affine = np.diag([pixel_mm, -pixel_mm, 4.0, 1])[:, [2, 1, 0, 3]]
    volume = Volume(spot[None].astype(np.float32), affine)

    square = resampled(volume, np.full(2, (count - 1) / 2), 0.9, SIZE, mirrored)[0].numpy()

    row, column = np.unravel_index(square.argmax(), square.shape)
    assert (row - 55.5) * 0.9 == pytest.approx(12, abs=0.9)
    assert (column - 55.5) * (-0.9 if mirrored else 0.9) == pytest.approx(30, abs=0.9)


def find(stacks):
    """Bright spots on the left of the image are right joints, on its right left joints."""
    bright = (stacks[:, 1] > 2).float()
    half = torch.arange(stacks.shape[-1]) < stacks.shape[-1] / 2
    return torch.stack([bright * half, bright * ~half], dim=1)


def delineate(stacks):
    """The line's mask is what is bright; its ends are its first and last row."""
    bright = stacks[:, 1].clamp(0, 4) / 4
    maps = torch.zeros(len(stacks), 5, SIZE, SIZE)
    maps[:, LINE] = bright
    for number, image in enumerate(bright > 0.5):
        rows = image.any(dim=1).nonzero()[:, 0]
        if len(rows):
            maps[number, SOURCE, rows[0]] = bright[number, rows[0]]
            maps[number, SINK, rows[-1]] = bright[number, rows[-1]]
    return maps, (bright.amax((1, 2)) - 0.5) * 20


def bright_joints(flips, transposed):
    """A tilted volume with two bright lines on ten of its slices, stored in another order."""
    slices, size, pixel_mm = 24, 150, 1.6
    tilt = np.deg2rad(35)
    voxels = np.zeros((slices, size, size), np.float32)
    for row in range(55, 90):
        for side in (-1, 1):
            at = round((size - 1) / 2 + side * (HALF_MM - 0.3 * (row - 72)) / pixel_mm)
            voxels[7:17, row, at - 1 : at + 2] = 100
    affine = np.eye(4)
    affine[:3, 0] = 4 * np.array([0, np.cos(tilt), np.sin(tilt)])
    affine[:3, 1] = pixel_mm * np.array([0, np.sin(tilt), -np.cos(tilt)])
    affine[:3, 2] = [pixel_mm, 0, 0]
    affine[:3, 3] = [-120, -60, 60]
    for axis in flips:
        affine[:, 3] += affine[:, axis] * (voxels.shape[axis] - 1)
        affine[:, axis] *= -1
        voxels = np.flip(voxels, axis)
    if transposed:
        voxels, affine = voxels.transpose(0, 2, 1), affine[:, [0, 2, 1, 3]]
    return Volume(np.ascontiguousarray(voxels), affine)


@pytest.mark.parametrize("flips", [(), (0,), (1, 2), (0, 2)])
@pytest.mark.parametrize("transposed", [False, True])
def test_both_joints_are_found_on_the_patient_s_sides_in_any_orientation(flips, transposed):
    volume = canonical(bright_joints(flips, transposed))
    network = SimpleNamespace(find=find, delineate=delineate)

    (lines,) = joint_lines(network, [volume], RULES)

    assert {line.side for line in lines} == set(Side)
    assert sorted({line.slice_index for line in lines}) == list(range(7, 17))
    middle = volume.to_patient([0, 0, (volume.voxels.shape[2] - 1) / 2])[0]
    for line in lines:
        at = volume.to_patient(np.insert(line.points, 0, line.slice_index, axis=1))
        sign = 1 if line.side is Side.LEFT else -1
        assert (sign * (at[:, 0] - middle)).mean() == pytest.approx(HALF_MM, abs=3)
        assert at[0, 2] > at[-1, 2]


def test_nothing_is_delineated_where_no_joint_is_found():
    volume = Volume(np.random.default_rng(0).random((8, 60, 60)).astype(np.float32), np.eye(4) * 3)
    network = SimpleNamespace(
        find=lambda stacks: torch.zeros(len(stacks), 2, *stacks.shape[2:]), delineate=None
    )

    assert joint_lines(network, [volume], RULES) == [[]]


def test_the_networks_answer_in_the_shape_of_their_squares():
    small = JointArchitecture(width=4, levels=3, channels=5)
    network = JointNetwork(JointArchitectures(JointArchitecture(4, 3, 2, 2), small)).eval()
    stacks = standardised(triples(torch.rand(3, 32, 32)))

    maps, logits = network.delineate(stacks)

    assert (maps.shape, logits.shape) == ((3, 5, 32, 32), (3,))
    assert network.find(stacks).shape == (3, 2, 32, 32)


class Elsewhere(torch.nn.Module):
    """Answers like a network of another device, which takes what lies on that device alone."""

    def __init__(self, channels):
        super().__init__()
        self.presence = torch.nn.Linear(1, 1, device="meta")
        self.channels = channels
        self.asked_on = []

    def forward(self, stacks):
        self.asked_on.append(stacks.device.type)
        return torch.zeros(len(stacks), self.channels, 8, 8), torch.zeros(len(stacks))


def test_slices_are_taken_to_the_device_of_the_networks():
    network = JointNetwork(JointArchitectures())
    network.finder, network.delineators = Elsewhere(2), torch.nn.ModuleList([Elsewhere(5)])

    network.find(torch.zeros(1, 3, 8, 8))
    maps, logits = network.delineate(torch.zeros(1, 3, 8, 8))

    assert network.finder.asked_on == network.delineators[0].asked_on == ["meta"]
    assert maps.device.type == logits.device.type == "cpu"
