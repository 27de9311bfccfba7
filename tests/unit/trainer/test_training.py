from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from models.contour_tracing import evenly_spaced
from models.vector_field import Grid, blended_field
from trainer.augmentation import (
    BEYOND,
    LIKELY,
    PAPER,
    Degradation,
    Movement,
    deformed,
    degraded,
    moved_images,
    moved_points,
    random_moves,
)
from trainer.contours.contour_training import contour_loss, targets
from trainer.contours.target_fields import area_between, heatmaps, literal_field, spread_px
from trainer.experiment import CaseSplit, ExperimentInvalid, read_experiment
from trainer.lesions.lesion_training import Predictions, head_thresholds
from trainer.metrics.classification import auc, balanced_accuracy, best_threshold
from trainer.metrics.contour_error import contour_error

SIZE = 64
LINE = torch.tensor([[[10.0, 20.0], [25.0, 24.0], [40.0, 22.0], [50.0, 30.0]]])


def test_both_fields_have_length_one_everywhere():
    for field, _ in (blended_field(LINE, Grid.of(SIZE)), literal_field(LINE + 0.3, Grid.of(SIZE))):
        torch.testing.assert_close(field.norm(dim=1), torch.ones(1, SIZE, SIZE))


def test_far_away_the_blended_field_points_to_the_nearest_point_of_the_line():
    field, distance = blended_field(LINE, Grid.of(SIZE))
    dense = evenly_spaced(LINE[0].double().numpy(), 2000)
    for place in ((5, 5), (30, 60), (60, 40)):
        nearest = dense[np.linalg.norm(dense - place, axis=1).argmin()]
        towards = (nearest - place) / np.linalg.norm(nearest - place)

        np.testing.assert_allclose(field[0, :, *place], towards, atol=0.01)
        assert distance[0, *place] == pytest.approx(np.linalg.norm(nearest - place), abs=0.05)


def test_on_the_line_the_blended_field_leads_to_the_sink():
    field, _ = blended_field(LINE, Grid.of(SIZE))

    assert field[0, 0, 12:48, 20:30].max() > 0.95
    assert (field[0, :, 25, 24] * torch.tensor([15.0, -2.0])).sum() > 0


def test_the_literal_field_points_to_vertices_then_along_the_line():
    field, _ = literal_field(LINE, Grid.of(SIZE))

    beside = torch.tensor([25.0 - 27, 24.0 - 40])
    torch.testing.assert_close(field[0, :, 27, 40], beside / beside.norm())
    onwards = torch.tensor([40.0 - 25, 22.0 - 24])
    torch.testing.assert_close(field[0, :, 25, 24], onwards / onwards.norm())


def test_a_strided_grid_is_a_part_of_the_whole_field():
    whole, _ = blended_field(LINE, Grid.of(SIZE))
    part, _ = blended_field(LINE, Grid.of(SIZE, 2, (1, 0)))

    torch.testing.assert_close(part, whole[:, :, 1::2, 0::2])


def test_heatmaps_peak_at_one_where_the_end_is():
    (heat,) = heatmaps(torch.tensor([[12.0, 40.0]]), torch.tensor([3.0]), SIZE)

    assert heat[12, 40] == 1
    assert heat[12, 43] == pytest.approx(np.exp(-0.5), abs=1e-5)


def test_the_spread_follows_the_sacrum_s_area_and_else_the_length():
    lines = torch.cat([LINE, LINE])

    by_area, by_length = spread_px(lines, torch.tensor([4000.0, 0.0]))

    assert by_area == pytest.approx(5.0)
    assert by_length == pytest.approx(0.09 * 43.46, abs=0.01)


def test_the_area_between_two_straight_joints_is_a_rectangle_s():
    right = torch.tensor([[[10.0, 10.0], [40.0, 10.0]]])

    assert area_between(right, right + torch.tensor([0.0, 20.0])) == 600


def test_points_move_with_their_images():
    generator = torch.Generator().manual_seed(4)
    moves, _ = random_moves(6, Movement(), generator)
    spots = torch.full((6, 1, 2), 36.0)
    images = heatmaps(spots[:, 0], torch.full((6,), 3.0), SIZE).unsqueeze(1)

    there = moved_points(spots, moves, SIZE)[:, 0]
    moved = moved_images(images, moves)[:, 0]

    for image, place in zip(moved, there, strict=True):
        weights = image / image.sum()
        rows, columns = torch.meshgrid(torch.arange(SIZE), torch.arange(SIZE), indexing="ij")
        centre = torch.stack([(weights * rows).sum(), (weights * columns).sum()])
        torch.testing.assert_close(centre, place, atol=0.1, rtol=0)


