"""Result files validated with third-party tools: dicom3tools, DCMTK and highdicom."""

import gzip
import json
import re
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from html import unescape
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory

import highdicom as hd
import numpy as np
import pytest
from PIL import Image
from pydicom import dcmread
from pydicom.dataset import Dataset

from models.findings import POSITIONS, Finding, Presence, Side, Sight
from models.findings import Sequence as Kind
from models.regions import REGION_LABELS, region_label_map
from sij_node.config.profiles import Profile, preset
from sij_node.dicom import codes
from sij_node.dicom.acquisition_facts import series_facts
from sij_node.dicom.series_roles import choose_pair
from sij_node.dicom.volumes import SeriesVolume, check_pair, volume_from
from sij_node.domain.job import Result
from sij_node.domain.prior_comparison import SincePrior
from sij_node.results.analysed_series import AnalysedSeries
from sij_node.results.build import AnalysedStudy, not_analysed_objects, result_objects
from sij_node.results.key_images import key_places
from sij_node.results.language import WORDINGS
from sij_node.results.not_analysed import NotAnalysed
from sij_node.results.pdf_report import PLACES, page_report
from sij_node.results.provenance import to_part10
from sij_node.results.scores_sr import not_analysed_report, scores_report
from sij_node.results.segmentation import joint_segmentation
from tests.support.mr_series import STIR_TIMES, classic_series, with_attributes
from tests.support.phantom_studies import drawn_case
from tests.support.prior_reports import earlier
from tests.support.result_inputs import analysed_study, burden, context, findings
from tests.support.small_study import drawn_study
from tests.support.sr_templates import (
    violations_of_refusal,
    violations_of_report,
    violations_of_scores,
)
from trainer.phantom.case import PhantomCase, PhantomOptions
from trainer.phantom.dicom_files import write_study

CONTEXT = context()


@pytest.fixture(scope="module")
def case() -> PhantomCase:
    return drawn_case(7, PhantomOptions(slices=16, matrix=256))


class Study:
    """A phantom study on disk, and its results beside it."""

    def __init__(self, case: PhantomCase, folder: Path, vendor: str, enhanced: bool):
        self.case, self.folder = case, folder
        self.sources = write_study(case, folder / "dicom", vendor=vendor, enhanced=enhanced)
        series = defaultdict(list)
        for path in self.sources:
            dataset = dcmread(path)
            series[dataset.SeriesInstanceUID].append(dataset)
        self.choice = choose_pair({uid: series_facts(images) for uid, images in series.items()})
        self.t1_images = series[self.choice.t1_series_uid]
        self.stir_images = series[self.choice.stir_series_uid]
        self.t1, self.stir = volume_from(self.t1_images), volume_from(self.stir_images)
        self.results = [self._written(dataset) for dataset in self._made()]

    def _made(self) -> list[Dataset]:
        used = [*self.t1_images, *self.stir_images]
        return [
            joint_segmentation(
                self.t1,
                self.t1_images,
                region_label_map(self.t1.volume, self.case.t1_truth),
                CONTEXT,
                "T1",
            ),
            joint_segmentation(
                self.stir,
                self.stir_images,
                region_label_map(self.stir.volume, self.case.stir_truth),
                CONTEXT,
                "STIR",
            ),
            scores_report(findings(), used, CONTEXT),
            not_analysed_report("joint-not-found", "No sacroiliac joint is seen.", used, CONTEXT),
        ]

    @cached_property
    def analysed(self) -> AnalysedStudy:
        """As an analysis that saw everything as it was drawn."""
        series = (
            self._series(Kind.T1, self.t1, self.t1_images, self.case.t1_truth),
            self._series(Kind.STIR, self.stir, self.stir_images, self.case.stir_truth),
        )
        seen = [found_on(one) for one in series]
        mixed = [seen[n % 2][n] for n in range(len(POSITIONS))]
        return AnalysedStudy(series, mixed, burden=burden())

    def _series(self, kind, source, images, truth) -> AnalysedSeries:
        return AnalysedSeries(kind, source, images, truth, region_label_map(source.volume, truth))

    def results_for(self, profile: Profile) -> dict[str, Path]:
        """Every result that a destination gets, by its kind."""
        since = SincePrior(earlier(), (earlier("20190101"),), True, ("late",))
        made = result_objects(self.analysed, replace(context(profile=profile), since=since))
        return {one.kind: self._written(one.dataset) for one in made}

    def _written(self, dataset: Dataset) -> Path:
        path = self.folder / f"{dataset.Modality}{dataset.SOPInstanceUID[-6:]}.dcm"
        path.write_bytes(to_part10(dataset, "NODE"))
        return path


