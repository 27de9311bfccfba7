"""From a site's DICOM files to weights for the node, as described in docs/training.md."""

import json
from dataclasses import replace

import numpy as np
import pytest
from typer.testing import CliRunner

from models.reading_table import READING_COLUMNS
from models.weights import OWN_INTENDED_USE, load_network, read_card
from sij_node.cli.commands import app as node
from tests.support.phantom_studies import STIR, T1, drawn_case, written
from trainer.__main__ import app as trainer_app
from trainer.phantom.case import PhantomOptions

EXPERIMENT = """
kind = "{kind}"
name = "own-{kind}"
version = "1.0.0"
steps = 2
batch = 4
learning_rate = 1e-3
seed = 1

[architecture]
{architecture}

[roi]
size_px = 48

[cases]
folder = "own"
training = [0, 2]
validation = [2, 3]
test = [3, 4]
"""
ARCHITECTURES = {
    "contour": "width = 4\nlevels = 3\nfold = 2",
    "lesion": 'width = 4\nkernel_depth = 1\npooling = "zones"',
}


def contours_json(case, study):
    drawn = [
        {
            "series_instance_uid": study.series_uid(number),
            "side": str(contour.side),
            "points": volume.to_patient(
                np.insert(contour.points, 0, contour.slice_index, axis=1)
            ).tolist(),
        }
        for number, volume, truth in (
            (T1, case.t1, case.t1_truth),
            (STIR, case.stir, case.stir_truth),
        )
        for contour in truth.contours
    ]
    return json.dumps({"contours": drawn})


def readings_csv(case):
    """Two readers who never disagree, one of them in two sessions, of four people."""
    rows = [
        f"S{person},1,{reader},{session},{p.side},{p.head.region},{p.head.lesion},{grade}"
        for person in range(4)
        for reader, session in (("A", 1), ("A", 2), ("B", 1))
        for p, grade in case.severity.items()
    ]
    return "\n".join([",".join(READING_COLUMNS), *rows])


def run(app, *arguments):
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == 0, (result.output, result.exception)
    return result.output


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """Four people, one visit each, ready for training."""
    folder = tmp_path_factory.mktemp("own")
    base = drawn_case(7, PhantomOptions(slices=15, matrix=256, disease="advanced"))
    for number in range(4):
        case = base if number < 3 else replace(base, seed=8)
        study = written(case, folder / f"dicom{number}")
        (folder / "contours.json").write_text(contours_json(case, study))
        (folder / "readings.csv").write_text(readings_csv(case))
        run(
            node,
            "training-case",
            study.files[0].parent,
            "--subject",
            f"S{number}",
            "--contours",
            folder / "contours.json",
            "--readings",
            folder / "readings.csv",
            "--out",
            folder / "cases",
        )
    said = run(
        trainer_app,
        "import-cases",
        folder / "cases",
        "--out",
        folder / "runs" / "own",
        "--size-px",
        48,
    )
    assert 'folder = "own"' in said
    assert "2 reader(s), 2 session(s)" in said
    return folder


@pytest.mark.parametrize("kind", ["contour", "lesion"])
def test_own_studies_become_weights_whose_card_names_the_data(prepared, kind):
    plan = prepared / f"{kind}.toml"
    plan.write_text(EXPERIMENT.format(kind=kind, architecture=ARCHITECTURES[kind]))

    run(
        trainer_app,
        "train",
        kind,
        "--experiment",
        plan,
        "--weights",
        prepared / "weights",
        "--runs",
        prepared / "runs",
    )

    card = read_card(prepared / "weights" / kind)
    assert card.intended_use == OWN_INTENDED_USE
    assert card.training["data"] == "a site's own: own"
    assert load_network(prepared / "weights" / kind).card.sha256 == card.sha256


def test_own_lesion_weights_are_evaluated_without_a_contour_network(prepared):
    plan, weights = prepared / "evaluated.toml", prepared / "lesion-weights"
    text = EXPERIMENT.format(kind="lesion", architecture=ARCHITECTURES["lesion"])
    plan.write_text(text.replace("own-lesion", "evaluated"))
    where = ("--weights", weights, "--runs", prepared / "runs")
    run(trainer_app, "train", "lesion", "--experiment", plan, *where)

    page = run(trainer_app, "evaluate", "lesion", "--experiment", plan, *where)

    assert not (weights / "contour").exists()
    assert "the site's own test cases" in page
    assert read_card(weights / "lesion").metrics["test"]["studies"] == 1


def test_a_site_s_readers_are_learnt_beside_the_network(prepared):
    plan = prepared / "read.toml"
    text = EXPERIMENT.format(kind="lesion", architecture=ARCHITECTURES["lesion"])
    plan.write_text(text.replace("own-lesion", "read") + '\n[readers]\nmodel = "chain"\n')

    where = ("--weights", prepared / "read-weights", "--runs", prepared / "runs")
    run(trainer_app, "train", "lesion", "--experiment", plan, *where)

    card = read_card(prepared / "read-weights" / "lesion")
    assert card.training["readers"] == "chain"


def test_a_case_that_was_never_prepared_is_named(prepared):
    plan = prepared / "missing.toml"
    text = EXPERIMENT.format(kind="contour", architecture=ARCHITECTURES["contour"])
    plan.write_text(text.replace("[0, 2]", "[10, 12]").replace("own-contour", "missing"))

    result = CliRunner().invoke(
        trainer_app,
        [
            *("train", "contour", "--experiment", str(plan)),
            *("--weights", str(prepared / "missing"), "--runs", str(prepared / "runs")),
        ],
    )

    assert "has no case 10" in str(result.exception)
