"""Texts that are not encoded as their header says.

Some devices declare UTF-8 and write Latin-1, others declare Latin-1 or nothing and write UTF-8.
Latin-1 is never valid UTF-8 by accident in a name, so the bytes tell which of the two it is. Texts
of all other character sets are never touched.

Source: DICOM PS3.3 C.12.1.1.2 (Specific Character Set).
"""

from collections.abc import Iterable, Iterator

from pydicom.datadict import dictionary_VR
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset

_TEXTS = ("AE", "LO", "LT", "PN", "SH", "ST", "UC", "UT")
_UTF_8 = "ISO_IR 192"
_LATIN_1 = ("", "ISO_IR 6", "ISO_IR 100")
"""Declarations under which pydicom reads Latin-1."""


def repair_texts(dataset: Dataset) -> Dataset:
    """Correct texts that are Latin-1 but declared as UTF-8, or the other way, in place.

    Parameters
    ----------
    dataset
        As read from a file, before its texts are looked at.
    """
    declared = str(dataset.get("SpecificCharacterSet") or "").strip()
    texts = list(_texts(dataset)) if declared in (_UTF_8, *_LATIN_1) else []
    if declared == _UTF_8:
        for element in texts:
            dataset[element.tag] = element._replace(value=_as_utf_8(element.value or b""))
    elif _are_utf_8([element.value or b"" for element in texts]):
        implicit_vr, little_endian = dataset.original_encoding
        dataset.set_original_encoding(implicit_vr, little_endian, ["utf_8"])
        dataset.SpecificCharacterSet = _UTF_8
    return dataset


def _texts(dataset: Dataset) -> Iterator[RawDataElement]:
    for tag in list(dataset.keys()):
        element: object = dataset.get_item(tag)
        if isinstance(element, RawDataElement) and _is_text(element):
            yield element


def _are_utf_8(values: Iterable[bytes]) -> bool:
    """Whether some values are not ASCII, and all of those are UTF-8."""
    beyond = [value for value in values if not value.isascii()]
    try:
        return bool([value.decode("utf-8") for value in beyond])
    except UnicodeDecodeError:
        return False


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