def found_on(one: AnalysedSeries) -> list[Finding]:
    """Each positive finding in the middle of its region, on the slice that shows most of it."""
    return [
        replace(f, sight=_sight(one, f)) if f.presence is Presence.PRESENT else f
        for f in findings()
    ]


def _sight(one: AnalysedSeries, finding: Finding) -> Sight:
    inside = one.regions == REGION_LABELS[finding.position.side, finding.position.head.region]
    index = int(inside.sum(axis=(1, 2)).argmax())
    row, column = np.argwhere(inside[index]).mean(axis=0)
    return Sight(one.sequence, index, float(row), float(column))


@pytest.fixture(
    scope="module", params=[("philips", False), ("siemens", True)], ids=["classic", "enhanced"]
)
def study(request, case, tmp_path_factory) -> Study:
    vendor, enhanced = request.param
    return Study(case, tmp_path_factory.mktemp("study"), vendor, enhanced)


EVERYTHING = preset("everything")
OTHERWISE = Profile(
    name="otherwise",
    based_on="everything",
    language="de",
    report_class="comprehensive",
    summary_class="single-frame",
    summary_compression="jpeg-ls",
    scores_title="imaging measurement report",
    empty_frames=True,
)


@pytest.fixture(scope="module", params=[EVERYTHING, OTHERWISE], ids=["everything", "otherwise"])
def delivered(request, study) -> dict[str, Path]:
    return study.results_for(request.param)


def run(*command: object) -> str:
    done = subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, timeout=60, check=False
    )
    return done.stdout + done.stderr


def errors_of(path: Path) -> list[str]:
    return [line for line in run("dciodvfy", path).splitlines() if line.startswith("Error")]


def same_grid(made: SeriesVolume, drawn) -> bool:
    return np.allclose(made.volume.affine, drawn.affine, atol=1e-3)


def test_a_phantom_study_is_read_as_it_was_drawn(study):
    check_pair(study.t1, study.stir)

    assert same_grid(study.t1, study.case.t1)
    assert same_grid(study.stir, study.case.stir)
    assert "localiser" in "".join(study.choice.reasons.values())


def test_dciodvfy_finds_no_error(study):
    assert [errors_of(path) for path in study.results] == [[]] * 4


def test_dcentvfy_finds_results_and_sources_to_be_one_study(study):
    # It files the accession number of images under the series and that of reports under the study.
    said = run("dcentvfy", *study.sources, *study.results).splitlines()

    assert [line for line in said if "<AccessionNumber> IE <" not in line] == []


def test_dsrdump_reads_every_finding(study):
    scores, refusal = study.results[2:]

    assert run("dsrdump", scores).count("Tracking Identifier") == len(POSITIONS)
    assert "No sacroiliac joint seen" in run("dsrdump", refusal)


def test_highdicom_reads_the_masks_back_on_the_source_images(study):
    for path, series, truth in zip(
        study.results,
        (study.t1, study.stir),
        (study.case.t1_truth, study.case.stir_truth),
        strict=False,
    ):
        read = hd.seg.segread(path)
        volume = read.get_volume(combine_segments=True, skip_overlap_checks=True)
        labels = region_label_map(series.volume, truth)
        wanted = np.argwhere(labels)
        at = volume.map_reference_to_indices(series.volume.to_patient(wanted), round_output=True)
        assert (volume.array[tuple(at.T)] == labels[labels > 0]).all()
        assert (volume.array > 0).sum() == len(wanted)


