"""Texts that are not encoded as their header says.

Some devices declare UTF-8 and write Latin-1. Such a text would lose its letters; read as Latin-1 it
keeps them. Texts that are valid in the declared character set are never touched.

Source: DICOM PS3.3 C.12.1.1.2 (Specific Character Set).
"""

from pydicom.datadict import dictionary_VR
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset

_TEXTS = ("AE", "LO", "LT", "PN", "SH", "ST", "UC", "UT")
_UTF_8 = "ISO_IR 192"


def repair_texts(dataset: Dataset) -> Dataset:
    """Encode in UTF-8 what was declared as UTF-8 and is Latin-1, in place.

    Parameters
    ----------
    dataset
        As read from a file, before its texts are looked at.
    """
    if str(dataset.get("SpecificCharacterSet", "")).strip() != _UTF_8:
        return dataset
    for tag in list(dataset.keys()):
        element: object = dataset.get_item(tag)
        if isinstance(element, RawDataElement) and _is_text(element):
            dataset[tag] = element._replace(value=_as_utf_8(element.value or b""))
    return dataset


def _is_text(element: RawDataElement) -> bool:
    """Whether an element has text of the declared character set; implicit VR states none."""
    vr = element.VR
    if vr is None:
        try:
            vr = dictionary_VR(element.tag)
        except KeyError:
            return False
    return vr in _TEXTS and isinstance(element.value, bytes)


def _as_utf_8(value: bytes) -> bytes:
    try:
        value.decode("utf-8")
    except UnicodeDecodeError:
        return value.decode("cp1252", "replace").encode("utf-8")
    return value
