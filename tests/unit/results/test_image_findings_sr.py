"""Findings on the images: every point and contour where it was found, and nothing without one."""

from copy import deepcopy
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.delineation import Delineation
from models.findings import Presence, Side
from models.findings import Sequence as Kind
from sij_node.config.profiles import Profile
from sij_node.dicom import codes
from sij_node.results.image_findings_sr import drawable, image_findings_report
from sij_node.results.provenance import NOT_CLINICAL, to_part10
from sij_node.results.scores_sr import scores_report
from tests.support.mr_series import CORONAL, classic_series, enhanced, oblique
from tests.support.result_inputs import analysed, context, findings, sighted
from tests.support.sr_templates import violations_of_report

VALUES = np.zeros((5, 16, 12), np.uint16)
FLIPPED = ((-1.0, 0.0, 0.0), (0.0, 0.0, -1.0))
UPSIDE_DOWN = ((1.0, 0.0, 0.0), (0.0, 0.0, 1.0))
orientations = st.sampled_from([CORONAL, FLIPPED, UPSIDE_DOWN, oblique(35), oblique(40, 12)])


def report_on(images, sequence=Kind.T1, vertices=9, profile=None):
    one = analysed(images, sequence, vertices)
    made_by = context(profile=profile) if profile else context()
    return one, image_findings_report(one, sighted(one.source.volume, sequence), made_by)


def items(parent, concept):
    return [
        item
        for item in parent.ContentSequence
        if item.ConceptNameCodeSequence[0].CodeValue == concept.value
    ]


def groups(report):
    return items(items(report, codes.IMAGING_MEASUREMENTS)[0], codes.MEASUREMENT_GROUP)


def coordinates(item):
    """Every SCOORD below an item."""
    if item.get("ValueType") == "SCOORD":
        yield item
    for child in item.get("ContentSequence", ()):
        yield from coordinates(child)


def in_patient(scoord, images):
    """Where a receiver draws it, by the header of the image that it names."""
    reference = scoord.ContentSequence[0].ReferencedSOPSequence[0]
    (image,) = [i for i in images if i.SOPInstanceUID == reference.ReferencedSOPInstanceUID]
    position, orientation, spacing = _plane(image, reference.get("ReferencedFrameNumber"))
    across, down = np.array(orientation, float).reshape(2, 3)
    at = np.array(scoord.GraphicData, float).reshape(-1, 2) - 0.5
    return (
        np.array(position, float)
        + at[:, :1] * across * float(spacing[1])
        + at[:, 1:] * down * float(spacing[0])
    )


def _plane(image, frame):
    if frame is None:
        return image.ImagePositionPatient, image.ImageOrientationPatient, image.PixelSpacing
    shared = image.SharedFunctionalGroupsSequence[0]
    own = image.PerFrameFunctionalGroupsSequence[frame - 1]
    return (
        own.PlanePositionSequence[0].ImagePositionPatient,
        shared.PlaneOrientationSequence[0].ImageOrientationPatient,
        shared.PixelMeasuresSequence[0].PixelSpacing,
    )


def check_every_place(one, report, images):
    volume = one.source.volume
    drawn = [in_patient(next(coordinates(group)), images) for group in groups(report)]
    seen = one.seen(sighted(volume, one.sequence))
    for (_, sight), at in zip(seen, drawn, strict=False):
        found = volume.to_patient((sight.slice_index, sight.row, sight.column))
        assert np.allclose(at[0], found, atol=0.01)
    for contour, at in zip(one.contours, drawn[len(seen) :], strict=True):
        found = volume.to_patient(np.insert(contour.points, 0, contour.slice_index, axis=1))
        assert np.allclose(at, found, atol=0.01)


@settings(deadline=None, max_examples=8)
@given(orientations, st.permutations(range(5)))
def test_points_and_contours_on_single_images_lie_where_they_were_found(cosines, order):
    images = classic_series(VALUES, cosines=cosines)
    one, report = report_on([images[i] for i in order])

    check_every_place(one, report, images)


