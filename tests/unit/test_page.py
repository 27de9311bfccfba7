"""The page: one, whole, searchable, with every name as it is spelt."""

import re
from io import BytesIO

import numpy as np
from pydicom import dcmread

from models.findings import POSITIONS, Finding
from sij_node.dicom.origin import NOT_CLINICAL, to_part10
from sij_node.dicom.page import page_report
from sij_node.profiles import Profile
from tests.support.mr import STIR_TIMES, classic_series
from tests.support.results import analysed_study, context

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


def test_the_most_that_can_be_said_still_fits_one_page():
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
