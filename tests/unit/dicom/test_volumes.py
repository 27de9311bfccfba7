"""From images to a volume: every slice in its position, or a specific error."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.encaps import encapsulate
from pydicom.uid import UID

from sij_node.dicom.volumes import check_pair, volume_from
from sij_node.errors import (
    GeometryUnusable,
    InputRejected,
    MixedFramesOfReference,
    MixedPatients,
    PixelsUnusable,
)
from tests.support.mr_series import (
    CORONAL,
    ENCODERS,
    classic_series,
    compressed,
    enhanced,
    oblique,
    put_pixels,
    rle,
    with_attributes,
)

RNG = np.random.default_rng(7)
VALUES = RNG.integers(0, 4096, (6, 16, 12), dtype=np.uint16)
FLIPPED = ((-1.0, 0.0, 0.0), (0.0, 0.0, -1.0))
UPSIDE_DOWN = ((1.0, 0.0, 0.0), (0.0, 0.0, 1.0))
orientations = st.sampled_from([CORONAL, FLIPPED, UPSIDE_DOWN, oblique(35), oblique(40, 12)])


def position_of(images, index, row, column):
    """Equation C.7.6.2.1-1, straight from one image's own header."""
    image = images[index]
    iop = np.array(image.ImageOrientationPatient, float)
    down_mm, across_mm = map(float, image.PixelSpacing)
    at = np.array(image.ImagePositionPatient, float)
    return at + iop[3:] * down_mm * row + iop[:3] * across_mm * column


@settings(deadline=None, max_examples=30)
@given(orientations, st.permutations(range(6)))
def test_every_voxel_lies_where_its_own_image_says_whatever_the_order(cosines, order):
    images = classic_series(VALUES, cosines=cosines)

    made = volume_from([images[i] for i in order])

    for index, source in enumerate(made.sources):
        image = next(i for i, d in enumerate(images) if d.SOPInstanceUID == source.sop_instance_uid)
        assert (made.volume.voxels[index] == VALUES[image]).all()
        assert np.allclose(
            made.volume.to_patient([index, 3, 5]), position_of(images, image, 3, 5), atol=1e-4
        )


@settings(deadline=None, max_examples=30)
@given(orientations, st.permutations(range(6)))
def test_an_enhanced_object_and_single_images_make_the_same_volume(cosines, order):
    single = volume_from(classic_series(VALUES, cosines=cosines))

    multi = volume_from([enhanced(VALUES, cosines=cosines, order=order)])

    assert (multi.volume.voxels == single.volume.voxels).all()
    assert np.allclose(multi.volume.affine, single.volume.affine)
    assert [source.frame_number for source in multi.sources] == [
        order.index(i) + 1 for i in range(6)
    ]


def test_slices_numbered_from_back_to_front_keep_their_side():
    images = classic_series(VALUES)
    for image in images:
        image.InstanceNumber = 7 - image.InstanceNumber

    assert volume_from(images).volume.to_patient([0, 0, 11])[0] > -40.0


@pytest.mark.parametrize("syntax", ENCODERS)
@pytest.mark.parametrize("stored_bits", [12, 16])
def test_compressed_pixels_are_the_pixels_that_were_compressed(syntax, stored_bits):
    images = [
        put_pixels(i, v, stored_bits) for i, v in zip(classic_series(VALUES), VALUES, strict=True)
    ]

    made = volume_from([compressed(image, syntax) for image in images])

    assert (made.volume.voxels == VALUES).all()


@pytest.mark.parametrize("syntax", ENCODERS)
def test_compressed_frames_of_an_enhanced_object_keep_their_order(syntax):
    made = volume_from([compressed(enhanced(VALUES, order=[2, 0, 1, 5, 4, 3]), syntax)])

    assert (made.volume.voxels == VALUES).all()


@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2.1", "1.2.840.10008.1.2.5"])
def test_negative_values_in_twelve_bits_stay_negative(syntax):
    signed = (VALUES.astype(np.int16) - 2048).astype(np.int16)
    stored = (signed & 0x0FFF).astype(np.int16)
    images = [put_pixels(i, v, 12) for i, v in zip(classic_series(VALUES), stored, strict=True)]
    if syntax in ENCODERS:
        images = [compressed(image, syntax) for image in images]

    assert (volume_from(images).volume.voxels == signed).all()


def test_eight_bit_images_of_odd_size_are_read():
    values = RNG.integers(0, 256, (5, 7, 9), dtype=np.uint8)

    assert (volume_from(classic_series(values)).volume.voxels == values).all()


def test_monochrome1_is_turned_so_that_large_values_are_bright():
    images = [put_pixels(i, v, 12) for i, v in zip(classic_series(VALUES), VALUES, strict=True)]
    for image in images:
        image.PhotometricInterpretation = "MONOCHROME1"

    assert (volume_from(images).volume.voxels == 4095 - VALUES.astype(float)).all()


