"""Results are read back before they are sent, and any change is detected."""

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from io import BytesIO

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.pixels.utils import pack_bits

from models.delineation import Delineation
from models.findings import POSITIONS, Finding, Position, Presence, Side
from sij_node.domain.prior_comparison import NOTHING_EARLIER, SincePrior
from sij_node.errors import InternalFault, ResultsInconsistent
from sij_node.results.pdf_report import page_report
from sij_node.results.provenance import to_part10
from sij_node.results.scores_sr import not_analysed_report
from sij_node.verify.check_results import check_results
from sij_node.verify.expected_results import ExpectedResults
from tests.support.mr_series import oblique
from tests.support.prior_reports import earlier
from tests.support.result_files import Change, Made, assert_names_no_patient, made, orientations
from tests.support.result_files import for_people as made_for_people
from tests.support.result_inputs import context, findings
from tests.support.small_study import drawn_study, headers_of

FLIPPED = ((-1.0, 0.0, 0.0), (0.0, 0.0, -1.0))
SIDES = {"7771000": "24028007", "24028007": "7771000"}
WORDS = {"left": "right", "right": "left", "Left": "Right", "Right": "Left"}

SOURCES = {"classic oblique": (oblique(35, 12), False), "enhanced flipped": (FLIPPED, True)}


@pytest.fixture(scope="module", params=SOURCES.values(), ids=SOURCES)
def results(request) -> Made:
    return made(drawn_study(*request.param))


@pytest.fixture(scope="module")
def classic() -> Made:
    return made(drawn_study())


@pytest.fixture(scope="module")
def many_frames() -> Made:
    return made(drawn_study(oblique(20), many_frames=True))


def test_results_as_they_were_made_pass(results):
    check_results(results.files.values(), results.evidence)


def test_the_fault_is_the_nodes_own_so_a_person_is_called():
    assert issubclass(ResultsInconsistent, InternalFault)


# ---- segmentation --------------------------------------------------------------------------------


def redrawn(change: Callable[[np.ndarray], np.ndarray]) -> Change:
    def change_pixels(seg: Dataset) -> None:
        seg.PixelData = pack_bits(change(seg.pixel_array.copy()))

    return change_pixels


def next_slice_of_the_segment(frames: np.ndarray) -> np.ndarray:
    return np.roll(frames, 1, axis=0)


def with_one_voxel_more(frames: np.ndarray) -> np.ndarray:
    frames[0, 0, 0] = 1
    return frames


def groups(seg: Dataset) -> list[Dataset]:
    return list(seg.PerFrameFunctionalGroupsSequence)


def source_in(group: Dataset) -> Dataset:
    return group.DerivationImageSequence[0].SourceImageSequence[0]


def half_a_pixel(seg: Dataset) -> None:
    shared = seg.SharedFunctionalGroupsSequence[0]
    across = np.array(shared.PlaneOrientationSequence[0].ImageOrientationPatient[:3], float)
    step = across * float(shared.PixelMeasuresSequence[0].PixelSpacing[1]) / 2
    for group in groups(seg):
        place = group.PlanePositionSequence[0]
        moved = np.array(place.ImagePositionPatient, float) + step
        place.ImagePositionPatient = [round(float(x), 6) for x in moved]


def mirrored(seg: Dataset) -> None:
    item = seg.SharedFunctionalGroupsSequence[0].PlaneOrientationSequence[0]
    across, down = item.ImageOrientationPatient[:3], item.ImageOrientationPatient[3:]
    item.ImageOrientationPatient = [*(-float(x) for x in across), *down]


def rows_for_columns(seg: Dataset) -> None:
    measures = seg.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
    measures.PixelSpacing = measures.PixelSpacing[::-1]


def one_slice_on(seg: Dataset) -> None:
    """All of it consistent: places and references are those of the neighbouring slice."""
    first = groups(seg)[0].SegmentIdentificationSequence[0].ReferencedSegmentNumber
    own = [
        group
        for group in groups(seg)
        if group.SegmentIdentificationSequence[0].ReferencedSegmentNumber == first
    ]
    places = [(g.PlanePositionSequence, g.DerivationImageSequence) for g in own]
    for group, (place, source) in zip(own, [*places[1:], places[0]], strict=True):
        group.PlanePositionSequence, group.DerivationImageSequence = place, source


def places_of_two_frames_swapped(seg: Dataset) -> None:
    one, other = groups(seg)[:2]
    one.PlanePositionSequence, other.PlanePositionSequence = (
        other.PlanePositionSequence,
        one.PlanePositionSequence,
    )