def test_masks_called_left_lie_on_the_left_of_the_phantom(study):
    read = hd.seg.segread(study.results[0])
    volume = read.get_volume(combine_segments=True, skip_overlap_checks=True)

    for (side, region), number in REGION_LABELS.items():
        across_mm = volume.map_indices_to_reference(np.argwhere(volume.array == number))[:, 0]
        assert (across_mm.mean() > 0) == (side is Side.LEFT)
        assert side in read.get_segment_description(number).segment_label.lower(), region


def test_dciodvfy_finds_no_error_in_anything_a_destination_gets(delivered):
    wrong = {kind: errors_of(path) for kind, path in delivered.items() if errors_of(path)}

    assert wrong == {}


def test_dcentvfy_finds_all_that_a_destination_gets_to_be_one_study(study, delivered):
    said = run("dcentvfy", *study.sources, *delivered.values()).splitlines()

    assert [line for line in said if "<AccessionNumber> IE <" not in line] == []


def test_dcmpschk_passes_every_presentation_state(delivered):
    for kind in ("presentation t1", "presentation stir"):
        assert "Test passed" in run("dcmpschk", "-v", delivered[kind])


def test_dcmtk_applies_the_presentation_state_and_rotates_no_image(study, delivered, tmp_path):
    files = {uid_of(file): file for file in study.sources}
    for one in study.analysed.series:
        path = delivered[one.kind("presentation")]
        state = dcmread(path)
        for index, image in enumerate(one.source.sources):
            number = image.frame_number or 1
            grey = tmp_path / "grey.pgm"
            said = run(
                "dcmp2pgm", "-v", "-p", path, "-f", number, files[image.sop_instance_uid], grey
            )

            mine = [
                each for each in state.GraphicAnnotationSequence
                if shows(each.ReferencedImageSequence[0], image.sop_instance_uid, number)
            ]  # fmt: skip
            assert "Rotation: none" in said
            assert "Flip: no" in said
            if image.frame_number is None:  # of frames this program names no graphics
                assert len(re.findall(r"graphic \d+: points", said)) == len(mine)
                for each in mine:
                    assert f'"{each.TextObjectSequence[0].UnformattedTextValue}"' in said
            window = state.SoftcopyVOILUTSequence[0]
            values = one.source.volume.voxels[index]
            lowest = window.WindowCenter - 0.5 - (window.WindowWidth - 1) / 2
            wanted = np.clip((values - lowest) / (window.WindowWidth - 1), 0, 1) * 255
            assert np.abs(np.asarray(Image.open(grey), float) - wanted).max() <= 2


def uid_of(file: Path) -> str:
    return str(dcmread(file, specific_tags=["SOPInstanceUID"]).SOPInstanceUID)


def shows(reference: Dataset, uid: str, frame: int) -> bool:
    frames = reference.get("ReferencedFrameNumber", frame)
    return reference.ReferencedSOPInstanceUID == uid and frames == frame


def test_dsrdump_and_dsr2html_read_every_group_of_every_report(study, delivered):
    reports = [delivered[kind] for kind in ("findings t1", "findings stir", "scores")]
    for report in (*reports, study.results[3]):
        read = dcmread(report)
        (heading,) = [i for i in read.ContentSequence if _is_about(i, "126010")]
        groups = len(heading.ContentSequence)
        assert run("dsrdump", report).count("Tracking Identifier") == groups
        page = run("dsr2html", "+Ra", report)
        assert page.count("Tracking Identifier") == groups
        assert "<html" in page


def test_dsr2html_shows_changes_since_the_prior(delivered):
    (previous,) = [
        item for item in dcmread(delivered["scores"]).ContentSequence if _is_about(item, "18834-2")
    ]
    changes = [item for item in previous.ContentSequence if _is_about(item, "change-table")]

    page = " ".join(unescape(run("dsr2html", "+Ra", delivered["scores"])).split())

    assert changes
    for line in changes[0].TextValue.splitlines():
        assert " ".join(line.split()) in page.replace("<br>", "").replace("  ", " ")


