"""Regions as a segmentation: every mask at the place in the patient where it was found."""

import copy

import highdicom as hd
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import Dataset

from models.findings import Side
from models.regions import REGION_LABELS
from sij_node.dicom.volumes import volume_from
from sij_node.results.provenance import to_part10
from sij_node.results.segmentation import COLOURS, joint_segmentation
from tests.support.mr_series import CORONAL, classic_series, enhanced, oblique
from tests.support.result_inputs import context, regions_in_patient

VALUES = np.zeros((5, 16, 12), np.uint16)
FLIPPED = ((-1.0, 0.0, 0.0), (0.0, 0.0, -1.0))
UPSIDE_DOWN = ((1.0, 0.0, 0.0), (0.0, 0.0, 1.0))
orientations = st.sampled_from([CORONAL, FLIPPED, UPSIDE_DOWN, oblique(35), oblique(40, 12)])


def masks_in_patient(segmentation):
    """Number of segment -> set of positions in mm of its voxels, read from the object alone."""
    shared = segmentation.SharedFunctionalGroupsSequence[0]
    across, down = np.array(shared.PlaneOrientationSequence[0].ImageOrientationPatient).reshape(
        2, 3
    )
    spacing = [float(x) for x in shared.PixelMeasuresSequence[0].PixelSpacing]
    pixels = segmentation.pixel_array.reshape(-1, segmentation.Rows, segmentation.Columns)
    found = {}
    for frame, groups in zip(pixels, segmentation.PerFrameFunctionalGroupsSequence, strict=True):
        number = groups.SegmentIdentificationSequence[0].ReferencedSegmentNumber
        origin = np.array(groups.PlanePositionSequence[0].ImagePositionPatient, float)
        for row, column in np.argwhere(frame):
            at = origin + down * spacing[0] * row + across * spacing[1] * column
            found.setdefault(number, set()).add(tuple(np.round(at, 2) + 0.0))
    return found


def expected_in_patient(volume, labels):
    return {
        number: {
            tuple(np.round(volume.to_patient(at), 2) + 0.0) for at in np.argwhere(labels == number)
        }
        for number in REGION_LABELS.values()
        if (labels == number).any()
    }


def near(one, other):
    """Sets of positions that agree to the rounding of decimal strings."""
    return all(
        len(one[n]) == len(other[n]) and np.allclose(sorted(one[n]), sorted(other[n]), atol=0.03)
        for n in one.keys() | other.keys()
    )


@settings(deadline=None, max_examples=12)
@given(orientations, st.permutations(range(5)))
def test_masks_of_single_images_lie_where_they_were_found(cosines, order):
    images = classic_series(VALUES, cosines=cosines)
    series = volume_from([images[i] for i in order])
    labels = regions_in_patient(series.volume)

    made = joint_segmentation(series, images, labels, context(), "T1")

    assert near(masks_in_patient(made), expected_in_patient(series.volume, labels))


@settings(deadline=None, max_examples=12)
@given(orientations, st.permutations(range(5)))
def test_masks_of_an_enhanced_object_lie_where_they_were_found(cosines, order):
    image = enhanced(VALUES, cosines=cosines, order=order)
    series = volume_from([image])
    labels = regions_in_patient(series.volume)

    made = joint_segmentation(series, [image], labels, context(), "STIR")

    assert near(masks_in_patient(made), expected_in_patient(series.volume, labels))


@pytest.mark.parametrize("cosines", [CORONAL, FLIPPED, UPSIDE_DOWN, oblique(35)])
def test_segments_called_left_lie_left_in_the_patient(cosines):
    images = classic_series(VALUES, cosines=cosines)
    series = volume_from(images)
    made = joint_segmentation(series, images, regions_in_patient(series.volume), context(), "T1")
    centre = series.volume.to_patient((np.array(VALUES.shape) - 1) / 2)[0]

    for segment in made.SegmentSequence:
        voxels = masks_in_patient(made)[segment.SegmentNumber]
        side = "Left" if np.mean([x for x, _, _ in voxels]) > centre else "Right"
        coded = segment.SegmentedPropertyTypeCodeSequence[0]
        assert segment.SegmentLabel.startswith(side)
        assert coded.SegmentedPropertyTypeModifierCodeSequence[0].CodeMeaning == side, (
            "viewers show words, machines read codes: both must be right"
        )