def sources_of_two_frames_swapped(seg: Dataset) -> None:
    one, other = groups(seg)[:2]
    one.DerivationImageSequence, other.DerivationImageSequence = (
        other.DerivationImageSequence,
        one.DerivationImageSequence,
    )


def without_a_frame(seg: Dataset) -> None:
    frames = seg.pixel_array[:-1]
    del seg.PerFrameFunctionalGroupsSequence[-1]
    seg.NumberOfFrames = len(frames)
    seg.PixelData = pack_bits(frames)


def without_the_pixels_of_a_frame(seg: Dataset) -> None:
    seg.PixelData = pack_bits(seg.pixel_array[:-1])


def with_a_frame_twice(seg: Dataset) -> None:
    frames = seg.pixel_array
    seg.PerFrameFunctionalGroupsSequence.append(groups(seg)[-1])
    seg.NumberOfFrames = len(frames) + 1
    seg.PixelData = pack_bits(np.concatenate([frames, frames[-1:]]))


def with_one_empty_frame(seg: Dataset) -> None:
    frames = seg.pixel_array.copy()
    frames[0] = 0
    seg.PixelData = pack_bits(frames)


def swap_codes_of_sides(dataset: Dataset) -> None:
    for item in every_item(dataset):
        if item.get("CodeValue") in SIDES:
            item.CodeValue = SIDES[item.CodeValue]


def every_item(dataset: Dataset) -> Iterator[Dataset]:
    for tag in list(dataset.keys()):
        if dataset.get_item(tag).VR == "SQ":
            for item in dataset[tag].value:
                yield item
                yield from every_item(item)


def other_side(text: str) -> str:
    return re.sub(r"\b(left|right)\b", _other_word, text, flags=re.IGNORECASE)


def _other_word(found: re.Match[str]) -> str:
    word = found[0]
    other = "right" if word.lower() == "left" else "left"
    return other.upper() if word.isupper() else other.title() if word.istitle() else other


def swap_words_of(*keywords: str) -> Change:
    def swap(dataset: Dataset) -> None:
        for item in every_item(dataset):
            for keyword in keywords:
                if keyword in item:
                    setattr(item, keyword, other_side(item.get(keyword)))

    return swap


def everything_called_by_the_other_side(dataset: Dataset) -> None:
    """All of it consistent: codes and words."""
    swap_codes_of_sides(dataset)
    for item in every_item(dataset):
        for keyword in ("SegmentLabel", "TrackingID", "TextValue"):
            if keyword in item:
                setattr(item, keyword, other_side(item.get(keyword)))


def upper_for_lower(seg: Dataset) -> None:
    parts = {"264217000": "261089000", "261089000": "264217000"}
    for item in every_item(seg):
        if item.get("CodeValue") in parts:
            item.CodeValue = parts[item.CodeValue]


def other_series_named(seg: Dataset) -> None:
    seg.ReferencedSeriesSequence[0].SeriesInstanceUID = "1.2.3.2"


def drawn_on_the_other_series(seg: Dataset) -> None:
    """All of it consistent: T1 for STIR wherever it is named."""
    for item in every_item(seg):
        for keyword in ("ReferencedSOPInstanceUID", "SeriesInstanceUID"):
            if str(item.get(keyword, "")).startswith("1.2.3.1"):
                setattr(item, keyword, "1.2.3.2" + item.get(keyword)[7:])


def other_description(dataset: Dataset) -> None:
    dataset.SeriesDescription = dataset.SeriesDescription.replace("T1", "STIR")


def other_frame_of_reference(seg: Dataset) -> None:
    seg.FrameOfReferenceUID = "1.2.3.98"


WRONG_MASKS = [
    redrawn(lambda frames: frames[:, :, ::-1]),
    redrawn(lambda frames: frames[:, ::-1]),
    redrawn(next_slice_of_the_segment),
    redrawn(lambda frames: np.roll(frames, 1, axis=2)),
    redrawn(with_one_voxel_more),
    half_a_pixel,
    mirrored,
    rows_for_columns,
    one_slice_on,
    places_of_two_frames_swapped,
    sources_of_two_frames_swapped,
    without_a_frame,
    without_the_pixels_of_a_frame,
    with_a_frame_twice,
    with_one_empty_frame,
]
WRONG_NAMES = [
    everything_called_by_the_other_side,
    swap_codes_of_sides,
    swap_words_of("SegmentLabel"),
    swap_words_of("TrackingID"),
    upper_for_lower,
    other_series_named,
    drawn_on_the_other_series,
    other_description,
    other_frame_of_reference,
]


