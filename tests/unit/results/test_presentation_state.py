"""Presentation states: contours and rings at their place, labels with their side, a fair window."""

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.delineation import Delineation
from models.findings import Lesion
from models.findings import Sequence as Kind
from sij_node.config.profiles import Profile
from sij_node.results.analysed_series import AnalysedSeries
from sij_node.results.presentation_state import RING_MM, presentation_state
from sij_node.results.provenance import to_part10
from tests.support.mr_series import CORONAL, classic_series, enhanced, oblique
from tests.support.result_inputs import analysed, context, findings, sighted

VALUES = np.arange(5 * 16 * 12, dtype=np.uint16).reshape(5, 16, 12)
FLIPPED = ((-1.0, 0.0, 0.0), (0.0, 0.0, -1.0))
UPSIDE_DOWN = ((1.0, 0.0, 0.0), (0.0, 0.0, 1.0))
orientations = st.sampled_from([CORONAL, FLIPPED, UPSIDE_DOWN, oblique(35), oblique(40, 12)])


def state_on(images, profile=None):
    one = analysed(images)
    made_by = context(profile=profile) if profile else context()
    return one, presentation_state(one, sighted(one.source.volume, Kind.T1), made_by)


def drawn(state, layer):
    """Label, named image, and graphic data of every annotation of a layer, or of all LESIONS."""
    return [
        (
            item.TextObjectSequence[0],
            item.ReferencedImageSequence[0],
            item.GraphicObjectSequence[0],
        )
        for item in state.GraphicAnnotationSequence
        if item.GraphicLayer == layer or (layer == "LESIONS" and item.GraphicLayer != "CONTOURS")
    ]


def in_patient(one, image, graphic_data):
    """Where a viewer draws it: pixel coordinates start at the corner of the first pixel."""
    frame = image.get("ReferencedFrameNumber")
    (index,) = [
        index
        for index, source in enumerate(one.source.sources)
        if source.sop_instance_uid == image.ReferencedSOPInstanceUID
        and source.frame_number == frame
    ]
    at = np.array(graphic_data, float).reshape(-1, 2)[:, ::-1] - 0.5
    return one.source.volume.to_patient(np.insert(at, 0, index, axis=1))


@settings(deadline=None, max_examples=8)
@given(orientations, st.booleans(), st.permutations(range(5)))
def test_contours_and_rings_are_drawn_where_they_were_found(cosines, many_frames, order):
    images = (
        [enhanced(VALUES, cosines=cosines, order=order)]
        if many_frames
        else [classic_series(VALUES, cosines=cosines)[i] for i in order]
    )
    one, state = state_on(images)
    volume = one.source.volume

    for contour, (_, image, graphic) in zip(one.contours, drawn(state, "CONTOURS"), strict=True):
        found = volume.to_patient(np.insert(contour.points, 0, contour.slice_index, axis=1))
        assert np.allclose(in_patient(one, image, graphic.GraphicData), found, atol=0.01)
    rings = [in_patient(one, image, g.GraphicData) for _, image, g in drawn(state, "LESIONS")]
    seen = one.seen(sighted(volume, Kind.T1))
    centres = {tuple(np.round(ring[0], 2)) for ring in rings}
    assert centres == {
        tuple(np.round(volume.to_patient((at.slice_index, at.row, at.column)), 2)) for _, at in seen
    }
    assert all(np.isclose(np.linalg.norm(ring[1] - ring[0]), RING_MM, atol=0.01) for ring in rings)


def test_every_label_names_the_side_in_words():
    one, state = state_on(classic_series(VALUES))

    contours = [label.UnformattedTextValue for label, _, _ in drawn(state, "CONTOURS")]
    lesions = [label.UnformattedTextValue for label, _, _ in drawn(state, "LESIONS")]
    expected = [f"{contour.side} sacroiliac joint".capitalize() for contour in one.contours]
    assert contours == expected
    assert all(label.startswith(("Right ", "Left ")) for label in lesions)
    assert all(re.fullmatch(r"[\w ]+ \d+\.\d %", label) for label in lesions)


