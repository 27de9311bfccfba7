"""Headers as scanners and archives really write them, from the listener to the archive's store.

All studies are sent to one node; each is one row of `STUDIES`.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from types import MappingProxyType

import numpy as np
import pytest
from pydicom import Dataset

from sij_node.domain.job import State
from tests.support.mr_series import (
    STIR_TIMES,
    T1_TIMES,
    classic_series,
    enhanced,
    oblique,
    timed,
    with_attributes,
)
from tests.support.node_in_process import NodeInProcess, node_in_process

VALUES = np.random.default_rng(1).integers(0, 4000, (7, 48, 64), np.uint16)
GRID = {"spacing_mm": (4.4, 3.0, 3.0), "origin_mm": (-96.0, -20.0, 70.0)}
SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
AXIAL = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0))


@dataclass(frozen=True)
class Sender:
    """Makes the series of one study, classic or Enhanced."""

    study_uid: str
    multi_frame: bool

    def t1(self, number: int = 1, **changes: object) -> list[Dataset]:
        return self._series(number, {**T1_TIMES, **changes})

    def stir(self, number: int = 2, **changes: object) -> list[Dataset]:
        return self._series(number, {**STIR_TIMES, **changes})

    def _series(self, number: int, stated: dict[str, object]) -> list[Dataset]:
        uid = f"{self.study_uid}.{number}"
        grid = {**GRID, "cosines": stated.pop("cosines", oblique(20))}
        if self.multi_frame:
            images = [_multi_frame(enhanced(VALUES, uid, **grid), stated)]
        else:
            images = classic_series(VALUES, uid, **grid, **stated)
        extra = {"StudyInstanceUID": self.study_uid, "SeriesNumber": number}
        return [with_attributes(image, **extra) for image in images]


def _multi_frame(image: Dataset, stated: Mapping[str, object]) -> Dataset:
    """The same facts in functional groups."""
    rest = dict(stated)
    tr, te = rest.pop("RepetitionTime"), rest.pop("EchoTime")
    if "InversionTime" not in rest:
        timed(image, tr, te)
    shared = image.SharedFunctionalGroupsSequence[0]
    with_attributes(shared.MRTimingAndRelatedParametersSequence[0], RepetitionTime=tr)
    with_attributes(shared.MREchoSequence[0], EffectiveEchoTime=te)
    if "InversionTime" in rest:
        ti = rest.pop("InversionTime")
        shared.MRModifierSequence[0].InversionTimes = None if ti is None else [ti]
    agent = rest.pop("ContrastBolusAgent", None)
    if agent is not None:
        rest["ContrastBolusAgentSequence"] = [with_attributes(Dataset(), CodeMeaning=agent)]
    rest.pop("ScanningSequence", None)
    return with_attributes(image, **rest)


def named_t1(description: str, **changes: object) -> Callable[[Sender], list[Dataset]]:
    changes["SeriesDescription"] = description
    return lambda sender: [*sender.t1(**changes), *sender.stir()]


def both(**changes: object) -> Callable[[Sender], list[Dataset]]:
    return lambda sender: [*sender.t1(**changes), *sender.stir(**changes)]


def beside_a_native_t1(sender: Sender) -> list[Dataset]:
    later = sender.t1(3, SeriesDescription="T1 POST GAD", ContrastBolusAgent="")
    return [*later, *sender.t1(SeriesDescription="T1"), *sender.stir()]


def after_contrast(sender: Sender) -> list[Dataset]:
    """A T1 without any word, acquired after a contrast-enhanced series."""
    early = sender.t1(3, SeriesDescription="T1 fs + KM", AcquisitionTime="100000")
    late = sender.t1(SeriesDescription="T1 cor", AcquisitionTime="101000")
    return [*early, *late, *sender.stir(AcquisitionTime="100500")]


def times_of_a_t2(sender: Sender) -> list[Dataset]:
    unknown = sender.t1(RepetitionTime=0.0, EchoTime=0.0, SeriesDescription="t2_tse_cor")
    return [*unknown, *sender.stir()]


def exam_wide_protocol(sender: Sender) -> list[Dataset]:
    protocol = {"ProtocolName": "3PLANE LOC / SI JOINTS"}
    axial = sender.t1(3, cosines=AXIAL, SeriesDescription="LOC", **protocol)
    t1 = sender.t1(SeriesDescription="COR T1", **protocol)
    return [*axial, *t1, *sender.stir(SeriesDescription="", **protocol)]


def guests(sender: Sender) -> list[Dataset]:
    """A screenshot and a localiser slice filed in the T1's series."""
    t1 = sender.t1()
    screenshot = classic_series(VALUES[:1], f"{sender.study_uid}.8")[0]
    screenshot.SOPClassUID = screenshot.file_meta.MediaStorageSOPClassUID = SECONDARY_CAPTURE
    localiser = classic_series(VALUES[:1], f"{sender.study_uid}.9", cosines=AXIAL)[0]
    for guest in (screenshot, localiser):
        guest.StudyInstanceUID = sender.study_uid
        guest.SeriesInstanceUID = t1[0].SeriesInstanceUID
    return [screenshot, *t1, localiser, *sender.stir()]


