"""Summary and PDF, measured in their pixels: they show what was found, where it was found."""

from collections.abc import Callable

import imagecodecs
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate, generate_frames

from models.findings import Side
from sij_node.errors import ResultsInconsistent
from sij_node.results.key_images import LabelledLesion, SeriesView
from tests.oracle.check_pictures import check_results_and_pictures
from tests.support.result_files import (
    Change,
    Made,
    assert_names_no_patient,
    made,
    orientations,
)
from tests.support.result_files import for_people as made_for_people
from tests.support.small_study import drawn_study


@pytest.fixture(scope="module", params=["en", "de"])
def for_people(request) -> Made:
    return made_for_people(request.param)


def test_pdf_and_summary_as_they_were_made_pass(for_people):
    check_results_and_pictures(for_people.files.values(), for_people.evidence)


def frames_of(capture: Dataset) -> np.ndarray:
    if capture["PixelData"].is_undefined_length:
        decoded = [imagecodecs.jpegls_decode(each) for each in generate_frames(capture.PixelData)]
        return np.stack(decoded)
    return (
        np.frombuffer(capture.PixelData, np.uint8)
        .reshape(-1, capture.Rows, capture.Columns, 3)
        .copy()
    )


def put_frames(capture: Dataset, frames: np.ndarray) -> None:
    if capture["PixelData"].is_undefined_length:
        capture.PixelData = encapsulate([imagecodecs.jpegls_encode(each) for each in frames])
        capture["PixelData"].is_undefined_length = True
    else:
        capture.PixelData = frames.tobytes()


T1_PANEL = (slice(120, 560), slice(24, 634))
STIR_PANEL = (slice(120, 560), slice(646, 1256))
BARS = {
    Side.RIGHT: (slice(262, 560), slice(711, 779)),
    Side.LEFT: (slice(262, 560), slice(983, 1051)),
}


def with_panels(
    change: Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]],
) -> Change:
    """T1 and STIR of every key image, changed."""

    def change_panels(capture: Dataset) -> None:
        frames = frames_of(capture)
        for frame in frames[1:]:
            both = change(frame[T1_PANEL].copy(), frame[STIR_PANEL].copy())
            frame[T1_PANEL], frame[STIR_PANEL] = both
        put_frames(capture, frames)

    return change_panels


def on_images(change: Callable[[np.ndarray], np.ndarray]) -> Change:
    """What is drawn stays; the images below it are changed."""

    def change_image(panel: np.ndarray) -> np.ndarray:
        drawn = np.ptp(panel, axis=2) > 8
        return np.where(drawn[..., None], panel, change(panel))

    return with_panels(lambda t1, stir: (change_image(t1), change_image(stir)))


def drawings_moved(pixels: int) -> Change:
    """The images stay; what is drawn on them is moved across."""

    def move(panel: np.ndarray) -> np.ndarray:
        grey = np.repeat(np.median(panel, axis=2).astype(np.uint8)[..., None], 3, axis=2)
        moved = np.roll(panel, pixels, axis=1)
        return np.where((np.ptp(moved, axis=2) > 8)[..., None], moved, grey)

    return with_panels(lambda t1, stir: (move(t1), move(stir)))


def letters_exchanged(panel: np.ndarray) -> np.ndarray:
    left, right = panel[190:250, :44].copy(), panel[190:250, -44:].copy()
    panel[190:250, :44], panel[190:250, -44:] = right, left
    return panel


def of_the_next_key_image(capture: Dataset) -> None:
    """Contours and rings of one, on the images of another."""
    frames = frames_of(capture)
    drawn = [np.ptp(frame, axis=2)[..., None] > 8 for frame in frames]
    mixed = np.where(drawn[2], frames[2], np.where(drawn[1], 0, frames[1]))
    for panel in (T1_PANEL, STIR_PANEL):
        frames[1][panel] = mixed[panel]
    put_frames(capture, frames)


def bars_exchanged(capture: Dataset) -> None:
    frames = frames_of(capture)
    right, left = (frames[0][BARS[side]].copy() for side in (Side.RIGHT, Side.LEFT))
    frames[0][BARS[Side.RIGHT]], frames[0][BARS[Side.LEFT]] = left, right
    put_frames(capture, frames)


