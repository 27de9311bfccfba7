"""Key images: the right place, seen from the front, rings and contours where they belong."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image, ImageDraw

from models.delineation import Contour, Delineation
from models.findings import POSITIONS, Finding, Lesion, Side, Sight
from models.findings import Sequence as Kind
from sij_node.dicom.volumes import volume_from
from sij_node.results.analysed_series import AnalysedSeries
from sij_node.results.joint_diagram import ON_IMAGES
from sij_node.results.key_images import (
    KeyLocation,
    LabelledLesion,
    Labels,
    cameras,
    key_places,
    not_shown,
)
from tests.support.mr_series import CORONAL, classic_series, enhanced, oblique

FLIPPED = ((-1.0, 0.0, 0.0), (0.0, 0.0, -1.0))
UPSIDE_DOWN = ((1.0, 0.0, 0.0), (0.0, 0.0, 1.0))
LYING = ((0.0, 0.0, -1.0), (1.0, 0.0, 0.0))
CENTRE_MM = np.array([0.0, 0.0, 0.0])
RIGHT_MM, LEFT_MM = np.array([-30.0, 0.0, 5.0]), np.array([30.0, 0.0, -5.0])
LEFT = next(p for p in POSITIONS if p.side is Side.LEFT)
RIGHT = next(p for p in POSITIONS if p.side is Side.RIGHT)
SIZE = (300, 240)


def pelvis(cosines, many_frames: bool = False, kind: Kind = Kind.T1) -> AnalysedSeries:
    """Five slices about the origin; a bright block on the patient's left, both joints drawn."""
    shape, spacing = (5, 60, 60), (4.0, 2.0, 2.0)
    across, down = (np.array(one) for one in cosines)
    normal = np.cross(across, down)
    origin = CENTRE_MM - 2 * 4.0 * normal - 29.5 * 2.0 * (across + down)
    values = np.full(shape, 100, np.uint16)
    grid = np.stack(np.indices(shape), -1)
    at = origin + grid @ np.stack([normal * 4.0, down * 2.0, across * 2.0])
    values[np.linalg.norm((at - LEFT_MM)[..., [0, 2]], axis=-1) < 8] = 900
    if many_frames:
        images = [enhanced(values, cosines=cosines, origin_mm=origin, spacing_mm=spacing)]
    else:
        images = classic_series(values, cosines=cosines, origin_mm=origin, spacing_mm=spacing)
    source = volume_from(images)
    return AnalysedSeries(kind, source, images, joints(source.volume), np.zeros(shape, np.uint8))


def joints(volume) -> Delineation:
    lines = []
    for index in (1, 2, 3):
        for side, x in ((Side.RIGHT, -20.0), (Side.LEFT, 20.0)):
            plane = volume.to_patient((index, 29.5, 29.5))
            at = [plane + np.array([x, 0, z]) for z in np.linspace(15, -15, 8)]
            lines.append(Contour(index, side, volume.to_indices(at)[:, 1:], 0.9))
    return Delineation(tuple(lines))


def seen_at(one: AnalysedSeries, position, at_mm, label: str = "O") -> LabelledLesion:
    index, row, column = one.source.volume.to_indices(at_mm)
    sight = Sight(one.sequence, round(index), float(row), float(column))
    return LabelledLesion(label, Finding(position, 0.9, 0.5, sight), sight)


def in_colour(picture: Image.Image, lesion: Lesion = Lesion.OEDEMA) -> np.ndarray:
    """What is drawn in the colour of a lesion."""
    return (abs(np.asarray(picture).astype(int) - ON_IMAGES[lesion]) < 45).all(axis=-1)


def middle_of_ring(picture: Image.Image) -> np.ndarray:
    """Middle of what is drawn in its colour, across and down, as parts of the size."""
    ring = in_colour(picture)
    return np.argwhere(ring).mean(axis=0)[::-1] / SIZE


def brightest(picture: Image.Image) -> np.ndarray:
    pixels = np.asarray(picture).astype(int)
    return np.argwhere(pixels.min(axis=-1) > 230).mean(axis=0)[::-1] / SIZE


@pytest.mark.parametrize("cosines", [CORONAL, FLIPPED, UPSIDE_DOWN, LYING, oblique(30)])
@pytest.mark.parametrize("many_frames", [False, True])
def test_the_patients_left_is_on_the_right_of_every_picture(cosines, many_frames):
    one = pelvis(cosines, many_frames)
    (camera,) = cameras([one], *SIZE)

    across, down = brightest(camera.picture(2, [], *SIZE))

    assert across > 0.6
    assert down > 0.5


def test_the_letters_of_the_sides_can_be_read_on_white():
    (camera,) = cameras([pelvis(CORONAL)], *SIZE)
    white = replace(camera, grey=(-1.0, 0.0))

    letters = np.asarray(white.picture(2, [], *SIZE)).max(axis=-1) < 60

    assert letters[:, :40].sum() > 50
    assert letters[:, -40:].sum() > 50


@pytest.mark.parametrize("cosines", [CORONAL, FLIPPED, UPSIDE_DOWN, LYING])
def test_a_ring_is_drawn_around_what_it_points_at(cosines):
    one = pelvis(cosines)
    (camera,) = cameras([one], *SIZE)

    bare = brightest(camera.picture(2, [], *SIZE))
    ring = middle_of_ring(camera.picture(2, [seen_at(one, LEFT, LEFT_MM, "")], *SIZE))

    assert np.allclose(ring, bare, atol=0.04)


