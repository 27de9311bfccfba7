"""Previews of the slices with most lesions."""

from io import BytesIO

from PIL import Image

from models.findings import Presence
from sij_node.results.key_image_previews import HEIGHT_PX, WIDTH_PX, drawn, key_pictures
from sij_node.results.key_images import YELLOW
from tests.support.small_study import drawn_study

NAMED = "ab" * 32


def test_each_place_is_shown_on_both_series_and_its_lesions_are_named():
    study = drawn_study()
    present = [one for one in study.findings if one.presence is Presence.PRESENT]

    pictures = key_pictures(study, NAMED)

    by_place = {picture.place: picture for picture in pictures}
    assert {picture.sequence for picture in pictures} == {"T1", "STIR"}
    assert sum(len(picture.seen) for picture in by_place.values()) == len(present)
    assert len({picture.file_name for picture in pictures}) == len(pictures)
    assert all(picture.file_name.startswith(NAMED) for picture in pictures)


def test_there_is_a_picture_with_contours_for_each_that_is_listed():
    study = drawn_study()

    pictures = [Image.open(BytesIO(content)) for content in drawn(study)]

    assert len(pictures) == len(key_pictures(study, NAMED))
    for picture in pictures:
        assert picture.size == (WIDTH_PX, HEIGHT_PX)
        assert YELLOW in [colour for _, colour in picture.getcolors(1 << 20)]