@pytest.mark.parametrize("change", WRONG_MASKS, ids=lambda change: change.__name__)
def test_masks_that_lie_elsewhere_are_noticed(results, change):
    with pytest.raises(ResultsInconsistent, match="SEG") as caught:
        check_results(results.changed("seg t1", change), results.evidence)

    assert_names_no_patient(caught.value)


@pytest.mark.parametrize("change", WRONG_NAMES, ids=lambda change: change.__name__)
def test_masks_under_other_names_are_noticed(classic, change):
    with pytest.raises(ResultsInconsistent, match="SEG") as caught:
        check_results(classic.changed("seg t1", change), classic.evidence)

    assert_names_no_patient(caught.value)


@pytest.mark.parametrize("step", [-1, 1])
def test_frames_counted_from_another_number_are_noticed(many_frames, step):
    def count_otherwise(seg: Dataset) -> None:
        for group in groups(seg):
            source_in(group).ReferencedFrameNumber += step

    with pytest.raises(ResultsInconsistent):
        check_results(many_frames.changed("seg t1", count_otherwise), many_frames.evidence)


def test_a_frame_of_a_single_image_is_noticed(classic):
    def with_frame_numbers(seg: Dataset) -> None:
        for group in groups(seg):
            source_in(group).ReferencedFrameNumber = 1

    with pytest.raises(ResultsInconsistent, match="frame"):
        check_results(classic.changed("seg t1", with_frame_numbers), classic.evidence)


def test_empty_frames_pass_where_the_profile_wants_them_all():
    whole = made(drawn_study(oblique(35)), objects=("seg",), empty_frames=True)
    (first, *_) = whole.files.values()

    assert dcmread(BytesIO(first)).NumberOfFrames == 50
    check_results(whole.files.values(), whole.evidence)


# ---- any orientation -----------------------------------------------------------------------------


@settings(deadline=None, max_examples=6)
@given(
    orientations,
    st.booleans(),
    st.sampled_from([*WRONG_MASKS[:4], half_a_pixel, mirrored, one_slice_on, swap_codes_of_sides]),
)
def test_in_any_orientation_only_changed_masks_are_rejected(cosines, frames, change):
    any_way = made(drawn_study(cosines, frames), objects=("seg", "findings"))

    check_results(any_way.files.values(), any_way.evidence)
    with pytest.raises(ResultsInconsistent):
        check_results(any_way.changed("seg stir", change), any_way.evidence)


# ---- scores --------------------------------------------------------------------------------------


def items(parent: Dataset, code: str) -> list[Dataset]:
    return [
        item
        for item in every_item(parent)
        if "ValueType" in item and item.ConceptNameCodeSequence[0].CodeValue == code
    ]


def other_probability(report: Dataset) -> None:
    items(report, "122157")[0].MeasuredValueSequence[0].NumericValue = "1.001"


def no_probability(report: Dataset) -> None:
    items(report, "122157")[0].MeasuredValueSequence = []


def other_threshold(report: Dataset) -> None:
    items(report, "threshold")[3].MeasuredValueSequence[0].NumericValue = "49.9"


def other_presence(report: Dataset) -> None:
    code = items(report, "121052")[0].ConceptCodeSequence[0]
    code.CodeValue = "121053" if code.CodeValue != "121053" else "121054"


def one_side_coded_otherwise(report: Dataset) -> None:
    swap_codes_of_sides(items(report, "272741003")[0])


def without_a_group(report: Dataset) -> None:
    del items(report, "126010")[0].ContentSequence[-1]


def one_tracking_for_two(report: Dataset) -> None:
    first, second = items(report, "112040")[:2]
    second.UID = first.UID


def changed_text(code: str, change: Callable[[str], str]) -> Change:
    def change_text(report: Dataset) -> None:
        for item in items(report, code):
            if "TextValue" in item:
                item.TextValue = change(item.TextValue)

    return change_text


def cells_swapped(table: str) -> str:
    return table.replace("| R", "| X").replace("| L", "| R").replace("| X", "| L")


WRONG_SCORES = [
    other_probability,
    no_probability,
    other_threshold,
    other_presence,
    one_side_coded_otherwise,
    everything_called_by_the_other_side,
    swap_codes_of_sides,
    without_a_group,
    one_tracking_for_two,
    changed_text("112039", other_side),
    changed_text("121106", other_side),
    changed_text("55112-7", other_side),
    changed_text("121071", cells_swapped),
    changed_text("121071", lambda table: "\r\n".join(table.splitlines()[::-1])),
]


@pytest.mark.parametrize("change", WRONG_SCORES, ids=lambda change: change.__name__)
def test_a_changed_report_of_scores_is_noticed(classic, change):
    with pytest.raises(ResultsInconsistent, match="SR") as caught:
        check_results(classic.changed("scores", change), classic.evidence)

    assert_names_no_patient(caught.value)