@settings(deadline=None, max_examples=8)
@given(orientations, st.permutations(range(5)))
def test_points_and_contours_on_frames_lie_where_they_were_found(cosines, order):
    image = enhanced(VALUES, cosines=cosines, order=order)
    one, report = report_on([image], Kind.STIR)

    check_every_place(one, report, [image])


def test_lesions_come_first_and_every_group_has_coordinates():
    one, report = report_on(classic_series(VALUES))
    templates = [g.ContentTemplateSequence[0].TemplateIdentifier for g in groups(report)]
    positive = sum(finding.presence is Presence.PRESENT for finding in findings())

    assert templates == ["1501"] * positive + ["1410"] * len(one.contours)
    assert all(len(list(coordinates(group))) == 1 for group in groups(report))


def test_a_finding_without_a_point_or_on_the_other_series_is_not_drawn():
    one = analysed(classic_series(VALUES))
    found = sighted(one.source.volume, Kind.STIR)
    hidden = [replace(f, sight=None) for f in sighted(one.source.volume, Kind.T1)]

    for case in (found, hidden):
        report = image_findings_report(one, case, context())
        assert len(groups(report)) == len(one.contours)


def test_nothing_to_draw_is_no_report():
    one = replace(analysed(classic_series(VALUES)), delineation=Delineation(()))

    with pytest.raises(ValueError, match="empty"):
        image_findings_report(one, findings(), context())


def test_a_report_is_about_its_own_series_alone():
    _, report = report_on(classic_series(VALUES, "1.2.3.7"))

    (study,) = report.CurrentRequestedProcedureEvidenceSequence
    (series,) = study.ReferencedSeriesSequence
    assert series.SeriesInstanceUID == "1.2.3.7"
    assert {
        scoord.ContentSequence[0].ReferencedSOPSequence[0].ReferencedSOPInstanceUID
        for scoord in coordinates(report)
    } <= {one.ReferencedSOPInstanceUID for one in series.ReferencedSOPSequence}


@pytest.mark.parametrize("vertices", [2, 3, 4, 5, 6, 24])
def test_no_contour_is_taken_for_a_rectangle_or_closed(vertices):
    _, report = report_on(classic_series(VALUES), vertices=vertices)

    for scoord in coordinates(report):
        points = np.array(scoord.GraphicData).reshape(-1, 2)
        if scoord.GraphicType == "POLYLINE":
            assert len(points) >= 6
            assert tuple(points[0]) != tuple(points[-1])


def test_vertices_that_are_added_lie_on_the_line():
    line = np.array([[0.0, 0.0], [4.0, 0.0], [4.0, 8.0], [0.0, 8.0]])

    assert drawable(line).tolist() == [[0, 0], [2, 0], [4, 0], [4, 4], [4, 8], [2, 8], [0, 8]]
    assert (drawable(np.vstack([line, line[:1]]))[-1] != line[0]).any()


def test_words_and_codes_of_the_side_agree_in_every_group():
    _, report = report_on(classic_series(VALUES))

    for group in groups(report):
        (site,) = items(group, codes.FINDING_SITE) or items(group, codes.FINDING)
        (laterality,) = items(site, codes.LATERALITY)
        side = laterality.ConceptCodeSequence[0].CodeMeaning
        assert items(group, codes.TRACKING_IDENTIFIER)[0].TextValue.startswith(side)
        for comment in items(group, codes.COMMENT):  # what OHIF writes beside a lesion
            assert comment.TextValue == items(group, codes.TRACKING_IDENTIFIER)[0].TextValue


def test_no_contour_has_a_site_that_ohif_would_write_as_a_bare_code():
    _, report = report_on(classic_series(VALUES))

    contours = [one for one in groups(report) if not items(one, codes.PROBABILITY)]
    assert contours
    assert not any(items(group, codes.FINDING_SITE) for group in contours)


