"""Names and descriptions in any character set, from the listener to the archive's store."""

from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from pydicom import Dataset

from sij_node.dicom.read_back.pdf_text import lines_of_text
from sij_node.domain.job import State
from tests.support.mr_series import STIR_TIMES, STUDY, T1_TIMES, classic_series
from tests.support.node_in_process import NodeInProcess, node_in_process

VALUES = np.random.default_rng(1).integers(0, 4000, (7, 48, 64), np.uint16)
GRID = {"spacing_mm": (4.4, 3.0, 3.0), "origin_mm": (-96.0, -20.0, 70.0)}

SCRIPTS = {
    "ISO_IR 100": "Müller^Jörg",
    "ISO_IR 101": "Wałęsa^Łucja",
    "ISO_IR 109": "Ħal^Ġorġ",
    "ISO_IR 110": "Bērziņš^Jānis",
    "ISO_IR 144": "Люксембург^Роза",
    "ISO_IR 127": "قباني^لنزار",
    "ISO_IR 126": "Διονυσιος^Αννα",
    "ISO_IR 138": "שרון^דבורה",
    "ISO_IR 148": "Çavuşoğlu^Işıl",
    "ISO_IR 166": "นาย^สมชาย",
    "ISO_IR 192": "Wang^XiaoDong=王^小东",
    "GB18030": "Wang^XiaoDong=王^小东",
    "GBK": "Zhang^XiaoDong=张^小东",
    "\\ISO 2022 IR 87": "Yamada^Tarou=山田^太郎=やまだ^たろう",
    "ISO 2022 IR 13\\ISO 2022 IR 87": "ﾔﾏﾀﾞ^ﾀﾛｳ=山田^太郎=やまだ^たろう",
    "\\ISO 2022 IR 149": "Hong^Gildong=洪^吉洞=홍^길동",
    "\\ISO 2022 IR 100\\ISO 2022 IR 144": "Müller^Роза",
}


@pytest.fixture
def node(tmp_path: Path) -> Iterator[NodeInProcess]:
    named = {"peer": {"profile": "named"}}
    profile = [{"name": "named", "objects": ["scores", "pdf", "summary"]}]
    with node_in_process(tmp_path / "node", **named, profile=profile) as node:
        yield node


def study(**changes: object) -> list[Dataset]:
    t1 = classic_series(VALUES, "1.2.3.1", **GRID, **T1_TIMES, **changes)
    return [*t1, *classic_series(VALUES, "1.2.3.2", **GRID, **STIR_TIMES, **changes)]


def contents(images: list[Dataset]) -> list[bytes]:
    files = []
    for image in images:
        file = BytesIO()
        image.save_as(file, enforce_file_format=True)
        files.append(file.getvalue())
    return files


def page_of(results: list[Dataset]) -> str:
    (pdf,) = [one for one in results if one.Modality == "DOC"]
    return " ".join(line.text for line in lines_of_text(pdf.EncapsulatedDocument))


@pytest.mark.parametrize("charset", SCRIPTS)
def test_a_name_in_any_script_is_in_every_result(node: NodeInProcess, charset):
    name = SCRIPTS[charset]
    images = study(SpecificCharacterSet=charset.split("\\"), PatientName=name, PatientID="4711")

    results = node.take(*images)

    assert node.jobs(STUDY)[-1].state is State.DELIVERED
    assert {str(one.PatientName) for one in results} == {name}


LOST = {
    "no declaration": ("ISO_IR 100", b"", "Müller^Jörg", "Müller^Jörg"),
    "unknown declaration": ("ISO_IR 100", b"ISO_IR 999", "Müller^Jörg", "Müller^Jörg"),
    "misspelt declaration": ("ISO_IR 100", b"ISO-IR 100", "Müller^Jörg", "Müller^Jörg"),
    "Python's name": ("ISO_IR 192", b"UTF-8", "王^小东", "王^小东"),
    "UTF-8 as Latin-1": ("ISO_IR 192", b"ISO_IR 100", "Müller^Jörg", "Müller^Jörg"),
    "UTF-8 undeclared": ("ISO_IR 192", b"", "Müller^Jörg", "Müller^Jörg"),
}


@pytest.mark.parametrize("case", LOST)
def test_a_wrong_declaration_keeps_the_letters(node: NodeInProcess, tmp_path: Path, case):
    written, declared, name, kept = LOST[case]
    images = contents(study(SpecificCharacterSet=written, PatientName=name))
    wrong = [one.replace(written.encode(), declared.ljust(10)) for one in images]

    assert set(node.send_files(tmp_path, wrong)) == {0x0000}

    assert {str(one.PatientName) for one in node.finish()} == {kept}


IDENTIFIERS = ["A\\B", "A^B", "A=B", "<b>&amp;", "'\"`", "%s{0}", "(a)\\)", "\u202e4711", "名-1"]


@pytest.mark.parametrize("identifier", IDENTIFIERS)
def test_any_identifier_is_right_on_the_pdf_page(node: NodeInProcess, identifier):
    results = node.take(*study(PatientID=identifier, AccessionNumber="A&<1>"))

    assert node.jobs(STUDY)[-1].state is State.DELIVERED
    assert {"\\".join(np.atleast_1d(one.PatientID)) for one in results} == {identifier}
    page = page_of(results).replace(" ", "")  # another font begins another line
    assert identifier.strip("\u202e") in page
