import itertools
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from models.analyser import Analyser, NoJointSeen
from models.findings import HEADS, POSITIONS, Presence, Sequence, Side
from models.orientation import carried
from models.regions import REGION_LABELS
from models.volume import Volume
from models.weights import INTENDED_USE, WeightsInvalid
from tests.support.analysed_once import analysed_once
from tests.support.oriented_volumes import reordered
from tests.support.phantom_studies import drawn_case
from trainer.evaluation.end_to_end import drawn_slices, pointings_of, predict_phantom
from trainer.metrics.contour_error import contour_error
from trainer.phantom.case import PhantomOptions

ORDERS = [(True, ()), (False, (0,)), (True, (0,)), (False, (1, 2)), (True, (0, 1, 2))]
WEIGHTS = Path(__file__).parents[3] / "models" / "weights"


@pytest.fixture(scope="module", autouse=True)
def networks_run_once():
    with analysed_once():
        yield


@pytest.fixture(scope="module")
def analyser():
    return Analyser.load(WEIGHTS, "cpu")


@pytest.fixture(scope="module")
def case():
    return drawn_case(20001, PhantomOptions(slices=15, matrix=256))


@pytest.fixture(scope="module")
def analysis(analyser, case):
    return analyser.analyse(case.t1, case.stir)


@pytest.fixture(scope="module")
def ill():
    return drawn_case(20000, PhantomOptions(slices=15, matrix=256, disease="advanced"))


@pytest.fixture(scope="module")
def ill_analysis(analyser, ill):
    return analyser.analyse(ill.t1, ill.stir)


def test_half_precision_moves_contours_and_scores_by_less_than_anyone_sees(analysis, case):
    half = Analyser.load(WEIGHTS, "cpu", mixed=True).analyse(case.t1, case.stir)

    for full, other in ((analysis.t1, half.t1), (analysis.stir, half.stir)):
        pairs = zip(full.contours, other.contours, strict=True)
        apart = [np.abs(a.points - b.points).max(axis=1).mean() for a, b in pairs]
        assert max(apart) < 2.0
        assert np.mean(apart) < 0.5
    scores = [[one.probability for one in got.findings] for got in (analysis, half)]
    assert np.abs(np.subtract(*np.array(scores, float))).max() < 0.05
    assert analysis.networks[0].device == "cpu"
    assert half.networks[0].device == "cpu, half precision"


def test_a_phantom_gets_28_findings_and_both_joints_on_T1_and_STIR(analysis):
    assert [finding.position for finding in analysis.findings] == list(POSITIONS)
    assert all(finding.presence is not Presence.UNDETERMINED for finding in analysis.findings)
    for delineation in (analysis.t1, analysis.stir):
        assert all(len(delineation.of(side)) >= 3 for side in Side)


def test_the_contours_lie_on_the_true_joints(analysis, case):
    errors = []
    for truth, found, volume in (
        (case.t1_truth, analysis.t1, case.t1),
        (case.stir_truth, analysis.stir, case.stir),
    ):
        mm = volume.spacing_mm[1]
        for contour in truth.contours:
            guess = found.on(contour.slice_index, contour.side)
            points = None if guess is None else guess.points * mm
            errors.append(contour_error(contour.points * mm, points).rms)

    assert np.median(errors) < 2.76


def test_every_region_is_labelled_and_lies_on_its_side(analysis, case):
    for labels, volume in ((analysis.t1_regions, case.t1), (analysis.stir_regions, case.stir)):
        assert labels.shape == volume.voxels.shape
        assert set(np.unique(labels)) == {0, *REGION_LABELS.values()}
        x = volume.to_patient(np.argwhere(labels > 5))[:, 0].mean()
        assert x > volume.to_patient(np.argwhere((labels > 0) & (labels <= 5)))[:, 0].mean()


@pytest.mark.parametrize(("lying", "flips"), ORDERS)
def test_the_order_of_voxels_changes_no_finding(analyser, ill, ill_analysis, lying, flips):
    t1, stir = (reordered(volume, lying, flips) for volume in (ill.t1, ill.stir))

    again = analyser.analyse(t1, stir)

    np.testing.assert_allclose(
        [finding.probability for finding in again.findings],
        [finding.probability for finding in ill_analysis.findings],
        atol=1e-3,
    )
    there = carried(again.t1, t1, ill.t1)
    for before, after in zip(
        _sorted(ill_analysis.t1.contours), _sorted(there.contours), strict=True
    ):
        np.testing.assert_allclose(after.points, before.points, atol=1e-2)