def test_a_mirrored_image_is_marked_as_mirrored():
    moves, flipped = random_moves(64, Movement(), torch.Generator().manual_seed(0))

    assert 16 < flipped.sum() < 48
    torch.testing.assert_close(torch.linalg.det(moves[:, :, :2]) < 0, flipped)


@pytest.mark.parametrize("spoiling", [PAPER, LIKELY])
def test_spoiling_keeps_the_shape_and_the_order_of_brightness(spoiling):
    images = torch.linspace(0, 1, 32).expand(8, 1, 32, 32)

    spoiled = degraded(images, spoiling, torch.Generator().manual_seed(0))

    correlation = torch.corrcoef(torch.stack([images.ravel(), spoiled.ravel()]))[0, 1]
    assert spoiled.shape == images.shape
    assert correlation > 0.8


def test_all_slices_of_a_joint_go_through_the_same_grey_curve():
    images = torch.rand(4, 1, 16, 16, generator=torch.Generator().manual_seed(1)).expand(
        4, 5, 16, 16
    )

    spoiled = degraded(images, replace(BEYOND, noise=0.0), torch.Generator().manual_seed(0))

    torch.testing.assert_close(spoiled, spoiled[:, :1].expand_as(spoiled))
    assert (spoiled - images).abs().mean() > 0.05


def test_without_any_spoiling_an_image_stays_as_it_is():
    images = torch.rand(3, 1, 16, 16, generator=torch.Generator().manual_seed(1))

    spoiled = degraded(
        images, Degradation(gain=0, blur=0, noise=0), torch.Generator().manual_seed(0)
    )

    torch.testing.assert_close(spoiled, images)


def test_points_bend_with_their_images():
    generator = torch.Generator().manual_seed(2)
    spots = torch.full((6, 2, 2), float("nan"))
    spots[:, 0] = torch.tensor([28.0, 40.0])
    images = heatmaps(spots[:, 0], torch.full((6,), 1.5), SIZE).unsqueeze(1)

    seen, points = deformed(images, spots, 4.0, generator)

    assert (points[:, 0] - spots[:, 0]).norm(dim=1).max() > 1
    assert points[:, 1].isnan().all()
    for image, place in zip(seen[:, 0], points[:, 0], strict=True):
        weights = image / image.sum()
        rows, columns = torch.meshgrid(torch.arange(SIZE), torch.arange(SIZE), indexing="ij")
        centre = torch.stack([(weights * rows).sum(), (weights * columns).sum()])
        torch.testing.assert_close(centre, place, atol=0.4, rtol=0)


def test_a_joint_cut_by_the_image_s_border_is_not_judged():
    contours = LINE[0].expand(1, 2, -1, -1).clone()
    contours[0, 1, -1, 0] = SIZE + 5.0

    wanted = targets(contours, SIZE, torch.Generator().manual_seed(0))

    assert wanted.there.tolist() == [[True, False]]
    assert wanted.judged.tolist() == [[True, False]]


def test_a_joint_wholly_beyond_the_border_is_not_there():
    contours = LINE[0].expand(1, 2, -1, -1).clone()
    contours[0, 1] += 2 * SIZE

    wanted = targets(contours, SIZE, torch.Generator().manual_seed(0))

    assert wanted.there.tolist() == [[True, False]]
    assert wanted.judged.tolist() == [[True, True]]


def test_a_joint_that_is_not_there_has_no_field_and_no_heat():
    contours = torch.full((1, 2, 4, 2), float("nan"))
    contours[0, 1] = LINE[0]

    wanted = targets(contours, SIZE, torch.Generator().manual_seed(0))

    assert wanted.there.tolist() == [[False, True]]
    assert not wanted.heat[0, 0].any()
    assert len(wanted.field) == 1


