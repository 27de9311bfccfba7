"""Results as files, judged by programs that are not ours: dicom3tools, DCMTK and highdicom."""

import subprocess
from collections import defaultdict
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

import highdicom as hd
import numpy as np
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset

from models.findings import POSITIONS, Side
from models.regions import REGION_LABELS, region_label_map
from sij_node.dicom import codes
from sij_node.dicom.origin import to_part10
from sij_node.dicom.report import not_analysed_report, scores_report
from sij_node.dicom.segmentation import joint_segmentation
from sij_node.dicom.sequences import choose_pair, series_facts
from sij_node.dicom.volumes import SeriesVolume, check_pair, volume_from
from tests.support.mr import classic_series, with_attributes
from tests.support.results import context, findings
from trainer.phantom.case import PhantomCase, PhantomOptions, make_case
from trainer.phantom.dicom import write_study

CONTEXT = context()


@pytest.fixture(scope="module")
def case() -> PhantomCase:
    return make_case(7, PhantomOptions())


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

    def _written(self, dataset: Dataset) -> Path:
        path = self.folder / f"{dataset.Modality}{dataset.SOPInstanceUID[-6:]}.dcm"
        path.write_bytes(to_part10(dataset, "NODE"))
        return path


@pytest.fixture(
    scope="module", params=[("philips", False), ("siemens", True)], ids=["classic", "enhanced"]
)
def study(request, case, tmp_path_factory) -> Study:
    vendor, enhanced = request.param
    return Study(case, tmp_path_factory.mktemp("study"), vendor, enhanced)


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
    said = run("dcentvfy", *study.sources, *study.results).splitlines()

    # It files the accession number of images under the series and that of reports under the study.
    assert [
        line for line in said if "<AccessionNumber> IE <Series> versus <Study>" not in line
    ] == []


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


def test_highdicom_reads_the_refusal_back(study):
    report = hd.sr.srread(study.results[3])

    assert report.content[0].name.value == codes.NOT_ANALYSED_TITLE.value


def test_a_repeat_from_the_files_writes_the_same_bytes(study):
    again = [to_part10(dataset, "NODE") for dataset in study._made()]

    assert again == [path.read_bytes() for path in study.results]


@pytest.mark.parametrize("reason", codes.REASONS)
def test_dciodvfy_finds_no_error_in_a_refusal_for_any_reason(reason, tmp_path):
    images = classic_series(np.zeros((5, 4, 4), np.uint16))
    path = tmp_path / "refusal.dcm"
    path.write_bytes(to_part10(not_analysed_report(reason, "Why.", images, context(())), "NODE"))

    assert errors_of(path) == []


NAMES = {
    "Japanese": (["", "ISO 2022 IR 87"], "Yamada^Tarou=山田^太郎=やまだ^たろう"),
    "half-width Japanese": (["ISO 2022 IR 13", "ISO 2022 IR 87"], "ﾔﾏﾀﾞ^ﾀﾛｳ=山田^太郎"),
    "Korean": (["", "ISO 2022 IR 149"], "Hong^Gildong=洪^吉洞=홍^길동"),
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
        np.zeros((5, 4, 4), np.uint16),
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
    assert name.rsplit("=", 1)[-1].split("^")[0] in run("dsrdump", path)


@pytest.mark.parametrize("script", ["Japanese", "umlauts"])
def test_a_name_survives_in_a_segmentation(script):
    images = named_in(*NAMES[script])
    series = volume_from(images)
    labels = np.ones(series.volume.voxels.shape, np.uint8)

    made = to_part10(joint_segmentation(series, images, labels, CONTEXT, "T1"), "NODE")

    assert dcmread(BytesIO(made)).PatientName == NAMES[script][1]
