"""Readings as tables of the readers' own spellings, and templates for them."""

import csv

import pytest

from models.case_file import CaseFileInvalid
from models.findings import POSITIONS
from models.reading_table import READING_COLUMNS, position_of, readings_of, write_template

HEAD = ",".join(READING_COLUMNS)


@pytest.mark.parametrize(
    ("cells", "name"),
    [
        (("L", "lower ilium", "edema"), "left lower ilium oedema"),
        (("Right", "iliac, upper".replace(",", ""), "BME"), "right upper ilium oedema"),
        (("rt", "superior_sacral", "fat metaplasia"), "right upper sacrum fatty lesion"),
        (("left", "Inferior Sacrum", "Erosions"), "left lower sacrum erosion"),
        (("l", "", "sclerosis"), "left joint sclerosis"),
        (("R", "SI joint", "fusion"), "right joint ankylosis"),
    ],
)
def test_common_spellings_name_a_position(cells, name):
    assert str(position_of(*cells)) == name


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        (("middle", "lower ilium", "oedema"), "unknown side 'middle'; known are right, left"),
        (("left", "knee", "oedema"), "unknown region 'knee'; known are upper ilium"),
        (("left", "lower ilium", "cyst"), "unknown lesion 'cyst'; known are oedema, erosion"),
        (("left", "", "oedema"), "oedema is not scored in joint, but in lower ilium"),
    ],
)
def test_a_name_that_means_nothing_is_refused_with_those_that_do(cells, message):
    with pytest.raises(CaseFileInvalid, match=message):
        position_of(*cells)


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_tables_of_spreadsheets_are_read(tmp_path, separator):
    path = tmp_path / "readings.csv"
    rows = [HEAD, "S1,1.0,A,1.0,L,upper ilium,edema,1.0", "S1,1,A,1,L,lower ilium,edema,NA"]
    path.write_text("\n".join(rows).replace(",", separator), encoding="utf-8-sig")

    (reading,) = readings_of(path, "S1", 1)

    assert {str(position): grade for position, grade in reading.grades.items()} == {
        "left upper ilium oedema": 1
    }


def test_a_score_between_two_grades_is_refused(tmp_path):
    path = tmp_path / "readings.csv"
    path.write_text(f"{HEAD}\nS1,1,A,1,L,upper ilium,edema,1.5\n")

    with pytest.raises(CaseFileInvalid, match=r"line 2, is invalid: 1\.5 is not a whole number"):
        readings_of(path, "S1", 1)


def test_a_template_has_a_row_for_every_position_and_is_read_once_filled_in(tmp_path):
    path = tmp_path / "template.csv"

    rows = write_template(path, [("S1", 1), ("S2", 1)], ["A", "B"])

    assert rows == 4 * len(POSITIONS)
    with path.open(newline="") as file:
        table = list(csv.reader(file))
    filled = [[*row[:-1], "0"] for row in table[1:]]
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([table[0], *filled])
    first, second = readings_of(path, "S2", 1)
    assert (first.reader, second.reader) == ("A", "B")
    assert set(first.grades) == set(POSITIONS)