def test_the_loss_of_the_truth_is_nothing():
    contours = torch.full((1, 2, 4, 2), float("nan"))
    contours[0, 0] = LINE[0]
    wanted = targets(contours, SIZE, torch.Generator().manual_seed(0))
    maps = torch.zeros(1, 8, SIZE, SIZE)
    maps[0, :2] = wanted.heat[0, 0]
    maps[0, 2:4] = blended_field(LINE, Grid.of(SIZE))[0][0]

    assert contour_loss(maps, wanted) == pytest.approx(0, abs=1e-9)
    assert contour_loss(maps * 0, wanted) > 0.1


def test_an_overshooting_contour_is_seen_by_the_symmetric_error_only():
    truth = np.stack([np.arange(10.0, 30), np.full(20, 5.0)], axis=1)
    longer = np.stack([np.arange(10.0, 50), np.full(40, 5.0)], axis=1)

    error = contour_error(truth, longer)

    assert error.rms < 0.3
    assert error.symmetric_rms > 5
    assert error.hausdorff95 > 15
    assert error.ends == pytest.approx(10.0)


@pytest.mark.parametrize(
    ("scores", "expected"),
    [([0.1, 0.2, 0.8, 0.9], 1.0), ([0.9, 0.8, 0.2, 0.1], 0.0), ([0.5] * 4, 0.5)],
)
def test_auc_of_perfect_reversed_and_indifferent_scores(scores, expected):
    assert auc(np.array([False, False, True, True]), np.array(scores)) == expected


def test_auc_of_one_class_is_not_a_number():
    assert np.isnan(auc(np.array([True, True]), np.array([0.1, 0.9])))


def test_the_best_threshold_separates_what_can_be_separated():
    truth = np.array([False] * 8 + [True] * 2)
    scores = np.array([0.01, 0.02, 0.03, 0.04, 0.05, 0.06, 0.07, 0.10, 0.20, 0.30])

    threshold = best_threshold(truth, scores)

    assert balanced_accuracy(truth, scores >= threshold) == 1


def test_head_thresholds_are_shared_by_a_lesion_s_places():
    rng = np.random.default_rng(0)
    positive = rng.random((40, 14)) < 0.3
    of = Predictions(
        positive.astype(float), np.clip(positive * 0.4 + rng.random((40, 14)) * 0.3, 0, 1)
    )

    thresholds = head_thresholds(of)

    assert len(thresholds) == 14
    assert len(set(thresholds[:4])) == 1
    assert balanced_accuracy(positive[:, 0], of.probability[:, 0] >= thresholds[0]) == 1


def test_a_subject_never_serves_for_two_purposes():
    with pytest.raises(ExperimentInvalid, match="ranges of cases overlap"):
        CaseSplit((0, 10), (9, 12), (20, 30))


@pytest.mark.parametrize("name", ["contour", "lesion"])
def test_the_shipped_experiments_can_be_read(name):
    plan = read_experiment_of(name)

    assert plan.name == name
    assert len(plan.digest) == 64


def read_experiment_of(name):
    return read_experiment(Path("trainer/experiments") / f"{name}.toml")


def test_the_literal_field_is_a_switch(tmp_path):
    text = Path("trainer/experiments/contour.toml").read_text()
    path = tmp_path / "literal.toml"
    path.write_text('field = "literal"\n' + text)
    contours = torch.full((1, 2, 4, 2), float("nan"))
    contours[0, 0] = LINE[0]

    kind = read_experiment(path).field

    generators = [torch.Generator().manual_seed(0) for _ in range(2)]
    literal = targets(contours, SIZE, generators[0], kind).field
    blended = targets(contours, SIZE, generators[1]).field
    assert (literal - blended).abs().max() > 0.5


def test_an_unknown_key_in_an_experiment_is_named(tmp_path):
    text = Path("trainer/experiments/contour.toml").read_text()
    path = tmp_path / "odd.toml"
    path.write_text("colour = 1\n" + text)

    with pytest.raises(ExperimentInvalid, match="colour"):
        read_experiment(path)


@pytest.mark.parametrize(
    ("old", "new"), [("start", "initial_weights"), ("pits", "synthetic_erosions")]
)
def test_an_earlier_key_of_an_experiment_is_refused_by_its_new_name(tmp_path, old, new):
    path = tmp_path / "earlier.toml"
    path.write_text(f"{old} = 0\n" + Path("trainer/experiments/lesion.toml").read_text())

    with pytest.raises(ExperimentInvalid, match=f"{old} is now called {new}"):
        read_experiment(path)