def _is_about(item: Dataset, concept: str) -> bool:
    return item.ConceptNameCodeSequence[0].CodeValue == concept


def test_highdicom_reads_points_and_contours_back(study, delivered):
    for one in study.analysed.series:
        read = hd.sr.srread(delivered[one.kind("findings")])
        (root,) = read.content
        heading = root.ContentSequence[-1]
        points, lines = [], []
        for group in heading.ContentSequence:
            for item in group.ContentSequence:
                if item.value_type.value == "NUM":
                    points.append(item.ContentSequence[0].value[0])
                if item.value_type.value == "SCOORD":
                    lines.append(item.value)
        seen = [sight for _, sight in one.seen(study.analysed.findings)]
        assert np.allclose(points, [(s.column + 0.5, s.row + 0.5) for s in seen], atol=1e-3)
        for line, contour in zip(lines, one.contours, strict=True):
            assert np.allclose(line, contour.points[:, ::-1] + 0.5, atol=1e-3)


def test_findings_on_the_images_follow_their_templates(delivered):
    for kind in ("findings t1", "findings stir"):
        assert violations_of_report(dcmread(delivered[kind])) == []


def test_scores_follow_their_templates(delivered):
    assert violations_of_scores(dcmread(delivered["scores"])) == []


def heading(report: Dataset) -> Dataset:
    (found,) = [item for item in report.ContentSequence if _is_about(item, "126010")]
    return found


def group(report: Dataset) -> Dataset:
    return heading(report).ContentSequence[0]


def child(item: Dataset, concept: str) -> Dataset:
    return next(one for one in item.ContentSequence if _is_about(one, concept))


def removed(item: Dataset, concept: str) -> None:
    item.ContentSequence = [one for one in item.ContentSequence if not _is_about(one, concept)]


def other_value_type(report: Dataset) -> None:
    child(group(report), "112039").ValueType = "UIDREF"


def other_relationship(report: Dataset) -> None:
    child(group(report), "121052").RelationshipType = "HAS PROPERTIES"


def said_twice(report: Dataset) -> None:
    group(report).ContentSequence.append(child(group(report), "121052"))


def site_without_side(report: Dataset) -> None:
    removed(child(group(report), "363698007"), "272741003")


def other_scheme(report: Dataset) -> None:
    child(group(report), "121052").ConceptNameCodeSequence[0].CodingSchemeDesignator = "99X"


def other_template(report: Dataset) -> None:
    group(report).ContentTemplateSequence[0].TemplateIdentifier = "1411"


def other_root_template(report: Dataset) -> None:
    report.ContentTemplateSequence[0].TemplateIdentifier = "2000"


def one_item_more(report: Dataset) -> None:
    report.ContentSequence.append(child(report, "121049"))


BROKEN = [
    other_value_type,
    other_relationship,
    said_twice,
    site_without_side,
    other_scheme,
    other_template,
    other_root_template,
    one_item_more,
    *(lambda report, concept=concept: removed(group(report), concept)
      for concept in ("112040", "121071", "363698007", "111001", "122157", "121106")),
    *(lambda report, concept=concept: removed(report, concept)
      for concept in ("121005", "121058")),
]  # fmt: skip


@pytest.mark.parametrize("broken", BROKEN)
def test_whatever_breaks_a_template_is_seen(broken):
    study = drawn_study()
    t1, scores = (dcmread(BytesIO(to_part10(one, "NODE"))) for one in reports_of(study))

    assert (violations_of_report(t1), violations_of_scores(scores)) == ([], [])
    for report, violations in ((t1, violations_of_report), (scores, violations_of_scores)):
        broken(report)
        assert violations(report)


def reports_of(study: AnalysedStudy) -> tuple[Dataset, Dataset]:
    made = {one.kind: one.dataset for one in result_objects(study, context(profile=EVERYTHING))}
    return made["findings t1"], made["scores"]