def test_scores_in_german_pass_and_their_swapped_words_are_noticed():
    german = made(drawn_study(), objects=("seg", "findings", "scores"), language="de")

    def swapped(text: str) -> str:
        pairs = {"links": "rechts", "rechts": "links", "LINKS": "RECHTS", "RECHTS": "LINKS"}
        return re.sub("|".join(pairs), lambda found: pairs[found[0]], text)

    check_results(german.files.values(), german.evidence)
    for kind, code in (("scores", "55112-7"), ("scores", "121106"), ("findings t1", "112039")):
        with pytest.raises(ResultsInconsistent, match="side"):
            check_results(german.changed(kind, changed_text(code, swapped)), german.evidence)


# ---- lesion burden -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def with_the_same_weights() -> Made:
    return made(drawn_study(), SincePrior(earlier()), objects=("scores",))


def another_burden(name: str) -> Change:
    def change(report: Dataset) -> None:
        items(report, name)[0].MeasuredValueSequence[0].NumericValue = "9"

    return change


def burdens_exchanged(report: Dataset) -> None:
    one, other = (items(report, name)[0] for name in ("sss-fat", "sss-erosion"))
    one.ConceptNameCodeSequence, other.ConceptNameCodeSequence = (
        other.ConceptNameCodeSequence,
        one.ConceptNameCodeSequence,
    )


def burden_left_out(report: Dataset) -> None:
    del items(report, "burden-scores")[0].ContentSequence[-1]


def no_change_of_burden(report: Dataset) -> None:
    del items(report, "sparcc-inflamm")[0].ContentSequence[-1]


def within_error_instead_of_decreased(report: Dataset) -> None:
    change = items(report, "sparcc-inflamm")[0].ContentSequence[-1]
    change.ConceptCodeSequence[0].CodeValue = "within-error"


def another_operating_point(report: Dataset) -> None:
    items(report, "operating-point")[3].ConceptCodeSequence[0].CodeValue = "specific"


def test_lesion_burden_as_it_was_written_passes(with_the_same_weights):
    check_results(with_the_same_weights.files.values(), with_the_same_weights.evidence)


@pytest.mark.parametrize(
    "change",
    [
        another_burden("burden-value"),
        another_burden("burden-low"),
        another_burden("burden-high"),
        another_burden("burden-most"),
        another_burden("prior-burden"),
        burdens_exchanged,
        burden_left_out,
        no_change_of_burden,
        within_error_instead_of_decreased,
        another_operating_point,
    ],
)
def test_changed_lesion_burden_is_noticed(with_the_same_weights, change):
    with pytest.raises(ResultsInconsistent, match=r"burden|SPARCC|operating point|Berlin"):
        check_results(
            with_the_same_weights.changed("scores", change), with_the_same_weights.evidence
        )


# ---- since the prior -----------------------------------------------------------------------------


@pytest.fixture(scope="module", params=["en", "de"])
def compared(request) -> Made:
    since = SincePrior(earlier(), (earlier("20190101"),), True, ("late",))
    return made(drawn_study(), since, objects=("scores",), language=request.param)


def test_a_report_with_a_comparison_passes(compared):
    check_results(compared.files.values(), compared.evidence)


def other_change(report: Dataset) -> None:
    code = items(report, "change")[0].ConceptCodeSequence[0]
    code.CodeValue = "gone" if code.CodeValue == "new" else "new"
    code.CodingSchemeDesignator = "99SIJNODE"


def prior_probabilities_of_neighbours_exchanged(report: Dataset) -> None:
    one, other = (i.MeasuredValueSequence[0] for i in items(report, "prior-score")[:2])
    one.NumericValue, other.NumericValue = other.NumericValue, one.NumericValue


def a_prior_probability_where_there_was_none(report: Dataset) -> None:
    ninth = items(report, "prior-score")
    ninth[9].MeasuredValueSequence = ninth[8].MeasuredValueSequence


def other_prior_threshold(report: Dataset) -> None:
    items(report, "prior-threshold")[2].MeasuredValueSequence[0].NumericValue = "50"


def another_prior_report(report: Dataset) -> None:
    items(report, "122075")[0].ReferencedSOPSequence[0].ReferencedSOPInstanceUID = "2.25.1"


def another_date(report: Dataset) -> None:
    items(report, "111060")[0].Date = "20230302"


def called_the_same_weights(report: Dataset) -> None:
    items(report, "prior-weights")[0].ConceptCodeSequence[0].CodeValue = "same-weights"


def without_the_prior(report: Dataset) -> None:
    report.ContentSequence = [
        i for i in report.ContentSequence if i is not items(report, "18834-2")[0]
    ]