def test_every_lesion_is_drawn_in_the_colour_of_its_kind():
    _, state = state_on(classic_series(VALUES))
    colours = {
        layer.GraphicLayer: tuple(layer.GraphicLayerRecommendedDisplayCIELabValue)
        for layer in state.GraphicLayerSequence
    }

    assert len(set(colours.values())) == 1 + len(Lesion)
    for item in state.GraphicAnnotationSequence:
        words = item.TextObjectSequence[0].UnformattedTextValue
        kinds = [lesion for lesion in Lesion if f" {lesion} " in words]
        assert [kind.name for kind in kinds] == [one for one in [item.GraphicLayer] if kinds]
        assert bool(kinds) == (item.GraphicLayer != "CONTOURS")


def test_a_joints_label_is_above_it_in_any_orientation():
    for cosines in (CORONAL, FLIPPED, UPSIDE_DOWN):
        one, state = state_on(classic_series(VALUES, cosines=cosines))
        for label, image, graphic in drawn(state, "CONTOURS"):
            at = in_patient(one, image, label.AnchorPoint)
            line = in_patient(one, image, graphic.GraphicData)
            assert at[0, 2] > line[:, 2].max()


def test_labels_of_lesions_on_one_slice_do_not_cover_each_other():
    _, state = state_on(classic_series(VALUES))
    boxes = {}
    for label, image, _ in drawn(state, "LESIONS"):
        left, top = label.BoundingBoxTopLeftHandCorner
        right, bottom = label.BoundingBoxBottomRightHandCorner
        assert 0 <= left < right <= 12
        assert 0 <= top < bottom <= 16
        boxes.setdefault((image.ReferencedSOPInstanceUID, left), []).append((top, bottom))

    assert max(map(len, boxes.values())) > 1
    for stack in boxes.values():
        tops, bottoms = np.array(sorted(stack)).T
        assert (tops[1:] > bottoms[:-1] - 1e-5).all()


def test_the_name_of_a_lesion_is_tied_to_its_ring():
    one, state = state_on(classic_series(VALUES))

    for label, image, graphic in drawn(state, "LESIONS"):
        centre, anchor = in_patient(one, image, [*graphic.GraphicData[:2], *label.AnchorPoint])
        assert np.linalg.norm(anchor - centre) == pytest.approx(RING_MM, abs=0.01)
        assert label.AnchorPointVisibility == "Y"


def test_all_images_of_a_series_share_one_window_of_stored_values():
    images = classic_series(VALUES)
    for number, image in enumerate(images):
        image.RescaleSlope, image.RescaleIntercept = 2.0 + number % 2, 10.0
    one, state = state_on(images)

    shown = [
        (reference.ReferencedSOPInstanceUID, item.WindowCenter, item.WindowWidth)
        for item in state.SoftcopyVOILUTSequence
        for reference in item.ReferencedImageSequence
    ]
    low, high = np.percentile(one.source.volume.voxels, (1.0, 99.5))
    by_uid = {image.SOPInstanceUID: image for image in images}
    assert sorted(uid for uid, _, _ in shown) == sorted(by_uid)
    for uid, centre, width in shown:
        slope, intercept = by_uid[uid].RescaleSlope, by_uid[uid].RescaleIntercept
        assert (float(centre) - float(width) / 2) * slope + intercept == pytest.approx(low, abs=0.1)
        assert (float(centre) + float(width) / 2) * slope + intercept == pytest.approx(
            high, abs=0.1
        )


def test_images_without_contrast_still_get_a_window():
    _, state = state_on(classic_series(np.full((5, 16, 12), 7, np.uint16)))

    assert all(item.WindowWidth >= 1 for item in state.SoftcopyVOILUTSequence)


def test_nothing_to_draw_is_no_presentation_state():
    one = analysed(classic_series(VALUES))
    empty = AnalysedSeries(one.sequence, one.source, one.headers, Delineation(()), one.regions)

    with pytest.raises(ValueError, match="nothing was found"):
        presentation_state(empty, findings(), context())


def test_labels_follow_the_language():
    _, state = state_on(classic_series(VALUES), Profile(name="ward", language="de"))

    labels = {label.UnformattedTextValue for label, _, _ in drawn(state, "CONTOURS")}
    assert labels == {"ISG rechts", "ISG links"}
    assert state.SeriesDescription == "ISG-Konturen (T1)"


def test_the_same_inputs_make_the_same_bytes_in_any_order():
    images = classic_series(VALUES)

    assert to_part10(state_on(images)[1], "N") == to_part10(state_on(images[::-1])[1], "N")