def test_each_image_is_rescaled_by_its_own_slope():
    images = classic_series(VALUES)
    for index, image in enumerate(images):
        with_attributes(image, RescaleSlope=index + 0.5, RescaleIntercept=-3)

    made = volume_from(images).volume.voxels

    assert np.allclose(made[2], VALUES[2] * 2.5 - 3)
    assert np.allclose(made[5], VALUES[5] * 5.5 - 3)


def test_each_frame_is_rescaled_by_its_own_slope():
    image = enhanced(VALUES)
    transform = image.SharedFunctionalGroupsSequence[0].pop("PixelValueTransformationSequence")
    for index, groups in enumerate(image.PerFrameFunctionalGroupsSequence):
        copied = with_attributes(type(groups)(), RescaleSlope=index + 1, RescaleIntercept=0)
        groups.PixelValueTransformationSequence = [copied]
    assert transform is not None

    assert (volume_from([image]).volume.voxels[3] == VALUES[3] * 4.0).all()


def changed(index=2, **attributes):
    images = classic_series(VALUES)
    with_attributes(images[index], **attributes)
    return images


def without_a_slice():
    images = classic_series(VALUES)
    del images[3]
    return images


def of_two_patients():
    return changed(PatientID="4712")


GEOMETRY = {
    "slice distances of 4.4, 4.4, 8.8, 4.4 mm": without_a_slice(),
    "two slices at the same position": changed(ImagePositionPatient=[-40.0, -30.0, 50.0]),
    "slices that are not parallel": changed(ImageOrientationPatient=[1, 0, 0, 0, 0.6, -0.8]),
    "pixel spacing \\(0.0, 0.6\\)": changed(PixelSpacing=[0.0, 0.6]),
    "different pixel spacing": changed(PixelSpacing=[0.9, 0.6]),
    "no Image Position or Image Orientation": changed(ImagePositionPatient=None),
    "has 3 slices; 5 to 400": classic_series(VALUES)[:3],
    "not orthogonal unit vectors": changed(ImageOrientationPatient=[1, 0, 0, 1, 0, 0]),
    "of 16×12, 16×6 pixels": [*classic_series(VALUES)[:5], changed(5, Columns=6)[5]],
    "shifted in-plane": changed(ImagePositionPatient=[-37.0, -21.2, 50.0]),
    "2 echo times": [
        *classic_series(VALUES),
        *changed()[:0],
        *classic_series(VALUES, EchoTime=90.0),
    ],
    "2 temporal positions": [
        *classic_series(VALUES, TemporalPositionIdentifier=1),
        *classic_series(VALUES, TemporalPositionIdentifier=2),
    ],
    "has two slices at the same position": [enhanced(VALUES), enhanced(VALUES, "1.2.3.2")],
    "has no images": [],
}


@pytest.mark.parametrize(("reason", "images"), GEOMETRY.items(), ids=GEOMETRY)
def test_images_that_form_no_volume_are_refused_by_name(reason, images):
    with pytest.raises(GeometryUnusable, match=reason):
        volume_from(images)


def test_many_slice_distances_are_listed_by_frequency():
    images = classic_series(np.zeros((12, 4, 4), np.uint16))
    del images[5]

    with pytest.raises(GeometryUnusable, match=r"4\.4 \(9×\), 8\.8 \(1×\) mm"):
        volume_from(images)