def test_the_same_lesion_is_tracked_by_the_same_uid_in_both_reports():
    images = classic_series(VALUES)
    one, report = report_on(images)
    scores = scores_report(findings(), images, context())

    def tracking(of):
        return {
            items(g, codes.TRACKING_IDENTIFIER)[0].TextValue: items(g, codes.TRACKING_UID)[0].UID
            for g in groups(of)
        }

    lesions = dict(
        list(tracking(report).items())[: len(one.seen(sighted(one.source.volume, Kind.T1)))]
    )
    assert lesions.items() <= tracking(scores).items()
    assert len(set(tracking(report).values())) == len(groups(report))


def test_words_follow_the_language_and_codes_do_not():
    german = Profile(name="ward", language="de")
    _, english_report = report_on(classic_series(VALUES))
    _, german_report = report_on(classic_series(VALUES), profile=german)

    def code_values(item):
        own = [c.CodeValue for c in item.get("ConceptCodeSequence", ())]
        return own + [v for child in item.get("ContentSequence", ()) for v in code_values(child)]

    assert code_values(german_report)[1:] == code_values(english_report)[1:]
    names = [items(g, codes.TRACKING_IDENTIFIER)[0].TextValue for g in groups(german_report)]
    assert names[0].startswith("ISG rechts, Os sacrum kranial: Knochenmarködem")
    assert all(("rechts" in name) != ("links" in name) for name in names)


def test_the_report_follows_its_templates():
    _, report = report_on(classic_series(VALUES))

    assert violations_of_report(report) == []


def test_the_check_of_templates_sees_what_is_missing_moved_or_added():
    _, report = report_on(classic_series(VALUES))

    def broken(change):
        spoilt = deepcopy(report)
        change(spoilt, groups(spoilt))
        return violations_of_report(spoilt)

    def drop_tracking(_, each):
        del each[0].ContentSequence[1]

    def relate_otherwise(_, each):
        items(each[0], codes.FINDING_SITE)[0].RelationshipType = "CONTAINS"

    def add_a_second_point(_, each):
        number = items(each[0], codes.PROBABILITY)[0]
        number.ContentSequence.append(deepcopy(number.ContentSequence[0]))

    def forget_the_language(spoilt, _):
        del spoilt.ContentSequence[0]

    changes = (drop_tracking, relate_otherwise, add_a_second_point, forget_the_language)
    assert all(broken(change) for change in changes)


def test_the_same_inputs_make_the_same_bytes_in_any_order():
    images = classic_series(VALUES)

    _, one = report_on(images)
    _, again = report_on(images[::-1])

    assert to_part10(one, "NODE") == to_part10(again, "NODE")


def test_the_report_says_what_it_is_not_for_and_names_its_networks():
    _, report = report_on(classic_series(VALUES))
    lesion, contour = groups(report)[0], groups(report)[-1]

    assert items(report, codes.COMMENT)[0].TextValue == NOT_CLINICAL
    assert items(lesion, codes.ALGORITHM_NAME)[0].TextValue == "lesion"
    assert items(contour, codes.ALGORITHM_NAME)[0].TextValue == "contour"
    assert report.VerificationFlag == "UNVERIFIED"
    assert report.SeriesDescription == "SIJ findings (T1)"


def test_the_side_of_a_contour_is_the_side_where_it_lies():
    images = classic_series(VALUES, cosines=FLIPPED)
    _, report = report_on(images)

    for group in groups(report):
        (scoord,) = coordinates(group)
        name = items(group, codes.TRACKING_IDENTIFIER)[0].TextValue.lower()
        if scoord.GraphicType == "POLYLINE":
            x = in_patient(scoord, images)[:, 0].mean()
            middle = np.mean([image.ImagePositionPatient[0] for image in images]) - 5.5 * 0.6
            assert name.startswith(Side.LEFT if x > middle else Side.RIGHT)


def test_an_archive_without_the_newer_class_gets_the_older_one():
    older = Profile(name="old", report_class="comprehensive")
    _, report = report_on(classic_series(VALUES), profile=older)

    assert report.SOPClassUID == "1.2.840.10008.5.1.4.1.1.88.33"
