"""The page that a study was not analysed: why, which series there are, never a UID."""

import re
from io import BytesIO

import numpy as np
import pytest
from pypdf import PdfReader

from sij_node.config.profiles import Language, Profile
from sij_node.dicom import codes
from sij_node.domain.analysis_record import SeriesUse
from sij_node.results.build import not_analysed_objects
from sij_node.results.language import WORDINGS
from sij_node.results.not_analysed import MOST_ROWS, not_analysed
from sij_node.results.provenance import to_part10
from sij_node.results.secondary_capture import HEIGHT, MARGIN, WIDTH
from sij_node.verify.check_results import ExpectedResults, check_results
from tests.support.mr_series import STIR_TIMES, classic_series
from tests.support.result_inputs import context

VALUES = np.arange(5 * 16 * 12, dtype=np.uint16).reshape(5, 16, 12)
IMAGES = classic_series(VALUES) + classic_series(VALUES, "1.2.3.5", **STIR_TIMES)
T1 = str(IMAGES[0].SeriesInstanceUID)
USES = (
    SeriesUse(T1, "4", "t1_tse_cor", 5, "T1", False, "not used: T1, but no series to pair it with"),
    SeriesUse("1.2.3.5", "7", "", 5, "other", False, "not used: axial orientation"),
)
UID = re.compile(r"\d+(\.\d+){2,}")


@pytest.mark.parametrize(
    ("message", "words"),
    [
        (f"Series {T1} has 3 slices.", "Series 4 (t1_tse_cor) has 3 slices."),
        (f"T1 series {T1} and STIR series 1.2.3.5.", "T1 series 4 (t1_tse_cor) and STIR series 7."),
        (
            f"Image {IMAGES[2].SOPInstanceUID} is not greyscale.",
            f"Image {IMAGES[2].InstanceNumber} of series 4 (t1_tse_cor) is not greyscale.",
        ),
        ("Series 1.9.9.9 is empty.", "Series without a number is empty."),
        (f"Received: {T1}: T1.", "Received: series 4 (t1_tse_cor): T1."),
        ("Distances of 4.4, 8.8 mm.", "Distances of 4.4, 8.8 mm."),
    ],
)
def test_series_and_images_are_named_as_viewers_list_them(message: str, words: str):
    assert not_analysed("geometry-unusable", message, USES, IMAGES).message == words


def test_a_uid_that_begins_another_is_not_mistaken_for_it():
    longer = SeriesUse(T1 + "7", "9", "stir", 5, "STIR", False, "")

    notice = not_analysed("geometry-unusable", f"Series {T1}7 is short.", [*USES, longer], IMAGES)

    assert notice.message == "Series 9 (stir) is short."


@pytest.mark.parametrize("language", WORDINGS)
@pytest.mark.parametrize("reason", codes.REASONS)
def test_the_page_says_why_and_what_to_send_and_names_no_uid(reason: str, language: Language):
    _, _, page = notices(reason, language)
    words, wording = text_of(page), WORDINGS[language]

    assert wording.not_analysed_title in words
    assert wording.reasons[reason] in words
    assert wording.advice[reason] in words
    assert "Series 4 (t1_tse_cor) has 3 slices." in words
    assert "axial orientation" in words
    assert "4711" in words
    assert not UID.search(words.replace("0.1.0", ""))


def test_the_picture_fits_with_the_longest_texts_and_many_series():
    long = SeriesUse("1.9", "2147483647", "W" * 64, 99999, "T1", False, "not used: " + "W" * 120)
    (_, picture, page) = notices("pair-missing", "de", [long] * 40, "Sehr lang. " * 60)

    pixels = np.frombuffer(picture.PixelData, np.uint8).reshape(HEIGHT, WIDTH, 3)
    edges = np.r_[pixels[:, : MARGIN - 1].ravel(), pixels[:, 1 - MARGIN :].ravel()]
    assert edges.max() == 0
    assert pixels[HEIGHT - 70 : HEIGHT - 62].max() == 0  # between the table and the foot
    assert len(PdfReader(BytesIO(page.EncapsulatedDocument)).pages) == 1
    assert f"{40 - MOST_ROWS} weitere Serien" in text_of(page)


def test_the_self_check_passes_the_page_and_stops_one_with_a_score():
    good = notices("pair-missing", "en")
    bad = notices("pair-missing", "en", message="Erosion, 47.3 %")
    expected = ExpectedResults(tuple(IMAGES))

    check_results([to_part10(one, "NODE") for one in good], expected)
    with pytest.raises(Exception, match="score of a study that was not analysed"):
        check_results([to_part10(one, "NODE") for one in bad], expected)


def notices(reason, language, series=USES, message=f"Series {T1} has 3 slices."):
    for image in IMAGES:
        image.PatientID = "4711"
    profile = Profile(name="x", language=language, not_analysed=("summary", "pdf"))
    notice = not_analysed(reason, message, series, IMAGES)
    return [one.dataset for one in not_analysed_objects(notice, IMAGES, context((), profile))]


def text_of(page) -> str:
    pdf = PdfReader(BytesIO(page.EncapsulatedDocument))
    return " ".join(" ".join(one.extract_text() for one in pdf.pages).split())