def test_each_frame_names_the_image_it_was_drawn_on():
    images = classic_series(VALUES)
    series = volume_from(images[::-1])
    made = joint_segmentation(series, images, regions_in_patient(series.volume), context(), "T1")
    position_of = {i.SOPInstanceUID: list(i.ImagePositionPatient) for i in images}

    for groups in made.PerFrameFunctionalGroupsSequence:
        source = groups.DerivationImageSequence[0].SourceImageSequence[0]
        position = groups.PlanePositionSequence[0].ImagePositionPatient
        assert position_of[source.ReferencedSOPInstanceUID] == list(position)


def test_each_frame_names_the_frame_of_an_enhanced_object_it_was_drawn_on():
    image = enhanced(VALUES, order=[3, 1, 4, 0, 2])
    series = volume_from([image])
    made = joint_segmentation(series, [image], regions_in_patient(series.volume), context(), "T1")

    for groups in made.PerFrameFunctionalGroupsSequence:
        number = groups.DerivationImageSequence[0].SourceImageSequence[0].ReferencedFrameNumber
        source = image.PerFrameFunctionalGroupsSequence[number - 1].PlanePositionSequence[0]
        position = groups.PlanePositionSequence[0].ImagePositionPatient
        assert list(source.ImagePositionPatient) == list(position)


@pytest.fixture
def made():
    images = classic_series(VALUES)
    series = volume_from(images)
    return joint_segmentation(series, images, regions_in_patient(series.volume), context(), "T1")


def test_there_are_ten_segments_numbered_as_the_label_map(made):
    assert [s.SegmentNumber for s in made.SegmentSequence] == sorted(REGION_LABELS.values())
    assert made.SegmentSequence[REGION_LABELS[Side.LEFT, "joint"] - 1].SegmentLabel == (
        "Left sacroiliac joint"
    )
    assert set(COLOURS) == set(REGION_LABELS)


def test_every_segment_says_which_network_and_weights_drew_it(made):
    for segment in made.SegmentSequence:
        algorithm = segment.SegmentationAlgorithmIdentificationSequence[0]
        assert (algorithm.AlgorithmName, algorithm.AlgorithmVersion) == ("contour", "1.4.0")
        assert "ab" * 32 in algorithm.AlgorithmParameters


def test_highdicom_reads_the_masks_back(made):
    read = hd.seg.Segmentation.from_dataset(made)

    assert read.number_of_segments == 10
    assert len(read.get_tracking_ids()) == 10
    assert read.get_segment_description(1).segment_label == "Right upper ilium"


def test_the_same_inputs_make_the_same_bytes_and_others_do_not(made):
    images = classic_series(VALUES)
    series = volume_from(images[::-1])
    labels = regions_in_patient(series.volume)
    again = joint_segmentation(series, images[::-1], labels, context(), "T1")
    other = joint_segmentation(series, images, labels, context(context().networks[:1]), "T1")

    assert to_part10(again, "NODE") == to_part10(made, "NODE")
    assert other.SOPInstanceUID != made.SOPInstanceUID
    assert other.SeriesInstanceUID != made.SeriesInstanceUID
    assert [s.TrackingUID for s in other.SegmentSequence] == [
        s.TrackingUID for s in made.SegmentSequence
    ]


def test_the_headers_are_not_changed():
    image = enhanced(VALUES)
    before = copy.deepcopy(image)
    series = volume_from([image])

    joint_segmentation(series, [image], regions_in_patient(series.volume), context(), "T1")

    assert image == before


def test_a_header_without_optional_attributes_is_enough():
    images = classic_series(
        VALUES, SliceThickness=None, StudyID=None, PatientBirthDate=None, PatientSex=None
    )
    series = volume_from(images)

    made = joint_segmentation(series, images, regions_in_patient(series.volume), context(), "T1")

    assert made.PatientBirthDate == ""
    assert isinstance(made, Dataset)


@pytest.mark.parametrize(
    ("labels", "reason"),
    [
        (np.zeros(VALUES.shape, np.uint8), "label map is empty"),
        (np.full(VALUES.shape, 11, np.uint8), "label 11"),
        (np.ones((4, 16, 12), np.uint8), "shape"),
    ],
)
def test_a_label_map_that_cannot_be_meant_is_refused(labels, reason):
    images = classic_series(VALUES)

    with pytest.raises(ValueError, match=reason):
        joint_segmentation(volume_from(images), images, labels, context(), "T1")