def test_a_lesion_on_another_slice_or_series_is_not_drawn():
    one = pelvis(CORONAL)
    (camera,) = cameras([one], *SIZE)
    here = seen_at(one, LEFT, LEFT_MM)
    elsewhere = [
        replace(here, sight=replace(here.sight, slice_index=1)),
        replace(here, sight=replace(here.sight, sequence=Kind.STIR)),
    ]

    assert camera.picture(2, elsewhere, *SIZE).tobytes() == camera.picture(2, [], *SIZE).tobytes()


def test_contours_are_drawn_at_their_distance_from_the_middle():
    one = pelvis(FLIPPED)
    (camera,) = cameras([one], *SIZE)
    pixels = np.asarray(camera.picture(2, [], *SIZE)).astype(int)
    yellow = np.argwhere((pixels[..., 0] > 200) & (pixels[..., 2] < 140))[:, 1] / SIZE[0]

    assert abs(yellow[yellow < 0.5].mean() + yellow[yellow > 0.5].mean() - 1) < 0.01
    assert abs(np.diff([yellow[yellow < 0.5].mean(), yellow[yellow > 0.5].mean()])[0]) > 0.3


def test_both_series_show_the_same_part_of_the_body():
    t1, stir = pelvis(CORONAL), pelvis(FLIPPED, many_frames=True, kind=Kind.STIR)
    first, second = cameras([t1, stir], *SIZE)

    assert np.allclose(
        brightest(first.picture(2, [], *SIZE)), brightest(second.picture(2, [], *SIZE)), atol=0.02
    )


def test_the_same_place_is_found_on_both_series():
    t1, stir = pelvis(CORONAL), pelvis(FLIPPED, kind=Kind.STIR)
    lesion = seen_at(t1, LEFT, t1.source.volume.to_patient((1, 20, 20))).finding

    (place,) = key_places([t1, stir], [lesion])

    assert place.slices == (1, 3)
    assert [(one.label, one.finding) for one in place.seen] == [("O", lesion)]


def test_places_with_most_lesions_are_kept_from_front_to_back():
    one = pelvis(CORONAL)
    found = [
        seen_at(one, position, one.source.volume.to_patient((index, 20, 20))).finding
        for position, index in zip(POSITIONS, (4, 4, 0, 0, 2), strict=False)
    ]

    assert [place.slices for place in key_places([one], found, most=2)] == [(0,), (4,)]


def test_without_a_lesion_the_middle_of_the_joints_is_shown():
    assert key_places([pelvis(CORONAL)], []) == [KeyLocation((2,), ())]


def test_without_contours_and_lesions_there_is_no_key_image():
    one = pelvis(CORONAL)
    bare = replace(one, delineation=Delineation(()))

    assert key_places([bare], []) == []
    assert len(cameras([bare], *SIZE)) == 1


def test_lesions_at_one_point_share_a_ring():
    one = pelvis(CORONAL)
    (camera,) = cameras([one], *SIZE)
    twice = [
        seen_at(one, LEFT, LEFT_MM, "O1"),
        seen_at(one, LEFT, LEFT_MM + np.array([1, 0, 0]), "O2"),
    ]
    apart = [seen_at(one, LEFT, LEFT_MM, "O1"), seen_at(one, RIGHT, RIGHT_MM, "O2")]

    def extent(seen):
        return np.ptp(np.argwhere(in_colour(camera.picture(2, seen, *SIZE))), axis=0)

    assert (extent(twice) < extent(twice[:1]) + 40).all()
    assert extent(apart)[1] > SIZE[0] / 3


def test_a_ring_and_its_label_have_the_colour_and_letter_of_the_lesion():
    one = pelvis(CORONAL)
    (camera,) = cameras([one], *SIZE)
    erosion = next(p for p in POSITIONS if p.head.lesion is Lesion.EROSION)
    picture = camera.picture(2, [seen_at(one, erosion, LEFT_MM, "E")], *SIZE)

    assert in_colour(picture, Lesion.EROSION).sum() > 100
    assert not in_colour(picture, Lesion.OEDEMA).any()


def test_several_lesions_of_a_kind_are_numbered():
    one = pelvis(CORONAL)
    at = one.source.volume.to_patient((2, 20, 20))
    found = [seen_at(one, position, at).finding for position in POSITIONS[:5]]

    (place,) = key_places([one], found)

    assert [each.label for each in place.seen] == ["O1", "O2", "O3", "O4", "E"]


def test_labels_are_not_written_over_each_other():
    labels = Labels(ImageDraw.Draw(Image.new("RGB", (600, 480))), (600, 480))
    one = pelvis(CORONAL)
    for across in range(0, 12, 4):
        lesion = seen_at(one, LEFT, LEFT_MM, "O12")
        labels.put((300.0 + across, 240.0), 20.0, [lesion], leftwards=True)

    boxes = labels._used
    for number, (left, upper, right, lower) in enumerate(boxes):
        for x, y, x_end, y_end in boxes[number + 1 :]:
            assert x >= right or x_end <= left or y >= lower or y_end <= upper


def test_present_lesions_without_a_key_image_are_listed():
    one = pelvis(CORONAL)
    found = [
        seen_at(one, position, one.source.volume.to_patient((index, 20, 20))).finding
        for position, index in zip(POSITIONS, (4, 4, 2), strict=False)
    ]

    assert not_shown(found, key_places([one], found, most=1)) == found[2:]