def padded(sender: Sender) -> list[Dataset]:
    images = both()(sender)
    for number, image in enumerate(images):
        image.PixelData += bytes(2 if number % 2 else 512)
    return images


def issuer_on_one_series(sender: Sender) -> list[Dataset]:
    return [*sender.t1(IssuerOfPatientID="HOSPITAL"), *sender.stir()]


def under_one_series_uid(sender: Sender) -> list[Dataset]:
    images = both()(sender)
    return [with_attributes(one, SeriesInstanceUID=f"{sender.study_uid}.1") for one in images]


FILTERED = ["ORIGINAL", "SECONDARY", "M", "NORM", "DIS2D"]
ANY, CLASSIC = (False, True), (False,)
DONE, REFUSED = State.DELIVERED, State.REJECTED
STUDIES = {
    "one frame counted": (both(NumberOfFrames=1), CLASSIC, DONE, ""),
    "gadolinium beside a native T1": (beside_a_native_t1, ANY, DONE, ""),
    "T1 after contrast": (after_contrast, ANY, DONE, "contrast enhancement cannot be excluded"),
    "agent given": (named_t1("T1", ContrastBolusAgent="Gadovist"), ANY, REFUSED, "contrast"),
    "T1 POST GAD": (named_t1("T1 POST GAD"), ANY, REFUSED, "contrast-enhanced by its"),
    "T1 + KM": (named_t1("t1 cor + KM"), ANY, REFUSED, "contrast-enhanced by its"),
    "no agent": (named_t1("T1 cor ohne KM", ContrastBolusAgent="NONE"), ANY, DONE, ""),
    "fat suppressed": (named_t1("t1_tse_fs_cor"), ANY, REFUSED, "fat-suppressed T1"),
    "Dixon fat": (named_t1("T1 FLEX OutPhase"), ANY, REFUSED, "Dixon fat or opposed-phase"),
    "subtraction": (named_t1("t1_cor_SUB"), ANY, REFUSED, "derived image by its"),
    "times of zero": (
        named_t1("t1 cor", RepetitionTime=0.0, EchoTime=0.0),
        *(ANY, DONE, "recognised by the series description only (T1)"),
    ),
    "negative times": (
        named_t1("t1 cor", RepetitionTime=-1.0, EchoTime=-1.0),
        *(ANY, DONE, "recognised by the series description only (T1)"),
    ),
    "absent times": (
        named_t1("t1 cor", RepetitionTime=None, EchoTime=None),
        *(ANY, DONE, "recognised by the series description only (T1)"),
    ),
    "T2 without times": (times_of_a_t2, ANY, REFUSED, "description inconclusive"),
    "exam-wide protocol": (exam_wide_protocol, ANY, DONE, ""),
    "filtered on the scanner": (both(ImageType=FILTERED), ANY, DONE, ""),
    "guests": (guests, CLASSIC, DONE, "other images in the same series were left out (T1)"),
    "padding": (padded, ANY, DONE, ""),
    "issuer on one series": (issuer_on_one_series, ANY, DONE, ""),
    "one series UID": (under_one_series_uid, ANY, DONE, ""),
}
ROWS = [
    (name, multi_frame) for name, (_, layouts, *_) in STUDIES.items() for multi_frame in layouts
]


def study_uid(name: str, multi_frame: bool) -> str:
    return f"1.2.3.{1 + list(STUDIES).index(name)}.{1 + multi_frame}"


@pytest.fixture(scope="module")
def results(tmp_path_factory) -> Iterator[tuple[NodeInProcess, Mapping[str, str]]]:
    """The node, and what the report of each study says."""
    profile = [{"name": "short", "objects": ["scores"]}]
    folder = tmp_path_factory.mktemp("node")
    with node_in_process(folder, peer={"profile": "short"}, profile=profile) as node:
        for name, multi_frame in ROWS:
            sender = Sender(study_uid(name, multi_frame), multi_frame)
            assert set(node.send(*STUDIES[name][0](sender))) == {0x0000}
        reports = [one for one in node.finish() if one.Modality == "SR"]
        yield node, MappingProxyType({one.StudyInstanceUID: one.to_json() for one in reports})


@pytest.mark.parametrize(("name", "multi_frame"), ROWS)
def test_a_study_ends_as_it_should_and_its_report_says_why(results, name, multi_frame):
    node, reports = results
    _, _, state, said = STUDIES[name]

    (job,) = node.jobs(study_uid(name, multi_frame))

    assert job.state is state, job.reason
    report = reports[job.study_uid]
    assert said in report
    record = node.admin.study(job.job_id).record
    if said:
        assert said in f"{job.reason} {record.remarks}"
    else:
        assert "Check the choice of series" not in report
    if state is DONE and name != "one series UID":
        assert {one.number for one in record.series if one.used} == {"1", "2"}


def test_every_series_has_a_sentence(results):
    node, _ = results

    for name, multi_frame in product(STUDIES, ANY):
        for job in node.jobs(study_uid(name, multi_frame)):
            series = node.admin.study(job.job_id).record.series
            assert series
            assert all(one.reason for one in series)
