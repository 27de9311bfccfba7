"""Enhanced MR images of every layout, from the listener to the archive's store."""

from collections.abc import Iterator, Sequence
from copy import deepcopy
from pathlib import Path

import numpy as np
import pytest
from pydicom import Dataset

from sij_node.domain.job import State
from tests.support.mr_series import STUDY, enhanced, timed, with_attributes
from tests.support.node_in_process import NodeInProcess, node_in_process

VALUES = np.random.default_rng(1).integers(0, 4000, (7, 48, 64), np.uint16)
GRID = {"spacing_mm": (4.4, 3.0, 3.0), "origin_mm": (-96.0, -20.0, 70.0)}
ALL = ["scores", "seg", "findings", "presentation", "summary", "pdf"]


@pytest.fixture
def node(tmp_path: Path) -> Iterator[NodeInProcess]:
    every = {"peer": {"profile": "all"}, "profile": [{"name": "all", "objects": ALL}]}
    with node_in_process(tmp_path / "node", **every) as node:
        yield node


def t1(series_uid: str = "1.2.3.1") -> Dataset:
    return timed(enhanced(VALUES, series_uid, **GRID), 550.0, 12.0)


def stir(series_uid: str = "1.2.3.2") -> Dataset:
    return enhanced(VALUES, series_uid, **GRID)


PER_FRAME = ("MRTimingAndRelatedParametersSequence", "MREchoSequence", "MRModifierSequence")


def in_one_object(first: Dataset, *others: Dataset, interleaved: bool = False) -> Dataset:
    """One image with the frames of several; what differs between them stands in each frame."""
    whole = deepcopy(first)
    frames = []
    for stack, image in enumerate((first, *others), 1):
        shared = image.SharedFunctionalGroupsSequence[0]
        pixels = np.frombuffer(image.PixelData, np.uint16).reshape(-1, image.Rows, image.Columns)
        for groups, values in zip(image.PerFrameFunctionalGroupsSequence, pixels, strict=True):
            own = deepcopy(groups)
            own.FrameContentSequence[0].StackID = str(stack)
            for macro in PER_FRAME:
                setattr(own, macro, deepcopy(shared[macro].value))
            frames.append((own, values))
    if interleaved:
        frames = [frames[i] for i in sorted(range(len(frames)), key=lambda i: i % len(VALUES))]
    for macro in PER_FRAME:
        delattr(whole.SharedFunctionalGroupsSequence[0], macro)
    whole.NumberOfFrames = len(frames)
    whole.PerFrameFunctionalGroupsSequence = [groups for groups, _ in frames]
    whole.PixelData = np.stack([values for _, values in frames]).tobytes()
    return whole


def concatenation(image: Dataset, *ends: int) -> list[Dataset]:
    """The same frames in several images, the parts of one concatenation."""
    values = np.frombuffer(image.PixelData, np.uint16).reshape(-1, image.Rows, image.Columns)
    parts = []
    for number, (start, end) in enumerate(zip((0, *ends), (*ends, len(values)), strict=True), 1):
        part = with_attributes(
            deepcopy(image),
            SOPInstanceUID=f"{image.SOPInstanceUID}.{number}",
            ConcatenationUID=f"{image.SeriesInstanceUID}.77",
            SOPInstanceUIDOfConcatenationSource=image.SOPInstanceUID,
            InConcatenationNumber=number,
            InConcatenationTotalNumber=len(ends) + 1,
            ConcatenationFrameOffsetNumber=start,
            NumberOfFrames=end - start,
            PixelData=values[start:end].tobytes(),
        )
        part.file_meta.MediaStorageSOPInstanceUID = part.SOPInstanceUID
        part.PerFrameFunctionalGroupsSequence = part.PerFrameFunctionalGroupsSequence[start:end]
        parts.append(part)
    return parts


def reported(results: Sequence[Dataset]) -> str:
    """Everything that the structured reports say."""
    return " ".join(one.to_json() for one in results if one.Modality == "SR")


def frames_named(results: Sequence[Dataset]) -> dict[str, set[tuple[str, int]]]:
    """Images and frames that each segmentation was drawn on, by its description."""
    return {
        str(one.SeriesDescription): {
            (str(named.ReferencedSOPInstanceUID), int(named.ReferencedFrameNumber))
            for groups in one.PerFrameFunctionalGroupsSequence
            for named in groups.DerivationImageSequence[0].SourceImageSequence
        }
        for one in results
        if one.Modality == "SEG"
    }


@pytest.mark.parametrize("interleaved", [False, True], ids=["one after the other", "interleaved"])
def test_t1_and_stir_in_one_enhanced_object_are_separated(node: NodeInProcess, interleaved):
    results = node.take(in_one_object(t1(), stir(), interleaved=interleaved))

    assert node.jobs(STUDY)[-1].state is State.DELIVERED
    named = frames_named(results)
    assert len(named) == 2
    of_t1, of_stir = (
        {frame for _, frame in next(v for k, v in named.items() if kind in k)}
        for kind in ("T1", "STIR")
    )
    every = range(1, 2 * len(VALUES) + 1)
    expected = set(every[::2]) if interleaved else set(every[: len(VALUES)])
    assert of_t1 <= expected
    assert of_stir <= set(every) - expected
    assert "left out" not in reported(results), "every frame is used"


def test_before_the_analysis_both_acquisitions_of_an_object_are_listed(node: NodeInProcess):
    node.send(in_one_object(t1(), stir()))

    series = node.admin.study(node.jobs(STUDY)[-1].job_id).series

    assert {(one.role, one.images, one.used) for one in series} == {
        ("T1", len(VALUES), True),
        ("STIR", len(VALUES), True),
    }


def test_a_later_phase_of_a_dynamic_t1_is_not_used(node: NodeInProcess):
    phases = [t1(), t1()]
    for phase, image in enumerate(phases, 1):
        for groups in image.PerFrameFunctionalGroupsSequence:
            groups.FrameContentSequence[0].TemporalPositionIndex = phase

    results = node.take(in_one_object(*phases), stir())

    assert node.jobs(STUDY)[-1].state is State.DELIVERED
    (of_t1,) = (v for k, v in frames_named(results).items() if "T1" in k)
    assert {frame for _, frame in of_t1} <= set(range(1, len(VALUES) + 1))
    assert "other images in the same series were left out (T1)" in reported(results)


def test_the_parts_of_a_concatenation_are_one_series_in_any_order(node: NodeInProcess):
    parts = concatenation(stir(), 3, 5)

    results = node.take(parts[2], t1(), parts[0], parts[1])

    assert node.jobs(STUDY)[-1].state is State.DELIVERED
    (of_stir,) = (v for k, v in frames_named(results).items() if "STIR" in k)
    assert {uid for uid, _ in of_stir} == {part.SOPInstanceUID for part in parts}
    assert "may be missing" not in reported(results)


def test_a_missing_last_part_of_a_concatenation_is_reported(node: NodeInProcess):
    results = node.take(t1(), *concatenation(stir(), 3, 6)[:2])

    assert node.jobs(STUDY)[-1].state is State.DELIVERED
    assert "fewer images than stated (STIR, 1 or more)" in reported(results)


def test_a_missing_middle_part_of_a_concatenation_is_named(node: NodeInProcess):
    first, _, last = concatenation(stir(), 3, 4)

    results = node.take(t1(), first, last)

    assert node.jobs(STUDY)[-1].state is State.REJECTED
    assert "Part 2 of 3 of the concatenation is missing" in reported(results)
