"""The page: one, whole, searchable, with every name as it is spelt."""

import re
from dataclasses import replace
from io import BytesIO

import numpy as np
from pydicom import dcmread

from models.findings import POSITIONS, Finding, Sight
from models.findings import Sequence as Kind
from sij_node.config.profiles import Profile
from sij_node.dicom.read_back.pdf_text import lines_of_text
from sij_node.domain.prior_comparison import SincePrior
from sij_node.results.pdf_report import page, page_report
from sij_node.results.provenance import NOT_CLINICAL, to_part10
from tests.support.mr_series import STIR_TIMES, classic_series
from tests.support.prior_reports import earlier
from tests.support.result_inputs import analysed_study, context

VALUES = np.arange(5 * 16 * 12, dtype=np.uint16).reshape(5, 16, 12)


def made(profile=None, found=None, remarks=(), **attributes):
    study = analysed_study(
        classic_series(VALUES, **attributes),
        classic_series(VALUES, "1.2.3.5", **STIR_TIMES, **attributes),
    )
    made_by = context(profile=profile) if profile else context()
    return page_report(study.series, found or study.findings, remarks, made_by)


def pdf_of(document) -> bytes:
    return document.EncapsulatedDocument[: document.EncapsulatedDocumentLength]


def pages_in(pdf: bytes) -> int:
    return len(re.findall(rb"/Type /Page\b(?!s)", pdf))


def test_it_is_one_pdf_page_with_its_own_length():
    document = made()
    pdf = pdf_of(document)

    assert pdf.startswith(b"%PDF-")
    assert pdf.rstrip().endswith(b"%%EOF")
    assert pages_in(pdf) == 1
    assert len(document.EncapsulatedDocument) % 2 == 0
    assert document.MIMETypeOfEncapsulatedDocument == "application/pdf"
    assert document.VerificationFlag == "UNVERIFIED"
    assert document.BurnedInAnnotation == "YES"


def test_the_longest_report_still_fits_one_page():
    everywhere = [Finding(p, 0.999, 0.5) for p in POSITIONS]
    document = made(
        Profile(name="ward", language="de"),
        everywhere,
        ["Eine fettgesättigte T2-Serie wurde anstelle der STIR verwendet."],
        PatientName="W" * 31 + "^" + "W" * 32,
        PatientID="W" * 64,
        IssuerOfPatientID="W" * 64,
        StudyDescription="W" * 64,
    )

    assert pages_in(pdf_of(document)) == 1


def test_lesion_names_stay_below_their_picture_and_above_the_footer():
    study = analysed_study(classic_series(VALUES), classic_series(VALUES, "1.2.3.5", **STIR_TIMES))
    present = (replace(f, probability=0.999, threshold=0.5) for f in study.findings)
    one_place = Sight(Kind.STIR, 2, 5.0, 5.0)
    two_places = [
        replace(f, sight=replace(one_place, slice_index=2 + n % 2)) for n, f in enumerate(present)
    ]
    since = SincePrior(earlier(), (earlier("20190101"),), True, ("late",))
    german = replace(context(profile=Profile(name="ward", language="de")), since=since)

    words = lines_of_text(page(study.series, two_places, (), german))

    (fine_print,) = [one for one in words if one.text.startswith("Einschränkungen:")]
    lesions = [one for one in words if re.match(r"(Rechts|Links) .*%, (T1|STIR)$", one.text)]
    assert len(lesions) == len(POSITIONS)
    assert min(one.up_pt for one in lesions) > fine_print.up_pt + 2
    lines = sorted(one.up_pt for one in lesions)
    assert min(np.diff(lines)) > 4
    assert len([one for one in words if re.fullmatch(r"[ÖEFSA]\d*", one.text)]) >= len(POSITIONS)


def test_empty_values_are_no_obstacle():
    assert (
        pages_in(pdf_of(made(PatientName="", PatientID="", StudyDate="", PatientBirthDate=""))) == 1
    )


def test_the_same_inputs_make_the_same_bytes():
    name = "Yamada^Tarou=山田^太郎"

    assert to_part10(made(PatientName=name), "N") == to_part10(made(PatientName=name), "N")


def test_the_object_survives_being_written_and_read():
    document = made()

    read = dcmread(BytesIO(to_part10(document, "N")))

    assert pdf_of(read) == pdf_of(document)
    assert len(read.SourceInstanceSequence) == 10
    assert NOT_CLINICAL in {e.ContributionDescription for e in read.ContributingEquipmentSequence}
