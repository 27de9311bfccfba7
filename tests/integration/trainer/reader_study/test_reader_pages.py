import json
from pathlib import Path

import pytest

from models.findings import Lesion
from models.weights import read_card
from tests.support.reader_trials import toy_trials
from trainer.reader_study.reader_commands import compare

QUICK = "[heads]\ndecays = [0.01]\nsteps = 15\nfolds = 3\ncomponents = 8\n"


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    folder = tmp_path_factory.mktemp("compared")
    paths = []
    for name, model in (("chain", "chain"), ("consensus only", "consensus")):
        paths.append(folder / f"{model}.toml")
        paths[-1].write_text(f'name = "{name}"\n[readers]\nmodel = "{model}"\n{QUICK}')
    card = read_card(Path("models/weights/lesion"))
    compare(paths, toy_trials(), card, folder / "folds", folder / "docs")
    return folder


def test_the_page_compares_the_models_and_warns(compared):
    page = (compared / "docs" / "lesions.md").read_text()

    assert "Trained on phantoms, not for clinical use" in page
    assert "| consensus only |" in page
    for picture in ("roc", "calibration", "confusion"):
        name = f"images/lesions_{picture}.png"
        assert name in page
        assert (compared / "docs" / name).stat().st_size > 5000


def test_the_numbers_are_kept_with_everything_that_made_them(compared):
    kept = json.loads((compared / "docs" / "lesions.json").read_text())

    chain = kept["experiments"]["chain"]
    assert set(chain["trials"]) == {"measure-like", "prevent-like", "surpass-like"}
    for against in ("consensus", "truth"):
        for lesion in Lesion:
            scores = chain["trials"]["surpass-like"][against][str(lesion)]
            low, high = scores["intervals"]["auc"]
            assert 0 < low <= high <= 1
    assert len(chain["sha256"]) == 64
    assert len(kept["chain less"]["consensus only"]["measure-like"]["truth"]["brier"]) == 3
    assert kept["experiments"]["consensus only"]["confusion error"] is None


def test_every_fold_is_kept(compared):
    assert len(list((compared / "folds").glob("*/fold?.npz"))) == 6