def without_evidence_of_the_prior(report: Dataset) -> None:
    del report.PertinentOtherEvidenceSequence


WRONG_CHANGES = [
    other_change,
    prior_probabilities_of_neighbours_exchanged,
    a_prior_probability_where_there_was_none,
    other_prior_threshold,
    another_prior_report,
    another_date,
    called_the_same_weights,
    without_the_prior,
    without_evidence_of_the_prior,
    changed_text("change-table", cells_swapped),
    changed_text("change-table", lambda table: table.replace(" → ", " ← ").replace("0 %", "1 %")),
]


@pytest.mark.parametrize("change", WRONG_CHANGES, ids=lambda change: change.__name__)
def test_a_changed_comparison_is_noticed(compared, change):
    with pytest.raises(ResultsInconsistent, match="SR") as caught:
        check_results(compared.changed("scores", change), compared.evidence)

    assert_names_no_patient(caught.value)


def test_a_comparison_without_a_prior_is_noticed(compared):
    alone = replace(compared.evidence, since=NOTHING_EARLIER)

    with pytest.raises(ResultsInconsistent):
        check_results(compared.files.values(), alone)


# ---- PDF and summary ---------------------------------------------------------------------------


@pytest.fixture(scope="module", params=["en", "de"])
def for_people(request) -> Made:
    return made_for_people(request.param)


def test_pdf_and_summary_as_they_were_made_pass(for_people):
    check_results(for_people.files.values(), for_people.evidence)


def with_sides_exchanged(evidence: ExpectedResults) -> ExpectedResults:
    return with_findings(
        evidence,
        lambda f: replace(
            evidence.finding_at[Position(other_of(f.position.side), f.position.head)],
            position=f.position,
            sight=None,
        ),
    )


def other_of(side: Side) -> Side:
    return Side.LEFT if side is Side.RIGHT else Side.RIGHT


def with_another_score(evidence: ExpectedResults) -> ExpectedResults:
    return with_findings(
        evidence,
        lambda f: replace(f, probability=0.123) if f.position == POSITIONS[20] else f,
    )


def with_another_threshold(evidence: ExpectedResults) -> ExpectedResults:
    """Then another lesion is present, at the same numbers."""
    chosen = next(f for f in evidence.findings if f.presence is Presence.PRESENT)
    return with_findings(evidence, lambda f: replace(f, threshold=0.999) if f is chosen else f)


def with_findings(
    evidence: ExpectedResults, change: Callable[[Finding], Finding]
) -> ExpectedResults:
    return replace(evidence, findings=tuple(map(change, evidence.findings)))


def with_another_prior(evidence: ExpectedResults) -> ExpectedResults:
    return replace(evidence, since=SincePrior(earlier(findings=tuple(findings())), (), True))


@pytest.mark.parametrize(
    "otherwise",
    [with_sides_exchanged, with_another_score, with_another_threshold, with_another_prior],
)
def test_a_page_with_other_content_is_detected(for_people, otherwise):
    with pytest.raises(ResultsInconsistent, match="DOC") as caught:
        check_results([for_people.files["pdf"]], otherwise(for_people.evidence))

    assert_names_no_patient(caught.value)


def another_patients_page(document: Dataset) -> None:
    other = drawn_study()
    for one in other.series:
        for header in one.headers:
            header.PatientID = "4712"
    page = page_report(other.series, other.findings, (), context())
    document.EncapsulatedDocument = page.EncapsulatedDocument
    document.EncapsulatedDocumentLength = page.EncapsulatedDocumentLength


def cut_short(document: Dataset) -> None:
    document.EncapsulatedDocumentLength = document.EncapsulatedDocumentLength // 2


def no_pdf(document: Dataset) -> None:
    document.EncapsulatedDocument = b"<html></html>   " * 100


def a_reference_to_nothing(document: Dataset) -> None:
    sources = document.get("SourceInstanceSequence") or document.SourceImageSequence
    sources[0].ReferencedSOPInstanceUID = "1.2.3.9.9"


@pytest.mark.parametrize(
    "change", [another_patients_page, cut_short, no_pdf, a_reference_to_nothing]
)
def test_a_changed_page_is_noticed(for_people, change):
    with pytest.raises(ResultsInconsistent, match="DOC"):
        check_results(for_people.changed("pdf", change), for_people.evidence)


def a_picture_less(capture: Dataset) -> None:
    capture.NumberOfFrames = capture.NumberOfFrames - 1


def pages_exchanged(capture: Dataset) -> None:
    capture.PageNumberVector = capture.PageNumberVector[::-1]