def test_scores_in_half_precision_are_nearly_the_same(analyser, ill, ill_analysis):
    again = replace(analyser, half=True).analyse(ill.t1, ill.stir)

    one, other = (
        np.array([finding.probability for finding in each.findings])
        for each in (ill_analysis, again)
    )
    assert not np.array_equal(one, other)
    assert np.abs(one - other).max() < 0.03


def test_sequences_with_unlike_numbers_of_slices_are_scored_in_one_batch(analyser, ill):
    asked = []

    class Watched:
        def __getattr__(self, name):
            return getattr(analyser.lesion, name)

        def __call__(self, *described):
            return analyser.lesion(*described)

        def feature_maps(self, squares, zones, present):
            asked.append(present.sum(dim=1).tolist())
            return analyser.lesion.feature_maps(squares, zones, present)

    fewer = Volume(ill.stir.voxels[: len(ill.stir.voxels) // 2], ill.stir.affine)
    found = replace(analyser, lesion=Watched()).analyse(ill.t1, fewer)

    assert len(asked) == 1
    assert len(asked[0]) == 4
    assert asked[0][0] != asked[0][1]
    assert all(finding.probability is not None for finding in found.findings)


def test_a_finding_says_where_it_is_seen_if_and_only_if_it_is_present(ill_analysis):
    present = [finding for finding in ill_analysis.findings if finding.presence == "present"]

    assert len(present) >= 5
    for finding in ill_analysis.findings:
        assert (finding.sight is not None) == (finding in present)


def test_a_lesion_is_seen_within_its_own_region(ill_analysis):
    for finding in ill_analysis.findings:
        if finding.sight is None:
            continue
        sight, (side, region) = finding.sight, (finding.position.side, finding.position.head.region)
        first = sight.sequence is Sequence.T1
        labels = ill_analysis.t1_regions if first else ill_analysis.stir_regions
        allowed = [
            label
            for (there, part), label in REGION_LABELS.items()
            if there is side and (part is region or finding.position.head.lesion == "sclerosis")
        ]
        places = np.argwhere(np.isin(labels[sight.slice_index], allowed))
        assert np.abs(places - (sight.row, sight.column)).max(axis=1).min() <= 1.5


def test_only_present_lesions_have_slices_and_on_their_joint(ill_analysis):
    present = {f.position for f in ill_analysis.findings if f.presence is Presence.PRESENT}

    assert set(ill_analysis.slices) == present
    for position, numbers in ill_analysis.slices.items():
        oedema = position.head.lesion == "oedema"
        seen = ill_analysis.stir if oedema else ill_analysis.t1
        assert numbers <= {contour.slice_index for contour in seen.of(position.side)}


def test_lesions_show_mostly_on_the_slices_on_which_they_were_drawn(ill, ill_analysis):
    drawn = drawn_slices(ill)
    pairs = [
        (numbers, drawn[position])
        for position, numbers in ill_analysis.slices.items()
        if position in drawn
    ]

    said, shown, both = (
        sum(map(len, one)) for one in zip(*((n, true, n & true) for n, true in pairs), strict=True)
    )
    assert said >= 10
    assert both / said >= 0.65
    assert both / shown >= 0.6


@pytest.mark.parametrize(("lying", "flips"), ORDERS)
def test_the_order_of_voxels_moves_no_point_in_the_patient(
    analyser, ill, ill_analysis, lying, flips
):
    t1, stir = (reordered(volume, lying, flips) for volume in (ill.t1, ill.stir))

    again = analyser.analyse(t1, stir)

    for before, after in zip(ill_analysis.findings, again.findings, strict=True):
        assert (before.sight is None) == (after.sight is None)
        if before.sight is not None:
            assert after.sight.sequence is before.sight.sequence
            np.testing.assert_allclose(
                in_patient(after.sight, t1, stir),
                in_patient(before.sight, ill.t1, ill.stir),
                atol=0.1,
            )
    last = {Sequence.T1: len(ill.t1.voxels) - 1, Sequence.STIR: len(ill.stir.voxels) - 1}
    for position, numbers in ill_analysis.slices.items():
        on = last[Sequence.STIR if position.head.lesion == "oedema" else Sequence.T1]
        expected = {on - number for number in numbers} if 0 in flips else numbers
        assert again.slices[position] == expected


def in_patient(sight, t1, stir):
    volume = t1 if sight.sequence is Sequence.T1 else stir
    return volume.to_patient((sight.slice_index, sight.row, sight.column))


def test_lesions_are_pointed_at_on_or_next_to_slices_showing_them(ill, ill_analysis):
    pointings = pointings_of(ill, ill_analysis.findings)

    assert len(pointings) >= 5
    assert np.mean([one.slices_off == 0 for one in pointings]) >= 0.7
    assert max(one.slices_off for one in pointings) <= 1
    assert np.median([one.distance_mm for one in pointings]) < 3


def _sorted(contours):
    return sorted(contours, key=lambda c: (c.slice_index, c.side))


def test_each_stage_is_announced_and_timed(analyser, case):
    heard = []

    analysis = analyser.analyse(case.t1, case.stir, heard.append)

    assert heard == ["delineation", "regions", "lesions"]
    assert list(analysis.seconds) == heard


def test_images_without_a_joint_are_refused(analyser):
    empty = drawn_case(20002, PhantomOptions(slices=15, matrix=256, without_joints=True))
    noise = np.random.default_rng(0).random(empty.t1.voxels.shape).astype(np.float32)

    with pytest.raises(NoJointSeen, match="no sacroiliac joint"):
        analyser.analyse(Volume(noise, empty.t1.affine), Volume(noise, empty.t1.affine))


def test_with_one_side_out_of_view_the_other_side_is_not_evaluable(analyser, case):
    half = []
    for volume in (case.t1, case.stir):
        voxels = volume.voxels.copy()
        voxels[:, :, : voxels.shape[2] // 2] = 0
        half.append(Volume(voxels, volume.affine))

    found = analyser.analyse(*half)

    by_side = {
        side: {f.presence for f in found.findings if f.position.side is side} for side in Side
    }
    assert by_side[Side.RIGHT] == {Presence.UNDETERMINED}
    assert Presence.UNDETERMINED not in by_side[Side.LEFT]


def test_both_networks_say_that_they_are_not_for_clinical_use(analysis):
    assert [network.name for network in analysis.networks] == ["contour", "lesion"]
    assert {network.intended_use for network in analysis.networks} == {INTENDED_USE}


def test_the_cascade_gives_truth_and_prediction_of_every_position(analyser, case, analysis):
    said = predict_phantom(analyser, case)

    assert said.severity.tolist() == list(case.severity.values())
    np.testing.assert_allclose(said.probability, [one.probability for one in analysis.findings])
    assert len(said.pointings) <= (said.severity >= 1).sum()


def test_exchanged_weights_are_refused(tmp_path):
    for name, source in itertools.permutations(("contour", "lesion")):
        (tmp_path / name).symlink_to(WEIGHTS / source)

    with pytest.raises(WeightsInvalid, match="holds no contour network"):
        Analyser.load(tmp_path, "cpu")


def with_calibration(folder, kept):
    """The shipped networks, the lesion network with another calibration on its card."""
    folder.mkdir(exist_ok=True)
    (folder / "contour").symlink_to(WEIGHTS / "contour")
    (folder / "lesion").mkdir()
    (folder / "lesion" / "weights.safetensors").symlink_to(WEIGHTS / "lesion/weights.safetensors")
    card = json.loads((WEIGHTS / "lesion/card.json").read_text())
    card["settings"]["calibration"] = kept
    (folder / "lesion" / "card.json").write_text(json.dumps(card))
    return folder


def test_the_card_s_calibration_is_applied_to_every_probability(case, tmp_path):
    shift = [2.0 + number for number in range(len(HEADS))]
    plain = with_calibration(tmp_path / "plain", {})
    shifted = with_calibration(tmp_path / "shifted", {"shift": shift, "fitted_on": "nothing"})

    before, after = (
        Analyser.load(folder, "cpu").analyse(case.t1, case.stir).findings
        for folder in (plain, shifted)
    )

    for one, other, by in zip(before, after, shift * 2, strict=True):
        odds = one.probability / (1 - one.probability) * np.exp(by)
        assert other.probability == pytest.approx(odds / (1 + odds), rel=1e-3)


@pytest.mark.parametrize("kept", [{"scale": [1.0]}, {"tilt": 1}, {"scale": [-1.0] * 14}, 5])
def test_a_card_with_an_unusable_calibration_is_refused(kept, tmp_path):
    with pytest.raises(WeightsInvalid, match="calibration"):
        Analyser.load(with_calibration(tmp_path, kept), "cpu")
