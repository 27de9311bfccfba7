"""A site trains the shipped contour networks on its own cases with one command."""

import numpy as np
import pytest
from typer.testing import CliRunner

from models.case_file import Case, CaseSeries, write_case_file
from models.weights import OWN_INTENDED_USE, load_network, read_card
from tests.support.phantom_studies import drawn_case
from trainer.__main__ import app
from trainer.contours.image_stacks import read_stacks, stacks_path
from trainer.errors import TrainingInputInvalid
from trainer.experiment import SHIPPED_WEIGHTS
from trainer.imports.site_cases import import_cases
from trainer.phantom.case import PhantomOptions
from trainer.phantom.draw_slabs import SlabKind
from trainer.training_log import read_history

SHIPPED = SHIPPED_WEIGHTS / "contour"


def case_of(subject, phantom, drawn=True):
    pairs = (("T1", phantom.t1, phantom.t1_truth), ("STIR", phantom.stir, phantom.stir_truth))
    series = tuple(CaseSeries(k, v, d if drawn else None) for k, v, d in pairs)
    return Case(subject, series, ())


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    """Three prepared cases; the last was not drawn."""
    folder = tmp_path_factory.mktemp("own")
    phantom = drawn_case(7, PhantomOptions(slices=12, matrix=192))
    for number in range(3):
        path = folder / "cases" / f"S{number}.case.npz"
        path.parent.mkdir(exist_ok=True)
        write_case_file(case_of(f"S{number}", phantom, drawn=number < 2), path)
    import_cases(folder / "cases", folder / "prepared")
    return folder / "prepared"


def tune(own, out, *, training="0 1", validation="1 2", minutes=0.001, more=()):
    ranges = ("--training", *training.split(), "--validation", *validation.split())
    where = ("--weights", out / "contour", "--runs", out / "runs", "--cache", out / "none")
    size = ("--minutes", minutes, "--batch", 2, "--version", "own-1", *more)
    words = ("fine-tune", own, *ranges, *where, *size)
    return CliRunner().invoke(app, [str(word) for word in words])


@pytest.fixture(scope="module")
def tuned(own, tmp_path_factory):
    """A folder with fine-tuned weights and their run, and what the command printed."""
    folder = tmp_path_factory.mktemp("tuned")
    result = tune(own, folder)
    assert result.exit_code == 0, result.output
    return folder, result.output


def test_import_cuts_squares_around_drawn_joints_only(own):
    (stack, *_) = read_stacks(stacks_path(own, SlabKind.CLOSE, 0))

    assert np.isfinite(stack.lines).any()
    assert not stacks_path(own, SlabKind.CLOSE, 2).exists()


def test_fine_tuning_changes_every_delineating_network_a_little(tuned):
    folder, _ = tuned

    before, after = (load_network(f).network for f in (SHIPPED, folder / "contour"))
    assert len(after.delineators) == len(before.delineators)
    for one, other in zip(before.delineators, after.delineators, strict=True):
        moved = [
            float((a - b).abs().max())
            for a, b in zip(one.parameters(), other.parameters(), strict=True)
        ]
        assert 0 < max(moved) < 0.1
    for one, other in zip(before.finder.parameters(), after.finder.parameters(), strict=True):
        assert (one == other).all()


def test_the_card_says_whose_cases_and_what_was_gained(tuned):
    folder, printed = tuned

    card = read_card(folder / "contour")
    validation = card.metrics["own validation"]
    assert card.intended_use == OWN_INTENDED_USE
    assert card.training["start"] == read_card(SHIPPED).sha256
    assert len(card.training["subjects"]["training"]) == 1
    assert "S0" not in str(card.training)
    assert validation["before"]["lines"] == validation["after"]["lines"] > 10
    assert "validation cases before" in printed


def test_fine_tuning_is_measured_on_the_validation_cases_while_it_runs(tuned):
    folder, printed = tuned

    logs = folder / "runs" / "fine-tune-own-1-0" / "close"
    measured = [row for row in read_history(logs) if "validation loss" in row]
    assert measured[0]["validation RMS p50, mm"] > 0
    assert (logs / "curves.png").exists()
    assert "(best so far)" in printed


@pytest.mark.parametrize(
    ("ranges", "words"),
    [
        ({"training": "2 3"}, "no drawn joints in cases 2 to 2"),
        ({"validation": "2 3"}, "nothing shows whether training helped"),
    ],
    ids=["training", "validation"],
)
def test_cases_without_drawn_joints_are_refused(own, tmp_path, ranges, words):
    result = tune(own, tmp_path, **ranges)

    assert isinstance(result.exception, TrainingInputInvalid)
    assert words in str(result.exception)


def test_the_weights_it_starts_from_are_never_overwritten(own, tmp_path):
    result = tune(own, tmp_path, more=("--start", tmp_path / "contour"))

    assert isinstance(result.exception, TrainingInputInvalid)
    assert "would be overwritten" in str(result.exception)


def test_the_network_of_whole_slices_is_refused_with_its_command(own, tmp_path):
    other = SHIPPED_WEIGHTS / "whole_slices" / "contour"

    result = tune(own, tmp_path, more=("--start", other))

    assert isinstance(result.exception, TrainingInputInvalid)
    assert "train contour goes on from" in str(result.exception)