def test_two_stacks_in_one_enhanced_object_are_refused_by_name():
    image = enhanced(VALUES[[0, 1, 2, 0, 1, 2]])
    for index, groups in enumerate(image.PerFrameFunctionalGroupsSequence):
        groups.FrameContentSequence[0].StackID = str(1 + index // 3)
        groups.PlanePositionSequence[0].ImagePositionPatient = [0, 4.4 * (index % 3), 0]

    with pytest.raises(GeometryUnusable, match="2 stacks"):
        volume_from([image])


def test_images_of_two_patients_are_refused_without_naming_them():
    with pytest.raises(MixedPatients) as refusal:
        volume_from(of_two_patients())

    assert "4712" not in str(refusal.value)


def test_the_same_number_from_two_issuers_is_two_patients():
    with pytest.raises(MixedPatients):
        volume_from(changed(IssuerOfPatientID="ELSEWHERE"))


@pytest.mark.parametrize("uid", ["9.9", None])
def test_images_without_one_frame_of_reference_are_refused(uid):
    with pytest.raises(MixedFramesOfReference):
        volume_from(changed(FrameOfReferenceUID=uid))


PIXELS = {
    "bytes of pixel data; its header requires": {"Rows": 15},
    "no pixel data": {"PixelData": None},
    "PixelRepresentation 3": {"PixelRepresentation": 3},
    "BitsAllocated 32": {"BitsAllocated": 32},
    "BitsStored 17": {"BitsStored": 17},
    "HighBit 7": {"HighBit": 7},
    "SamplesPerPixel 3": {"SamplesPerPixel": 3},
    "not greyscale": {"PhotometricInterpretation": "RGB"},
    "rescale slope 0": {"RescaleSlope": 0, "RescaleIntercept": 0},
}


@pytest.mark.parametrize(("reason", "attributes"), PIXELS.items(), ids=PIXELS)
def test_a_header_that_does_not_fit_its_pixels_is_refused_by_name(reason, attributes):
    images = classic_series(VALUES)
    for image in images:
        with_attributes(image, **attributes)

    with pytest.raises(PixelsUnusable, match=reason):
        volume_from(images)


@pytest.mark.parametrize("syntax", [s for s in ENCODERS if s != "1.2.840.10008.1.2.5"])
def test_a_codestream_of_another_size_than_the_header_is_refused_undecoded(syntax):
    images = [compressed(image, syntax) for image in classic_series(VALUES)]
    for image in images:
        image.Rows = 65535

    with pytest.raises(PixelsUnusable, match=r"65535×12 .* but 16×12"):
        volume_from(images)


@pytest.mark.parametrize("syntax", ENCODERS)
def test_a_codestream_of_fewer_bits_than_the_header_is_refused(syntax):
    small = (VALUES >> 8).astype(np.uint8)
    images = [compressed(image, syntax) for image in classic_series(small)]
    for image in images:
        with_attributes(image, BitsAllocated=16, BitsStored=12, HighBit=11)

    with pytest.raises(PixelsUnusable, match="12 of 16 bits in the header"):
        volume_from(images)


def test_an_rle_frame_too_short_for_its_header_is_refused():
    images = [compressed(image, "1.2.840.10008.1.2.5") for image in classic_series(VALUES)]
    for image in images:
        image.Rows = 17

    with pytest.raises(PixelsUnusable, match="byte plane of 192 bytes; 204 required"):
        volume_from(images)


def test_an_rle_header_that_lies_is_refused():
    images = [compressed(image, "1.2.840.10008.1.2.5") for image in classic_series(VALUES)]
    frame = bytearray(rle(VALUES[0]))
    frame[8:12] = (1 << 31).to_bytes(4, "little")
    images[0].PixelData = encapsulate([bytes(frame)])

    with pytest.raises(PixelsUnusable, match="without a valid header"):
        volume_from(images)


def test_an_image_that_would_decode_to_gigabytes_is_refused_before_decoding():
    image = enhanced(VALUES)
    with_attributes(image, Rows=60000, Columns=60000)

    with pytest.raises(PixelsUnusable, match="at most 1024 MB"):
        volume_from([image])


def test_a_missing_frame_is_refused():
    image = compressed(enhanced(VALUES), "1.2.840.10008.1.2.4.80")
    image.NumberOfFrames = 7

    with pytest.raises(PixelsUnusable):
        volume_from([image])


def test_lossy_jpeg_is_refused_by_its_name():
    images = classic_series(VALUES)
    for image in images:
        image.file_meta.TransferSyntaxUID = UID("1.2.840.10008.1.2.4.51")

    with pytest.raises(PixelsUnusable, match="JPEG Extended"):
        volume_from(images)


@settings(deadline=None, max_examples=40)
@given(st.sampled_from(list(ENCODERS)), st.data())
def test_damaged_compressed_pixels_are_refused_or_read_never_a_crash(syntax, draw):
    images = [compressed(image, syntax) for image in classic_series(VALUES)]
    stream = bytearray(images[0].PixelData)
    at = draw.draw(st.integers(0, len(stream) - 1))
    stream[at] ^= draw.draw(st.integers(1, 255))
    images[0].PixelData = bytes(stream[: draw.draw(st.integers(at, len(stream)))])

    try:
        made = volume_from(images)
    except InputRejected:
        return
    assert made.volume.voxels.shape == VALUES.shape


def pair(**stir):
    return volume_from(classic_series(VALUES)), volume_from(
        classic_series(VALUES, "1.2.3.5", **stir)
    )


def test_a_pair_seen_from_opposite_sides_is_still_a_pair():
    shifted = {"cosines": FLIPPED, "origin_mm": (-33.0, -8.0, 50.0)}

    check_pair(*pair(**shifted))


@pytest.mark.parametrize(
    ("stir", "error"),
    [
        ({"PatientID": "4712"}, MixedPatients),
        ({"FrameOfReferenceUID": "9.9"}, MixedFramesOfReference),
        ({"cosines": oblique(30)}, GeometryUnusable),
        ({"origin_mm": (-40.0, 300.0, 50.0)}, GeometryUnusable),
    ],
    ids=["patient", "frame of reference", "tilt", "place"],
)
def test_a_pair_that_does_not_belong_together_is_refused(stir, error):
    with pytest.raises(error):
        check_pair(*pair(**stir))


def test_a_volume_does_not_show_its_patient_when_printed():
    assert "4711" not in repr(volume_from(classic_series(VALUES)))
