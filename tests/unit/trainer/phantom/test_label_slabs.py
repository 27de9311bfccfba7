"""Label slabs: anatomy without appearance, and the truth that belongs to it."""

import numpy as np
import pytest
import torch

from models.joint_unet import SQUARE_MM
from trainer.contours.phantom_stacks import draw_stacks, phantom_stacks
from trainer.contours.slab_training import JointStocks, close_batches, soft_presence
from trainer.phantom.appearance import images_of
from trainer.phantom.draw_slabs import SlabKind, draw_slabs
from trainer.phantom.label_slabs import CLOSE_PX, close_slab, field_slab
from trainer.phantom.tissue_labels import TissueLabel


@pytest.fixture(scope="module")
def slabs():
    return [close_slab(seed) for seed in range(12)]


def seen(slabs):
    return [
        (slab.labels[number, 1], slab.lines[number, 0], slab.visible_mm[number, 0])
        for slab in slabs
        for number in range(len(slab.labels))
        if np.isfinite(slab.lines[number, 0]).all()
    ]


def test_the_same_seed_draws_the_same_slab():
    first, second = close_slab(5), close_slab(5)

    assert np.array_equal(first.labels, second.labels)
    assert np.array_equal(first.lines, second.lines, equal_nan=True)


def test_lines_run_downwards_and_only_where_cartilage_is_cut(slabs):
    there = seen(slabs)

    assert len(there) > 10
    for _, line, visible_mm in there:
        assert (np.diff(line[:, 0]) > 0).all()
        assert (
            0 < visible_mm < 1.2 * np.linalg.norm(np.diff(line, axis=0), axis=1).sum() * SQUARE_MM
        )


def test_the_ilium_lies_lateral_of_a_line_and_the_sacrum_medial(slabs):
    right_way, wrong_way = 0, 0
    for labels, line, _ in seen(slabs):
        for row, column in np.rint(line).astype(int)[2:-2]:
            if 0 <= row < len(labels):
                lateral, medial = labels[row, column : column + 9], labels[row, :column][-9:]
                right_way += (TissueLabel.ILIUM in lateral) + (TissueLabel.SACRUM in medial)
                wrong_way += (TissueLabel.ILIUM in medial) + (TissueLabel.SACRUM in lateral)

    points = 12 * len(seen(slabs))
    assert right_way > 2 * 0.5 * points
    assert wrong_way < 0.05 * right_way


def test_a_field_of_view_shows_the_right_joint_on_the_left_of_the_image():
    both = [slab.lines[0] for slab in map(field_slab, range(30))]
    columns = [lines[:, :, 1].mean(axis=1) for lines in both if np.isfinite(lines).all()]

    assert len(columns) > 5
    assert all(left - right > 15 for right, left in columns)


def test_appearance_is_new_each_time_and_never_negative(slabs):
    labels = torch.from_numpy(np.stack([slab.labels[:3] for slab in slabs[:4]]))
    generator = torch.Generator().manual_seed(1)

    first, second = images_of(labels, generator), images_of(labels, generator)

    assert first.shape == (4, 3, CLOSE_PX, CLOSE_PX)
    assert float(first.min()) >= 0
    assert not torch.allclose(first, second)


def test_presence_is_half_at_the_seven_millimetres_of_the_rule():
    assert soft_presence(torch.tensor([0.0, 7.0, 30.0])).tolist() == pytest.approx([0, 0.5, 1])


def test_slabs_and_studies_are_kept_and_come_back_in_one_batch(tmp_path, monkeypatch):
    monkeypatch.setattr("trainer.phantom.draw_slabs.CHUNK", 6)
    draw_slabs(first=0, chunks=1, kind=SlabKind.CLOSE, cache=tmp_path)
    draw_stacks(first=0, studies=1, cache=tmp_path)

    stocks = JointStocks.of(tmp_path, SlabKind.CLOSE)
    images, lines, visible = next(close_batches(stocks, 8, torch.Generator().manual_seed(0)))

    assert stocks.shares(8) == (6, 2, 0)
    assert images.shape == (8, 3, 112, 112)
    assert (lines.shape, visible.shape) == ((8, 1, 16, 2), (8, 1))
    assert images.flatten(1).mean(dim=1).abs().max() < 0.5


def test_slabs_drawn_during_training_are_taken_in(tmp_path, monkeypatch):
    monkeypatch.setattr("trainer.phantom.draw_slabs.CHUNK", 2)
    draw_slabs(first=0, chunks=1, kind=SlabKind.FIELD, cache=tmp_path)
    stocks = JointStocks.of(tmp_path, SlabKind.FIELD)
    draw_slabs(first=2, chunks=1, kind=SlabKind.FIELD, cache=tmp_path)

    stocks.grow()

    assert len(stocks.slabs) == 4
    assert stocks.shares(8) == (8, 0, 0)


@pytest.mark.parametrize("side", [0, 1], ids=["right", "left"])
def test_squares_of_a_study_show_the_joint_where_its_line_says(side):
    close, whole = phantom_stacks(0).values()
    stack = close[side]
    shown = np.flatnonzero(stack.visible_mm[:, 0] > 7)

    assert len(shown) > 3
    assert (np.diff(stack.lines[shown, 0, :, 0], axis=1) > 0).all()
    assert np.abs(stack.lines[shown, 0].mean(axis=(0, 1)) - CLOSE_PX / 2).max() < 30
    right, left = np.nanmean(whole[0].lines[shown], axis=(0, 2))
    assert left[1] - right[1] > 15