def test_dcmqi_reads_every_score_and_finding_back(study, delivered, tmp_path):
    """Its reader leaves out numbers without a value."""
    scores = read_by_dcmqi(delivered["scores"], tmp_path)
    assert [one["TrackingIdentifier"] for one in scores] == [
        item.TextValue
        for item in texts(dcmread(delivered["scores"]))
        if item.ConceptNameCodeSequence[0].CodeValue == "112039"
    ]
    for one, finding in zip(scores, study.analysed.findings, strict=True):
        said = {i["quantity"]["CodeValue"]: i["value"] for i in one.get("measurementItems", ())}
        assert one["Laterality"]["CodeMeaning"].lower() == finding.position.side
        if finding.probability is not None:
            assert float(said["122157"]) == pytest.approx(100 * finding.probability)
        assert float(said["threshold"]) == pytest.approx(100 * finding.threshold)

    for analysed in study.analysed.series:
        drawn = read_by_dcmqi(delivered[analysed.kind("findings")], tmp_path)
        seen = analysed.seen(study.analysed.findings)
        assert len(drawn) == len(seen) + len(analysed.contours)
        for one, (finding, _) in zip(drawn, seen, strict=False):
            (number,) = one["measurementItems"]
            assert float(number["value"]) == pytest.approx(100 * finding.probability)


def texts(item: Dataset) -> Iterator[Dataset]:
    for child in item.get("ContentSequence", ()):
        if child.ValueType == "TEXT":
            yield child
        yield from texts(child)


def read_by_dcmqi(report: Path, folder: Path) -> list[dict]:
    told = folder / "told.json"
    run(beside_python("tid1500reader"), "--inputDICOM", report, "--outputMetadata", told)
    return json.loads(told.read_text(encoding="utf-8"))["Measurements"]


def beside_python(name: str) -> Path:
    return Path(sys.executable).with_name(name)


def test_dcmqi_reads_the_same_regions_at_the_same_places(study, delivered, tmp_path):
    for analysed in study.analysed.series:
        folder = tmp_path / analysed.sequence
        folder.mkdir()
        segmentation = delivered[analysed.kind("seg")]
        options = ["--outputDirectory", folder, "-t", "nrrd", "--mergeSegments"]
        run(beside_python("segimage2itkimage"), "--inputDICOM", segmentation, *options)
        labels, affine = read_nrrd(folder / "1.nrrd")
        wanted = np.argwhere(analysed.regions)
        at = analysed.source.volume.to_patient(wanted) - affine[:3, 3]
        indices = np.rint(np.linalg.solve(affine[:3, :3], at.T).T).astype(int)
        assert (labels[tuple(indices.T)] == analysed.regions[analysed.regions > 0]).all()
        assert (labels > 0).sum() == len(wanted)


def read_nrrd(file: Path) -> tuple[np.ndarray, np.ndarray]:
    """Values in the file's own order of axes, and its affine to LPS millimetres."""
    content = file.read_bytes()
    header, _, body = content.partition(b"\n\n")
    said = dict(line.split(": ", 1) for line in header.decode().splitlines() if ": " in line)
    assert said["space"] == "left-posterior-superior"
    raw = gzip.decompress(body) if said["encoding"] == "gzip" else body
    kinds = {"unsigned char": "u1", "uint8": "u1", "short": "<i2", "unsigned short": "<u2"}
    sizes = [int(size) for size in said["sizes"].split()]
    values = np.frombuffer(raw, kinds[said["type"]]).reshape(sizes, order="F")
    affine = np.eye(4)
    numbers = [float(number) for number in re.findall(r"[-+.\de]+", said["space directions"])]
    affine[:3, :3] = np.reshape(numbers, (3, 3)).T
    affine[:3, 3] = [float(n) for n in re.findall(r"[-+.\de]+", said["space origin"])]
    return values, affine


def test_the_page_says_in_words_what_was_found_and_on_which_side(study, delivered):
    document = dcmread(delivered["pdf"])
    text = words_of_pdf(document.EncapsulatedDocument)

    assert text.count("%") >= len(POSITIONS) - 1
    wording = WORDINGS["de" if "ISG" in document.SeriesDescription else "en"]
    places = key_places(study.analysed.series, study.analysed.findings, PLACES)
    for place in places:
        for one in place.seen:
            assert wording.caption(one.finding) in text


