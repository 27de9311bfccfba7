"""docs/training.md from top to bottom, on six phantom studies of a site with its own style.

Every command runs as it is written there; only steps, minutes and folds are made small.
"""

import json
import re
import shlex
import subprocess
from pathlib import Path

import nibabel
import numpy as np
import pytest
from typer.testing import CliRunner

from models.findings import Side
from models.joint_unet import JointArchitectures
from models.reading_table import READING_COLUMNS
from models.weights import read_card
from models.weights_signature import check_signature
from sij_node.cli.commands import app as node
from tests.support.phantom_studies import STIR, T1, drawn_case, written
from trainer.__main__ import app as trainer
from trainer.experiment import CASES, read_experiment
from trainer.phantom.case import PhantomOptions
from trainer.prepared_cases import stored_case, write_case

ROOT = Path(__file__).parents[2]
WALK = (ROOT / "docs" / "training.md").read_text().partition("## Commands of the training")[0]
PEOPLE = 6
SITE = PhantomOptions(slices=10, matrix=160, disease="advanced", style="plausible")

ON_A_NODE = ("sij-node compare", "sij-node doctor")
"""These need a node with studies; its own tests run them."""
ELSEWHERE = ("python -m trainer export-onnx",)
"""Run on small networks by tests/integration/trainer/test_export_onnx.py."""

FEW = ("--set", "steps=2", "--set", "batch=2")
SMALL = {
    "fine-tune": ("--minutes", "0.001", "--batch", "2"),
    "calibrate": ("--slices-of", "1"),
    "cross-validate": ("--folds", "3", "--phantoms", "1", *FEW),
    "train": FEW,
}


def commands():
    blocks = re.findall(r"```(\w*)\n(.*?)```", WALK, re.DOTALL)
    lines = [line for _, block in blocks for line in block.splitlines()]
    return [line for line in lines if line.startswith(("python -m trainer ", "sij-node "))]


def run(command):
    words = shlex.split(command)
    app, arguments = (node, words[1:]) if words[0] == "sij-node" else (trainer, words[3:])
    result = CliRunner().invoke(app, [*arguments, *SMALL.get(arguments[0], ())])
    assert result.exit_code == 0, (command, result.output, result.exception)
    return result.output


def site(folder):
    """Studies, contours and readings as a site has them before the first command."""
    rows = ["study,subject,visit,contours,readings"]
    readings = [",".join(READING_COLUMNS)]
    (folder / "contours").mkdir()
    for number in range(1, PEOPLE + 1):
        case = drawn_case(100 + number % 3, SITE)
        study = written(case, folder / "studies" / str(number))
        (folder / "contours" / f"{number}.json").write_text(json.dumps(contours(case, study)))
        rows.append(f"studies/{number},S{number:03},1,contours/{number}.json,readings.csv")
        readings += [
            f"S{number:03},1,{reader},1,{p.side},{p.head.region},{p.head.lesion},{grade}"
            for reader in "AB"
            for p, grade in case.severity.items()
        ]
    (folder / "studies.csv").write_text("\n".join(rows))
    (folder / "readings.csv").write_text("\n".join(readings))
    images(folder, drawn_case(100, SITE))


def contours(case, study):
    pairs = ((T1, case.t1, case.t1_truth), (STIR, case.stir, case.stir_truth))
    return {
        "contours": [
            {
                "series_instance_uid": study.series_uid(number),
                "side": str(one.side),
                "points": volume.to_patient(np.insert(one.points, 0, one.slice_index, 1)).tolist(),
            }
            for number, volume, truth in pairs
            for one in truth.contours
        ]
    }


def images(folder, case):
    """The T1 as NIfTI, with a mask of each joint."""
    to_ras = np.diag([-1.0, -1.0, 1.0, 1.0]) @ case.t1.affine
    nibabel.save(nibabel.Nifti1Image(case.t1.voxels, to_ras), folder / "t1.nii.gz")
    (folder / "segmentation").mkdir()
    for side in Side:
        mask = np.zeros(case.t1.voxels.shape, np.uint8)
        for contour in case.t1_truth.of(side):
            rows, columns = np.round(contour.points).astype(int).T
            mask[contour.slice_index, rows, columns] = 1
        image = nibabel.Nifti1Image(mask, to_ras)
        nibabel.save(image, folder / "segmentation" / f"joint_{side}.nii.gz")


def experiments(folder, printed):
    """Copies of the experiments for own cases, with the lines that import-cases printed."""
    split = printed[printed.index("[cases]") :]
    for kind in ("lesion", "contour"):
        text = (ROOT / "trainer" / "experiments" / "own" / f"{kind}.toml").read_text()
        (folder / f"own-{kind}.toml").write_text(text[: text.index("\n[cases]") + 1] + split)


def keys(folder):
    for command in re.findall(r"`(openssl [^`]+)`", WALK):
        subprocess.run(shlex.split(command), cwd=folder, check=True, capture_output=True)


def phantom_to_judge(folder):
    """The one phantom that shows what was forgotten, so that none is drawn at full size."""
    roi = read_experiment(folder / "own-lesion.toml").roi
    (folder / "runs" / CASES).mkdir(parents=True)
    stored = stored_case(drawn_case(100, SITE), roi)
    write_case(type(stored)(**vars(stored) | {"seed": 40_000}), folder / "runs" / CASES)


@pytest.fixture(scope="module")
def walked(tmp_path_factory):
    """A folder in which every command was run, and what each one printed."""
    folder = tmp_path_factory.mktemp("site")
    site(folder)
    said = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for command in commands():
            if command.startswith((*ON_A_NODE, *ELSEWHERE)):
                continue
            if command.startswith("python -m trainer sign-weights"):
                keys(folder)
            said[command] = run(command)
            if command.startswith("python -m trainer import-cases"):
                experiments(folder, said[command])
                phantom_to_judge(folder)
    return folder, said


def test_the_walk_ends_with_signed_weights_of_both_networks(walked):
    folder, _ = walked

    for network in ("contour", "lesion"):
        check_signature(folder / "own-weights" / network, folder / "signer.pem")
        assert read_card(folder / "own-weights" / network).training["data"] == "a site's own: own"
    assert isinstance(
        read_card(folder / "own-weights" / "contour").architecture, JointArchitectures
    )


def test_the_walk_says_what_was_gained_and_what_was_lost(walked):
    folder, said = walked

    page = (folder / "own-weights" / "lesion" / "cross_validation.md").read_text()
    (printed,) = (text for command, text in said.items() if "cross-validate" in command)
    assert page in printed
    assert "## Own subjects, held out" in page
    assert "## Phantoms" in page
    assert page.count("Mean change of the AUC: ") == 2
    assert "| oedema | 40 |" in page


def test_the_walk_shows_the_readers_agreement_and_the_curves(walked):
    folder, _ = walked

    report = (folder / "runs" / "own" / "import_report.md").read_text()
    assert "| A and B, session 1 | 168 | 1.00 | 1.00 to 1.00 |" in report
    assert (folder / "runs" / "own-lesion-1.0.0" / "curves.png").exists()
    assert len(list((folder / "more-cases").glob("*.case.npz"))) == 1
    assert "S006,1,B,1,left,joint,ankylosis," in (folder / "template.csv").read_text()