def of_another_size(capture: Dataset) -> None:
    capture.Rows = capture.Rows - 2


def another_study(capture: Dataset) -> None:
    capture.StudyInstanceUID = "1.2.3.4"


@pytest.mark.parametrize(
    "change",
    [
        a_picture_less,
        pages_exchanged,
        of_another_size,
        another_study,
        a_reference_to_nothing,
    ],
)
def test_changed_pictures_are_noticed(for_people, change):
    with pytest.raises(ResultsInconsistent, match="OT"):
        check_results(for_people.changed("summary", change), for_people.evidence)


# ---- findings on the images ----------------------------------------------------------------------


def moved(columns: float, rows: float = 0.0) -> Change:
    def move(report: Dataset) -> None:
        for item in (*items(report, "111030"), *items(report, "121112")):
            points = np.array(item.GraphicData, float).reshape(-1, 2)
            item.GraphicData = (points + np.array([columns, rows])).reshape(-1).tolist()

    return move


def point_moved(report: Dataset) -> None:
    item = items(report, "121112")[0]
    item.GraphicData = [item.GraphicData[0] + 0.5, item.GraphicData[1]]


def columns_flipped(report: Dataset) -> None:
    for item in items(report, "111030"):
        points = np.array(item.GraphicData, float).reshape(-1, 2)
        item.GraphicData = np.column_stack([51 - points[:, 0], points[:, 1]]).reshape(-1).tolist()


def rows_and_columns_exchanged(report: Dataset) -> None:
    for item in items(report, "111030"):
        points = np.array(item.GraphicData, float).reshape(-1, 2)
        item.GraphicData = points[:, ::-1].reshape(-1).tolist()


def one_slice_further(report: Dataset) -> None:
    """Every line as it is, on the neighbouring image."""
    move_on(items(report, "111030"), "ContentSequence")


def move_on(drawings: list[Dataset], reference: str) -> None:
    """Give each what is referenced by the one of the same side on the next slice."""
    references = [drawing[reference].value for drawing in drawings]
    for drawing, other in zip(drawings, [*references[2:], *references[:2]], strict=True):
        setattr(drawing, reference, other)


def half_a_contour(report: Dataset) -> None:
    item = items(report, "111030")[0]
    item.GraphicData = list(item.GraphicData)[:10]


def lines_of_neighbours_exchanged(report: Dataset) -> None:
    lines = items(report, "111030")
    lines[0].GraphicData, lines[2].GraphicData = lines[2].GraphicData, lines[0].GraphicData


def lines_of_both_sides_exchanged(report: Dataset) -> None:
    lines = items(report, "111030")
    lines[0].GraphicData, lines[1].GraphicData = lines[1].GraphicData, lines[0].GraphicData


def lesion_left_out(report: Dataset) -> None:
    del items(report, "126010")[0].ContentSequence[0]


def another_probability(report: Dataset) -> None:
    items(report, "122157")[0].MeasuredValueSequence[0].NumericValue = "1.5"


WRONG_DRAWINGS = [
    moved(0.5),
    moved(-0.5, -0.5),
    moved(0, 0.1),
    point_moved,
    columns_flipped,
    rows_and_columns_exchanged,
    one_slice_further,
    half_a_contour,
    lines_of_neighbours_exchanged,
    lines_of_both_sides_exchanged,
    without_a_group,
    lesion_left_out,
]
OTHERWISE_TOLD = [
    everything_called_by_the_other_side,
    drawn_on_the_other_series,
    another_probability,
    swap_codes_of_sides,
    changed_text("112039", other_side),
    changed_text("121106", other_side),
    other_description,
]


@pytest.mark.parametrize("change", WRONG_DRAWINGS, ids=lambda change: change.__name__)
def test_misplaced_graphics_are_noticed(results, change):
    with pytest.raises(ResultsInconsistent, match="SR") as caught:
        check_results(results.changed("findings t1", change), results.evidence)

    assert_names_no_patient(caught.value)


@pytest.mark.parametrize("change", OTHERWISE_TOLD, ids=lambda change: change.__name__)
def test_image_findings_that_differ_from_the_scores_are_noticed(classic, change):
    with pytest.raises(ResultsInconsistent, match="SR") as caught:
        check_results(classic.changed("findings t1", change), classic.evidence)

    assert_names_no_patient(caught.value)


@pytest.mark.parametrize("step", [-1, 1])
@pytest.mark.parametrize("kind", ["findings t1", "presentation t1"])
def test_drawings_on_frames_counted_from_another_number_are_noticed(many_frames, kind, step):
    def count_otherwise(drawn: Dataset) -> None:
        for item in every_item(drawn):
            frame = item.get("ReferencedFrameNumber")
            if isinstance(frame, int):
                item.ReferencedFrameNumber = frame + step

    with pytest.raises(ResultsInconsistent):
        check_results(many_frames.changed(kind, count_otherwise), many_frames.evidence)