def test_highdicom_reads_the_refusal_back(study):
    report = hd.sr.srread(study.results[3])

    assert report.content[0].name.value == codes.NOT_ANALYSED_TITLE.value


def test_a_repeat_from_the_files_writes_the_same_bytes(study):
    again = [to_part10(dataset, "NODE") for dataset in study._made()]

    assert again == [path.read_bytes() for path in study.results]


@pytest.mark.parametrize("profile", [EVERYTHING, OTHERWISE], ids=["everything", "otherwise"])
@pytest.mark.parametrize("reason", codes.REASONS)
def test_dciodvfy_finds_no_error_in_a_refusal_for_any_reason(reason, profile, tmp_path):
    images = classic_series(np.zeros((5, 4, 4), np.uint16))
    refusal = not_analysed_report(reason, "Why.", images, context((), profile))
    path = tmp_path / "refusal.dcm"
    path.write_bytes(to_part10(refusal, "NODE"))

    assert errors_of(path) == []
    assert violations_of_refusal(dcmread(path)) == []


def test_dciodvfy_finds_no_error_in_a_page_of_a_refusal(tmp_path):
    images = classic_series(np.zeros((5, 4, 4), np.uint16))
    notice = NotAnalysed("pair-missing", "Why.", ())
    for one in not_analysed_objects(notice, images, context((), EVERYTHING)):
        path = tmp_path / f"{one.kind}.dcm"
        path.write_bytes(to_part10(one.dataset, "NODE"))
        assert errors_of(path) == []


def test_dciodvfy_finds_no_error_in_a_revision(tmp_path):
    images = classic_series(np.zeros((5, 16, 12), np.uint16))
    first = scores_report(findings(), images, CONTEXT)
    before = Result(
        str(first.SOPInstanceUID), str(first.SOPClassUID), "scores", str(first.SeriesInstanceUID),
        "", "", 1, "",
    )  # fmt: skip
    second = scores_report(findings(), images, replace(CONTEXT, predecessors=(before,), revision=2))
    path = tmp_path / "revision.dcm"
    path.write_bytes(to_part10(second, "NODE"))

    assert dcmread(path).SeriesDescription == "SIJ lesion scores, revision 2"
    assert first.SOPInstanceUID in run("dcmdump", path)
    assert errors_of(path) == []


def test_a_compressed_summary_is_valid_and_dcmtk_sees_the_same_pictures(study, tmp_path):
    plain, compressed = (
        study.results_for(Profile(name=how, objects=("summary",), summary_compression=how))[
            "summary"
        ]
        for how in ("none", "jpeg-ls")
    )
    seen = tmp_path / "seen.dcm"
    run("dcmdjpls", compressed, seen)

    assert errors_of(compressed) == []
    assert compressed.stat().st_size < plain.stat().st_size / 3
    assert dcmread(seen).PixelData == dcmread(plain).PixelData


NAMES = {
    "Japanese": (["", "ISO 2022 IR 87"], "Yamada^Tarou=山田^太郎=やまだ^たろう"),
    "half-width Japanese": (["ISO 2022 IR 13", "ISO 2022 IR 87"], "ﾔﾏﾀﾞ^ﾀﾛｳ=山田^太郎"),
    "Korean": (["", "ISO 2022 IR 149"], "Hong^Gildong=洪^吉洞=홍^길동"),
    "Arabic": ("ISO_IR 127", "قباني^لنزار"),
    "Greek": ("ISO_IR 126", "Διονυσιος"),
    "umlauts": ("ISO_IR 100", "Äneas^Rüdiger^^Dr."),
    "Cyrillic": ("ISO_IR 144", "Люкceмбypг"),
    "Chinese": ("GB18030", "Wang^XiaoDong=王^小东"),
    "Unicode": ("ISO_IR 192", "Łukasz^Žofia"),
}


