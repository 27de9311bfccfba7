"""Results that come back from an archive are compared by what they say."""

from copy import deepcopy
from io import BytesIO

import pytest
from pydicom import Dataset, dcmread
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

from sij_node.dicom.same_object import has_same_content
from tests.support.mr_series import with_attributes


def result(syntax: str = ExplicitVRLittleEndian, **content: object) -> Dataset:
    item = with_attributes(Dataset(), ValueType="TEXT", TextValue="Ödem")
    said = {"ContentSequence": [item], "EncapsulatedDocument": b"%PDF-1.7 x", **content}
    dataset = with_attributes(
        Dataset(),
        SOPClassUID="1.2.840.10008.5.1.4.1.1.104.1",
        SOPInstanceUID="1.2.3",
        SpecificCharacterSet="ISO_IR 192",
        PatientName="Muster^Erika",
        **said,
    )
    dataset.ensure_file_meta()
    dataset.file_meta.TransferSyntaxUID = syntax
    file = BytesIO()
    dataset.save_as(file, enforce_file_format=True)
    file.seek(0)
    return dcmread(file)


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
def test_encoding_padding_and_identity_change_no_content(syntax):
    returned = result(syntax, EncapsulatedDocument=b"%PDF-1.7 x\0\0")
    returned.PatientName, returned.RetrieveAETitle = "Other^Name", "ARCHIVE"

    assert has_same_content(result(), returned)


def test_another_text_or_document_is_other_content():
    text = result()
    text.ContentSequence[0].TextValue = "kein Ödem"
    removed = deepcopy(result())
    del removed.ContentSequence

    for other in (text, removed, result(EncapsulatedDocument=b"%PDF-1.7 y")):
        assert not has_same_content(result(), other)