# ---- presentation states -------------------------------------------------------------------------


def annotations(state: Dataset) -> list[Dataset]:
    return list(state.GraphicAnnotationSequence)


def graphic(annotation: Dataset) -> Dataset:
    return annotation.GraphicObjectSequence[0]


def lines_from_the_centre(state: Dataset) -> None:
    """As if pixel coordinates began at the centre of the first pixel."""
    for one in annotations(state):
        graphic(one).GraphicData = [float(x) - 0.5 for x in graphic(one).GraphicData]


def flipped(state: Dataset) -> None:
    for one in annotations(state):
        points = np.array(graphic(one).GraphicData, float).reshape(-1, 2)
        across = np.column_stack([51 - points[:, 0], points[:, 1]])
        graphic(one).GraphicData = across.reshape(-1).tolist()


def lines_one_slice_further(state: Dataset) -> None:
    lines = [one for one in annotations(state) if graphic(one).GraphicType == "POLYLINE"]
    move_on(lines, "ReferencedImageSequence")


def a_ring_beside_its_lesion(state: Dataset) -> None:
    last = graphic(annotations(state)[-1])
    last.GraphicData = [last.GraphicData[0] + 0.2, *list(last.GraphicData)[1:]]


def images_of_two_exchanged(state: Dataset) -> None:
    one, other = annotations(state)[0], annotations(state)[2]
    one.ReferencedImageSequence, other.ReferencedImageSequence = (
        other.ReferencedImageSequence,
        one.ReferencedImageSequence,
    )


def graphics_of_two_sides_exchanged(state: Dataset) -> None:
    one, other = annotations(state)[:2]
    one.GraphicObjectSequence, other.GraphicObjectSequence = (
        other.GraphicObjectSequence,
        one.GraphicObjectSequence,
    )


def without_the_first(state: Dataset) -> None:
    del state.GraphicAnnotationSequence[0]


def without_the_last(state: Dataset) -> None:
    del state.GraphicAnnotationSequence[-1]


def the_last_twice(state: Dataset) -> None:
    state.GraphicAnnotationSequence.append(annotations(state)[-1])


def label_on_the_other_side(state: Dataset) -> None:
    label = annotations(state)[0].TextObjectSequence[0]
    label.AnchorPoint = annotations(state)[1].TextObjectSequence[0].AnchorPoint


def percentage_of_another_lesion(state: Dataset) -> None:
    label = annotations(state)[-1].TextObjectSequence[0]
    label.UnformattedTextValue = re.sub(r"[\d.]+ %", "12.3 %", label.UnformattedTextValue)


def images_flipped(state: Dataset) -> None:
    state.ImageHorizontalFlip, state.ImageRotation = "Y", 0


def images_turned(state: Dataset) -> None:
    state.ImageHorizontalFlip, state.ImageRotation = "N", 180


WRONG_PRESENTATIONS = [
    images_flipped,
    images_turned,
    lines_from_the_centre,
    flipped,
    lines_one_slice_further,
    a_ring_beside_its_lesion,
    images_of_two_exchanged,
    graphics_of_two_sides_exchanged,
    without_the_first,
    without_the_last,
    the_last_twice,
    label_on_the_other_side,
    percentage_of_another_lesion,
    swap_words_of("UnformattedTextValue"),
    drawn_on_the_other_series,
    other_series_named,
    other_description,
]


@pytest.mark.parametrize("change", WRONG_PRESENTATIONS, ids=lambda change: change.__name__)
def test_a_changed_presentation_state_is_noticed(results, change):
    with pytest.raises(ResultsInconsistent, match="PR") as caught:
        check_results(results.changed("presentation t1", change), results.evidence)

    assert_names_no_patient(caught.value)


# ---- whose it is, and what it names --------------------------------------------------------------


def with_attribute(keyword: str, value: str | None) -> Change:
    def change(dataset: Dataset) -> None:
        setattr(dataset, keyword, value)

    change.__name__ = f"{keyword} {value}"
    return change


def an_image_that_is_not_there(dataset: Dataset) -> None:
    named(dataset).ReferencedSOPInstanceUID = "1.2.3.1.99"


def an_image_of_another_class(dataset: Dataset) -> None:
    named(dataset).ReferencedSOPClassUID = "1.2.840.10008.5.1.4.1.1.2"


