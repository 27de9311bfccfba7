"""How far a site's readers agree is part of the import report."""

import numpy as np
import pytest
from typer.testing import CliRunner

from models.case_file import SUFFIX, Case, CaseSeries, write_case_file
from models.findings import POSITIONS
from models.volume import Volume
from trainer.__main__ import app
from trainer.imports.agreement import agreement_tables, comparisons
from trainer.readers.readings import MISSING

CASES = 12
RNG = np.random.default_rng(1)
TRUTH = (RNG.random((CASES, len(POSITIONS))) < 0.5).astype(np.int8)


def readings(second, third=None):
    """Reader A sees the truth, in the second session as `third`; B reads `second` once."""
    values = np.full((CASES, len(POSITIONS), 2, 2), MISSING, np.int8)
    values[:, :, 0, 0], values[:, :, 1, 0] = TRUTH, second
    if third is not None:
        values[:, :, 0, 1] = third
    return values


def test_every_pair_of_readers_and_of_sessions_is_compared_once():
    found = {one.name: one for one in comparisons(readings(TRUTH, 1 - TRUTH), ["A", "B"], [1, 3])}

    pairs = {name: one.pairs for name, one in found.items()}
    assert pairs == {
        "A and B, session 1": TRUTH.size,
        "A and B, session 3": 0,
        "A, sessions 1 and 3": TRUTH.size,
        "B, sessions 1 and 3": 0,
    }
    assert found["A and B, session 1"].kappa_at() == 1
    assert found["A, sessions 1 and 3"].kappa_at() == pytest.approx(-1, abs=0.1)


def test_agreement_is_given_by_lesion_and_region_with_an_interval():
    oedema = [n for n, one in enumerate(POSITIONS) if one.head.lesion == "oedema"]
    second = TRUTH.copy()
    second[:, oedema] = 1 - second[:, oedema]

    said = agreement_tables(readings(second), ["A", "B"], [1, 2], [f"S{n}" for n in range(CASES)])

    by_lesion = said.partition("### By lesion")[2].partition("### By region")[0]
    row = next(line for line in by_lesion.splitlines() if line.startswith("| A and B"))
    kappas = [cell.strip() for cell in row.strip("| ").split("|")[1:]]
    assert float(kappas[0]) < -0.9
    assert kappas[1:] == ["1.00"] * 4
    assert "| upper ilium |" in said
    assert " to " in said.partition("### By lesion")[0]


def test_a_single_reading_has_no_agreement():
    values = readings(TRUTH)
    values[:, :, 1] = MISSING

    assert agreement_tables(values, ["A", "B"], [1, 2], ["S1"] * CASES) == ""


def test_a_template_is_written_for_the_case_files_and_never_over_readings(tmp_path):
    series = CaseSeries("T1", Volume(np.zeros((5, 8, 8), np.float32), np.eye(4)), None)
    write_case_file(Case("S1", (series,)), tmp_path / f"S1-2{SUFFIX}")
    words = ["reading-template", str(tmp_path), "--out", str(tmp_path / "r.csv"), "--reader", "A"]

    first, again = CliRunner().invoke(app, words), CliRunner().invoke(app, words)

    assert "28 rows for 1 visits and 1 readers" in first.output
    assert "S1,2,A,1,right,upper ilium,oedema," in (tmp_path / "r.csv").read_text()
    assert "so that no readings are lost" in str(again.exception)