def read_back(dataset: Dataset) -> Dataset:
    """As the node gets it: from bytes, text still undecoded."""
    buffer = BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    buffer.seek(0)
    return dcmread(buffer)


def named_in(charset: str | Sequence[str], name: str) -> list[Dataset]:
    """Images with a name in its own character set, in the patient and within a sequence."""
    code = with_attributes(
        Dataset(), CodeValue="1", CodingSchemeDesignator="99X", CodeMeaning=name.rsplit("=", 1)[-1]
    )
    images = classic_series(
        np.zeros((5, 16, 12), np.uint16),
        SpecificCharacterSet=charset,
        PatientName=name,
        ProcedureCodeSequence=[code],
    )
    return [read_back(image) for image in images]


@pytest.mark.parametrize(("charset", "name"), NAMES.values(), ids=NAMES)
def test_a_name_in_any_script_survives(charset, name, tmp_path):
    images = named_in(charset, name)
    path = tmp_path / "report.dcm"

    path.write_bytes(to_part10(scores_report(findings(), images, CONTEXT), "NODE"))

    report = dcmread(path)
    assert report.PatientName == name
    assert report.ProcedureCodeSequence[0].CodeMeaning == name.rsplit("=", 1)[-1]
    assert report.SpecificCharacterSet == "ISO_IR 192"
    assert errors_of(path) == []
    spelt = name.rsplit("=", 1)[-1].split("^")[0]
    assert spelt in run("dsrdump", path)
    assert spelt in unescape(run("dsr2html", path))


def test_markup_in_a_value_is_text_in_html(tmp_path):
    images = classic_series(np.zeros((5, 16, 12), np.uint16), StudyDescription="<b>&amp;</b>")
    path = tmp_path / "report.dcm"

    path.write_bytes(to_part10(scores_report(findings(), images, CONTEXT), "NODE"))

    page = run("dsr2html", path)
    assert "&lt;b&gt;&amp;amp;&lt;/b&gt;" in page
    assert "<b>&amp;" not in page


@pytest.mark.parametrize(("charset", "name"), NAMES.values(), ids=NAMES)
def test_a_name_in_any_script_can_be_read_on_the_page(charset, name):
    images = named_in(charset, name)
    study = analysed_study(images, [read_back(i) for i in stir_images()])

    document = dcmread(BytesIO(to_part10(_page(study), "NODE")))

    text = words_of_pdf(document.EncapsulatedDocument)
    for part in re.split(r"[=^]+", name):
        assert part in text


def test_an_arabic_name_runs_right_to_left_and_markup_stays_text():
    images = named_in("ISO_IR 192", "قباني^لنزار")
    for image in images:
        image.StudyDescription = "<b>&amp;"
    study = analysed_study(images, stir_images())

    text = words_of_pdf(_page(study).EncapsulatedDocument)

    assert all(part in text for part in ("قباني", "لنزار", "<b>&amp;"))


def _page(study: AnalysedStudy) -> Dataset:
    return page_report(study.series, study.findings, (), CONTEXT)


def stir_images() -> list[Dataset]:
    return classic_series(np.zeros((5, 16, 12), np.uint16), "1.2.3.5", **STIR_TIMES)


def words_of_pdf(pdf: bytes) -> str:
    """The text that can be selected in a PDF, without marks of direction."""
    with TemporaryDirectory() as folder:
        file = Path(folder) / "page.pdf"
        file.write_bytes(pdf)
        said = run("pdftotext", "-raw", file, "-")
    return re.sub("[\u202a-\u202e\u2066-\u2069]", "", said)


@pytest.mark.parametrize("script", ["Japanese", "umlauts"])
def test_a_name_survives_in_a_segmentation(script):
    images = named_in(*NAMES[script])
    series = volume_from(images)
    labels = np.ones(series.volume.voxels.shape, np.uint8)

    made = to_part10(joint_segmentation(series, images, labels, CONTEXT, "T1"), "NODE")

    assert dcmread(BytesIO(made)).PatientName == NAMES[script][1]