def named(dataset: Dataset) -> Dataset:
    return next(item for item in every_item(dataset) if "ReferencedSOPInstanceUID" in item)


WRONG_IDENTITIES = [
    with_attribute("PatientID", "4712"),
    with_attribute("PatientID", ""),
    with_attribute("PatientName", "Muster^Erich"),
    with_attribute("IssuerOfPatientID", "OTHER"),
    with_attribute("PatientBirthDate", "19800102"),
    with_attribute("PatientSex", "M"),
    with_attribute("StudyInstanceUID", "1.2.4"),
    with_attribute("AccessionNumber", "A2"),
    with_attribute("StudyID", "S2"),
    with_attribute("SeriesInstanceUID", "1.2.3.1"),
    with_attribute("SOPInstanceUID", "1.2.3.1.1"),
    with_attribute("SOPInstanceUID", "1.02.3"),
    an_image_that_is_not_there,
    an_image_of_another_class,
]


@pytest.mark.filterwarnings("ignore:Invalid value for VR UI")
@pytest.mark.parametrize("kind", ["seg t1", "findings stir"])
@pytest.mark.parametrize("change", WRONG_IDENTITIES, ids=lambda change: change.__name__)
def test_another_patient_study_or_image_is_noticed(classic, kind, change):
    with pytest.raises(ResultsInconsistent) as caught:
        check_results(classic.changed(kind, change), classic.evidence)

    assert_names_no_patient(caught.value)


def test_two_results_under_one_uid_are_noticed(classic):
    with pytest.raises(ResultsInconsistent, match="same SOP Instance UID"):
        check_results([*classic.files.values(), classic.files["scores"]], classic.evidence)


@pytest.mark.parametrize("length", [0, 100, 300, 5_000, -3])
def test_a_file_that_ends_early_is_noticed(classic, length):
    with pytest.raises(ResultsInconsistent, match=r"cannot be read|not a DICOM|ends inside"):
        check_results([classic.files["scores"][:length]], classic.evidence)


# ---- what was found ------------------------------------------------------------------------------


def test_contours_on_the_wrong_side_fail_even_if_all_results_agree():
    study = drawn_study(oblique(30, 10))
    (t1, stir) = study.series
    swapped = [replace(c, side=Side(other_side(c.side))) for c in t1.delineation.contours]
    wrong = replace(study, series=(replace(t1, delineation=Delineation(tuple(swapped))), stir))
    results = made(replace(wrong, findings=study.findings), objects=("scores",))

    with pytest.raises(ResultsInconsistent, match=r"is called (left|right) and lies"):
        check_results(results.files.values(), results.evidence)


def test_a_lesion_seen_on_the_other_side_of_the_patient_is_noticed():
    study = drawn_study()
    there = {f.position.side: f.sight for f in study.findings if f.sight}
    found = [
        replace(f, sight=there[Side(other_side(f.position.side))]) if f.sight else f
        for f in study.findings
    ]
    results = made(replace(study, findings=found), objects=("scores",))

    with pytest.raises(ResultsInconsistent, match=r"is called (left|right) and lies"):
        check_results(results.files.values(), results.evidence)


def test_headers_that_place_a_slice_elsewhere_than_the_volume_are_noticed():
    results = made(drawn_study(), objects=("seg",))
    for header in results.evidence.headers:
        place = header.ImagePositionPatient
        header.ImagePositionPatient = [place[0] + 5, *place[1:]]

    with pytest.raises(ResultsInconsistent, match="voxels from where its header places it"):
        check_results(results.files.values(), results.evidence)


def test_a_single_joint_has_nothing_to_be_compared_with_and_passes():
    study = drawn_study()
    right_only = [
        replace(
            one,
            delineation=Delineation(one.delineation.of(Side.RIGHT)),
            regions=np.where(one.regions > 5, 0, one.regions).astype(np.uint8),
        )
        for one in study.series
    ]
    results = made(
        replace(
            study,
            series=tuple(right_only),
            findings=[
                replace(f, sight=None) if f.position.side is Side.LEFT else f
                for f in study.findings
            ],
        )
    )

    assert set(results.evidence.joints) == {Side.RIGHT}
    check_results(results.files.values(), results.evidence)


# ---- a study that was not analysed ---------------------------------------------------------------


def test_a_notice_with_a_finding_does_not_pass():
    images = headers_of(drawn_study())
    notice = not_analysed_report("joint-not-found", "No joint.", images, context(()))
    evidence = ExpectedResults(tuple(images))

    check_results([to_part10(notice, "NODE")], evidence)
    other_presence(notice)
    with pytest.raises(ResultsInconsistent, match="found undetermined"):
        check_results([to_part10(notice, "NODE")], evidence)
