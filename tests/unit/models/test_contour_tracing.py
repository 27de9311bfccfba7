from dataclasses import replace

import numpy as np
import pytest
import torch

from models.contour_tracing import (
    LITERAL_RULES,
    WalkRules,
    contours_from_maps,
    disagreement,
    evenly_spaced,
    walk,
)
from models.contour_unet import CHANNELS_PER_JOINT, FIELD_COLUMN, FIELD_ROW, SINK, SOURCE
from models.findings import Side
from models.heatmap_peaks import peaks
from models.ridge import geodesic
from models.vector_field import Grid, blended_field
from trainer.contours.target_fields import heatmaps, literal_field
from trainer.metrics.contour_error import contour_error

SIZE = 96
RULES = WalkRules()
DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]


def curved_line(shift=0.0):
    share = np.linspace(0, 1, 16)
    return np.stack([20 + 50 * share, 30 + shift + 12 * share + 4 * np.sin(4 * share)], axis=1)


def joint_maps(line, size=SIZE):
    points = torch.from_numpy(line[None]).float()
    field, _ = blended_field(points, Grid.of(size))
    heat = heatmaps(points[0, [0, -1]], torch.tensor([4.0, 4.0]), size)
    return torch.cat([heat, field[0]]).numpy()


def study_maps(right_lines):
    """One slice per line: the right joint drawn on it, the left joint absent."""
    maps = np.zeros((len(right_lines), 2 * CHANNELS_PER_JOINT, SIZE, SIZE), np.float32)
    for number, line in enumerate(right_lines):
        if line is not None:
            maps[number, :CHANNELS_PER_JOINT] = joint_maps(line)
    return maps


def naive_walk(maps, source, sink, rules):
    """One joint, one step at a time, as one would write it down first."""
    place, path, walked_px = np.array(source, float), [], 0.0
    read = bilinear if rules.between_pixels else nearest
    while walked_px <= np.linalg.norm(sink - source) * rules.detour + 20:
        path.append(place)
        left = np.linalg.norm(place - sink)
        warm = read(maps[SINK], place) >= rules.arrival_heat and left <= 3 * rules.arrival_px
        if left <= rules.arrival_px or warm:
            return np.vstack([path, sink])
        heading = np.array([read(maps[c], place) for c in (FIELD_ROW, FIELD_COLUMN)])
        place = place + rules.step_px * heading / max(np.linalg.norm(heading), 1e-6)
        walked_px += rules.step_px
    return None


def bilinear(image, place):
    row, column = np.clip(place, 0, len(image) - 1)
    r, c = min(int(row), len(image) - 2), min(int(column), len(image) - 2)
    down, right = row - r, column - c
    above = image[r, c] * (1 - right) + image[r, c + 1] * right
    below = image[r + 1, c] * (1 - right) + image[r + 1, c + 1] * right
    return above * (1 - down) + below * down


def nearest(image, place):
    row, column = np.clip(np.rint(place), 0, len(image) - 1).astype(int)
    return image[row, column]


@pytest.mark.parametrize("rules", [RULES, LITERAL_RULES])
@pytest.mark.parametrize("device", DEVICES)
def test_walking_all_joints_at_once_is_walking_each_alone(rules, device):
    rng = np.random.default_rng(3)
    lines = [curved_line(shift) for shift in (0.0, 7.3, 15.9)]
    joints = np.stack([joint_maps(line) for line in lines]).astype(np.float32)
    joints[:, FIELD_ROW:] += rng.normal(0, 0.2, joints[:, FIELD_ROW:].shape).astype(np.float32)
    sources, _ = peaks(joints[:, SOURCE])
    sinks, _ = peaks(joints[:, SINK])

    together = walk(torch.from_numpy(joints).to(device), np.arange(3), sources, sinks, rules)

    assert any(path is not None for path in together)
    for number, path in enumerate(together):
        alone = naive_walk(joints[number], sources[number], sinks[number], rules)
        if path is None:
            assert alone is None
        else:
            np.testing.assert_allclose(path, alone, atol=1e-4)


def test_a_true_field_leads_along_the_line_within_a_third_of_a_pixel():
    line = curved_line()

    (contour,) = contours_from_maps(study_maps([line]), RULES)

    assert contour.walked
    assert contour.side is Side.RIGHT
    assert contour_error(line, contour.points).symmetric_rms < 0.35


def test_a_joint_without_heat_has_no_contour():
    found = contours_from_maps(study_maps([None, curved_line(), None]), RULES)

    assert [(c.slice_index, c.side) for c in found] == [(1, Side.RIGHT)]


def test_maps_of_nothing_give_no_contour():
    assert contours_from_maps(study_maps([None, None]), RULES) == ()


def test_contours_run_from_the_source_to_the_sink():
    (contour,) = contours_from_maps(study_maps([curved_line()]), RULES)

    np.testing.assert_allclose(contour.points[[0, -1]], curved_line()[[0, -1]], atol=0.5)


def test_a_field_that_leads_astray_still_ends_at_the_sink_with_less_quality():
    maps = study_maps([curved_line()])
    maps[0, [FIELD_ROW, FIELD_COLUMN]] *= -1

    (contour,) = contours_from_maps(maps, RULES)

    assert not contour.walked
    assert contour.quality <= 0.5
    np.testing.assert_allclose(contour.points[-1], curved_line()[-1], atol=0.5)


def test_the_cheapest_path_keeps_to_the_ridge_of_the_field():
    line = curved_line()

    path = geodesic(joint_maps(line)[FIELD_ROW:], line[0], line[-1])

    assert contour_error(line, path).rms < 1.0


def test_even_spacing_keeps_the_ends_and_the_length():
    line = curved_line()

    even = evenly_spaced(line, 40)

    gaps = np.linalg.norm(np.diff(even, axis=0), axis=1)
    np.testing.assert_array_equal(even[[0, -1]], line[[0, -1]])
    assert gaps.max() / gaps.min() < 1.05


def test_without_the_fallback_a_lost_walk_is_a_missed_contour():
    maps = study_maps([curved_line()])
    maps[0, [FIELD_ROW, FIELD_COLUMN]] *= -1

    assert contours_from_maps(maps, replace(RULES, fallback=False)) == ()


def test_a_contour_in_a_field_that_is_not_its_own_is_trusted_less():
    maps = study_maps([curved_line(), curved_line()])
    noise = np.random.default_rng(0).normal(0, 0.5, (2, SIZE, SIZE))
    maps[1, [FIELD_ROW, FIELD_COLUMN]] += noise.astype(np.float32)

    clear, blurred = contours_from_maps(maps, RULES)

    assert blurred.quality < 0.8 * clear.quality


def test_a_line_agrees_with_its_own_field_and_not_with_another():
    line, other = curved_line(), curved_line() + np.array([0.0, 8.0])

    own, foreign = (disagreement(joint_maps(line)[FIELD_ROW:], one) for one in (line, other))

    assert own < 0.01
    assert foreign > 0.2


def test_the_literal_walk_follows_the_literal_field():
    line = evenly_spaced(curved_line(), 12)
    maps = study_maps([line])
    field, _ = literal_field(torch.from_numpy(line[None]).float(), Grid.of(SIZE))
    maps[0, FIELD_ROW:CHANNELS_PER_JOINT] = field[0].numpy()

    (contour,) = contours_from_maps(maps, LITERAL_RULES)

    assert contour.walked
    assert contour_error(line, contour.points).rms < 1.5