def a_place_left_out(capture: Dataset) -> None:
    frames = frames_of(capture)[:-1]
    capture.NumberOfFrames = len(frames)
    capture.PageNumberVector = list(range(1, len(frames) + 1))
    put_frames(capture, frames)


WRONG_PICTURES = {
    "mirrored": with_panels(lambda t1, stir: (t1[:, ::-1], stir[:, ::-1])),
    "upside down": with_panels(lambda t1, stir: (t1[::-1], stir[::-1])),
    "images mirrored below the contours": on_images(lambda panel: panel[:, ::-1]),
    "series exchanged": with_panels(lambda t1, stir: (stir, t1)),
    "contours moved": drawings_moved(4),
    "contours less than half a pixel of the source off": drawings_moved(2),
    "contours of another slice": of_the_next_key_image,
    "letters exchanged": with_panels(
        lambda t1, stir: (letters_exchanged(t1), letters_exchanged(stir))
    ),
    "bars of both sides exchanged": bars_exchanged,
    "a place left out": a_place_left_out,
}


@pytest.mark.parametrize("change", WRONG_PICTURES.values(), ids=WRONG_PICTURES)
def test_pictures_that_show_something_else_or_elsewhere_are_noticed(for_people, change):
    with pytest.raises(ResultsInconsistent, match="OT") as caught:
        check_results_and_pictures(for_people.changed("summary", change), for_people.evidence)

    assert_names_no_patient(caught.value)


def test_single_pictures_pass_and_a_mirrored_one_is_noticed():
    single = made(drawn_study(), objects=("summary",), summary_class="single-frame")

    def mirror(capture: Dataset) -> None:
        frames = frames_of(capture)
        for panel in (T1_PANEL, STIR_PANEL):
            frames[0][panel] = frames[0][panel][:, ::-1].copy()
        put_frames(capture, frames)

    check_results_and_pictures(single.files.values(), single.evidence)
    with pytest.raises(ResultsInconsistent, match="OT"):
        check_results_and_pictures(single.changed("summary 2", mirror), single.evidence)


@settings(deadline=None, max_examples=3)
@given(orientations, st.booleans())
def test_in_any_orientation_only_mirrored_pictures_are_rejected(cosines, frames):
    any_way = made(drawn_study(cosines, frames), objects=("summary", "pdf"))

    check_results_and_pictures(any_way.files.values(), any_way.evidence)
    with pytest.raises(ResultsInconsistent, match="OT"):
        check_results_and_pictures(
            any_way.changed("summary", WRONG_PICTURES["mirrored"]), any_way.evidence
        )


Taken = Callable[[SeriesView, int, tuple[LabelledLesion, ...], int, int], Image.Image]


def mirrored_camera(take: Taken) -> Taken:
    return lambda *asked: ImageOps.mirror(take(*asked))


def camera_on_the_next_slice(take: Taken) -> Taken:
    return lambda camera, index, *asked: take(camera, index % 3 + 1, *asked)


def camera_two_pixels_off(take: Taken) -> Taken:
    return lambda *asked: Image.fromarray(np.roll(np.asarray(take(*asked)), 2, axis=1))


@pytest.mark.parametrize(
    "other", [mirrored_camera, camera_on_the_next_slice, camera_two_pixels_off]
)
@pytest.mark.parametrize("kind", ["pdf", "summary"])
def test_a_picture_drawn_from_another_viewpoint_is_rejected(monkeypatch, kind, other):
    monkeypatch.setattr(SeriesView, "picture", other(SeriesView.picture))
    results = made(drawn_study(), objects=(kind,))

    with pytest.raises(ResultsInconsistent, match=r"DOC|OT"):
        check_results_and_pictures(results.files.values(), results.evidence)


def black(capture: Dataset) -> None:
    shape = (capture.Rows, capture.Columns, 3)
    frames = [np.zeros(shape, np.uint8)] * capture.NumberOfFrames
    if capture["PixelData"].is_undefined_length:
        capture.PixelData = encapsulate([imagecodecs.jpegls_encode(each) for each in frames])
        capture["PixelData"].is_undefined_length = True
    else:
        capture.PixelData = b"".join(each.tobytes() for each in frames)


def test_black_pictures_are_noticed(for_people):
    with pytest.raises(ResultsInconsistent, match="OT"):
        check_results_and_pictures(for_people.changed("summary", black), for_people.evidence)
