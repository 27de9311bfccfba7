import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from models.findings import HEADS
from trainer.readers.confusion_matrices import (
    MOST_WRONG,
    Parametrisation,
    ReaderMatrices,
    apply_matrices,
    both_classes,
)
from trainer.readers.reader_models import FixedTargets, ReaderTree, answer_scatter, readers_of
from trainer.readers.reader_plan import ReaderModel, ReaderPlan
from trainer.readers.readings import CONSENSUS, MISSING, Readings, hierarchy, kappa, node_labels

MATRIX_MODELS = [
    ReaderModel.CHAIN,
    ReaderModel.CHAIN_WITHOUT_CONSENSUS_MATRIX,
    ReaderModel.TANNO,
    ReaderModel.GEOCROWDNET,
]


def readings(values):
    """The same readings ``(joints, readers, sessions)`` at every head."""
    values = np.array(values, np.int8)
    return Readings(np.repeat(values[:, None], len(HEADS), axis=1))


def two_readers(*joints):
    """Joints as 'S1 S2 S3' of R1, then of R2; '.' is missing."""
    sign = {"0": 0, "1": 1, ".": MISSING}
    return readings([[[sign[c] for c in part] for part in joint.split()] for joint in joints])


def test_two_readers_with_three_sessions_have_the_paper_s_nine_nodes():
    tree = hierarchy(2, 3)

    assert tree.names == (
        "consensus", "R1", "R2", "R1S1", "R1S2", "R1S3", "R2S1", "R2S2", "R2S3",
    )  # fmt: skip
    assert tree.parents == (-1, 0, 0, 1, 1, 1, 2, 2, 2)


def test_three_readers_with_one_session_are_four_nodes():
    assert hierarchy(3, 1).parents == (-1, 0, 0, 0)


@pytest.mark.parametrize(
    ("said", "consensus", "of_readers"),
    [
        ("111 111", 1, (1, 1)),
        ("000 000", 0, (0, 0)),
        ("111 000", MISSING, (1, 0)),
        ("110 111", MISSING, (MISSING, 1)),
        ("..1 ..1", 1, (1, 1)),
        ("..1 ...", MISSING, (1, MISSING)),
        ("... ...", MISSING, (MISSING, MISSING)),
    ],
)
def test_a_consensus_exists_only_where_all_readings_agree(said, consensus, of_readers):
    labels = node_labels(two_readers(said))[0, 0]

    assert labels[0] == consensus
    assert tuple(labels[1:3]) == of_readers


def test_a_visit_read_once_has_no_consensus_if_two_sessions_count():
    said = two_readers("..1 ..1", ".11 .11")

    assert node_labels(said, min_sessions=2)[:, 0, 0].tolist() == [MISSING, 1]
    assert node_labels(said, min_sessions=3)[:, 0, 0].tolist() == [MISSING, MISSING]


@given(st.lists(st.lists(st.sampled_from([MISSING, 0, 1]), min_size=6, max_size=6), min_size=1))
def test_a_parent_s_label_is_that_of_every_child_that_has_one(values):
    labels = node_labels(readings(np.array(values).reshape(-1, 2, 3)))[:, 0]

    for child, parent in enumerate(hierarchy(2, 3).parents):
        if parent >= 0:
            both = (labels[:, parent] != MISSING) & (labels[:, child] != MISSING)
            assert (labels[both, parent] == labels[both, child]).all()


def test_readings_of_another_shape_or_value_are_refused():
    with pytest.raises(ValueError, match="needed"):
        Readings(np.zeros((3, 5, 2, 3), np.int8))
    with pytest.raises(ValueError, match="0, 1 or missing"):
        Readings(np.full((3, 14, 2, 3), 2, np.int8))


def test_kappa_of_a_published_table():
    """Cohen's kappa of 20 agreed, 15 agreed, 5 and 10 disagreed is .4."""
    first = np.array([1] * 20 + [1] * 5 + [0] * 10 + [0] * 15 + [MISSING], np.int8)
    second = np.array([1] * 20 + [0] * 5 + [1] * 10 + [0] * 15 + [1], np.int8)

    assert kappa(first, second) == pytest.approx(0.4)


def filled(matrices, seed, size=3.0):
    generator = torch.Generator().manual_seed(seed)
    for parameter in matrices.parameters():
        parameter.data.normal_(0, size, generator=generator)
    return matrices


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_a_stochastic_matrix_turns_distributions_into_distributions(seed):
    matrices = filled(ReaderMatrices(9, Parametrisation.STOCHASTIC), seed)
    probabilities = both_classes(torch.randn(4, len(HEADS)))

    with torch.no_grad():
        through = torch.einsum("hkij,nhj->nhki", matrices(), probabilities)
        wrong = -matrices.traces()

    torch.testing.assert_close(through.sum(dim=-1), torch.ones(4, len(HEADS), 9))
    assert through.min() >= 0
    assert matrices().diagonal(dim1=-2, dim2=-1).min() >= MOST_WRONG
    assert 0 <= wrong.min() <= wrong.max() <= 2 * MOST_WRONG


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_a_literal_matrix_is_the_identity_and_a_matrix_of_rank_one(seed):
    matrices = filled(ReaderMatrices(9, Parametrisation.LITERAL), seed)

    with torch.no_grad():
        additions = matrices.additions()
        through = apply_matrices(
            matrices(), both_classes(torch.randn(4, len(HEADS)))[:, :, None].expand(-1, -1, 9, -1)
        )

    torch.testing.assert_close(matrices() - torch.eye(2), additions)
    products = additions[..., 0, 0] * additions[..., 1, 1]
    torch.testing.assert_close(products, additions[..., 0, 1] * additions[..., 1, 0])
    torch.testing.assert_close(through.sum(dim=-1), torch.ones(4, len(HEADS), 9))


@pytest.mark.parametrize("parametrisation", list(Parametrisation))
def test_both_parametrisations_start_near_identity_with_gradients(parametrisation):
    matrices = ReaderMatrices(9, parametrisation)

    diagonal = matrices().diagonal(dim1=-2, dim2=-1)
    torch.testing.assert_close(diagonal, torch.full((len(HEADS), 9, 2), 0.995))
    matrices()[..., 1, 0].sum().backward()

    assert all(bool(parameter.grad.any()) for parameter in matrices.parameters())


def test_the_trace_is_minus_the_error_rates():
    matrices = filled(ReaderMatrices(9, Parametrisation.STOCHASTIC), 1)

    off_diagonal = matrices.additions()[..., 1, 0] + matrices.additions()[..., 0, 1]

    torch.testing.assert_close(matrices.traces(), -off_diagonal)


def chain(model=ReaderModel.CHAIN, **how):
    return ReaderTree(ReaderPlan(model, **how), readers=2, sessions=3)


def test_every_node_of_the_chain_reads_from_its_parent():
    model = chain()
    filled(model.matrices, 2)
    logits = torch.randn(5, len(HEADS))

    with torch.no_grad():
        said, matrices = model(logits), model.every_matrix()
        wanted = both_classes(logits)
        for number in (0, 2, 7):  # consensus, R2, R2S2
            wanted = torch.einsum("hij,nhj->nhi", matrices[:, number], wanted)
            torch.testing.assert_close(said[:, :, number], wanted)


def test_errors_add_up_along_the_chain():
    model = chain()
    for parameter in model.matrices.parameters():
        parameter.data[..., 0], parameter.data[..., 1] = -1.0, -2.0
    share = MOST_WRONG * torch.tensor([-1.0, -2.0]).sigmoid()
    step = torch.stack(
        [torch.stack([1 - share[0], share[1]]), torch.stack([share[0], 1 - share[1]])]
    )

    composed = model.composed()

    for name, steps in ((CONSENSUS, 1), ("R1", 2), ("R2S3", 3)):
        whole = torch.linalg.matrix_power(step, steps)
        expected = torch.stack([whole[1, 0], whole[0, 1]]).expand(len(HEADS), 2)
        torch.testing.assert_close(composed[name], expected)


def test_the_flat_models_read_every_session_from_the_network_itself():
    for model in (ReaderModel.TANNO, ReaderModel.GEOCROWDNET):
        assert [(node.name, node.parent) for node in chain(model).nodes] == [
            (f"R{reader}S{session}", -1) for reader in (1, 2) for session in (1, 2, 3)
        ]


def test_without_its_matrix_the_consensus_is_the_network_s_own_answer():
    model = chain(ReaderModel.CHAIN_WITHOUT_CONSENSUS_MATRIX)
    filled(model.matrices, 3)
    logits = torch.randn(4, len(HEADS))

    torch.testing.assert_close(model.answer(logits), logits.sigmoid())
    assert not torch.allclose(chain().answer(logits), logits.sigmoid(), atol=1e-4)


def test_places_without_a_label_add_nothing_to_the_loss():
    model = chain(trace_weight=0.0)
    whole, part = two_readers("111 111"), two_readers("11. 11.")
    logits = torch.randn(1, len(HEADS))

    nothing = model.loss(logits, model.targets(two_readers("... ...")), 1.0)
    fewer, more = (model.loss(logits, model.targets(one), 1.0) for one in (part, whole))

    assert nothing == 0
    assert 0 < fewer < more


def test_the_trace_term_is_ramped_up():
    plan = ReaderPlan(trace_weight=0.01, warm_up=0.2)

    weights = [plan.trace_weight_at(progress) for progress in (0, 0.2, 0.3, 0.4, 1)]

    assert weights == pytest.approx([0, 0, 0.005, 0.01, 0.01])


def test_answers_are_spread_most_when_both_classes_are_sure():
    sure = both_classes(torch.tensor([[9.0], [-9.0]]).expand(2, len(HEADS)))
    unsure = both_classes(torch.tensor([[0.1], [-0.1]]).expand(2, len(HEADS)))

    assert (answer_scatter(sure) > answer_scatter(unsure)).all()


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        (ReaderModel.CONSENSUS, [1, np.nan, np.nan, np.nan, np.nan]),
        (ReaderModel.SESSION, [1, 0, 1, 0, np.nan]),
        (ReaderModel.MAJORITY, [1, np.nan, 1, 0, np.nan]),
        (ReaderModel.SOFT, [1, 0.5, 0.75, 1 / 6, np.nan]),
    ],
)
def test_what_readers_are_boiled_down_to(model, expected):
    said = two_readers("111 111", "000 111", ".11 .01", "000 001", "... ...")

    targets = readers_of(ReaderPlan(model, reader=1, session=3), 2, 3).targets(said)

    np.testing.assert_allclose(targets[:, 0], expected, rtol=1e-6)


def test_an_unknown_session_is_refused():
    with pytest.raises(ValueError, match="session 4"):
        FixedTargets(ReaderPlan(ReaderModel.SESSION, session=4)).targets(two_readers("111 111"))


FALSE_POSITIVE, FALSE_NEGATIVE = 0.06, 0.2


def toy(joints=500, seed=0):
    """Joints whose truth a line decides, read by two readers that err alike in every session."""
    rng = np.random.default_rng(seed)
    inputs = rng.normal(size=(joints, len(HEADS)))
    truth = rng.random((joints, len(HEADS))) < 1 / (1 + np.exp(-6 * inputs))
    drawn = rng.random((joints, len(HEADS), 2, 3))
    present = truth[..., None, None]
    values = np.where(present, drawn >= FALSE_NEGATIVE, drawn < FALSE_POSITIVE).astype(np.int8)
    return torch.from_numpy(inputs).float(), Readings(values)


@pytest.mark.parametrize("model", MATRIX_MODELS)
def test_the_matrices_find_how_often_readers_err(model):
    inputs, said = toy()
    readers = chain(model, trace_weight=0.001)
    slope = torch.zeros(len(HEADS), requires_grad=True)
    targets = readers.targets(said)
    optimiser = torch.optim.Adam([slope, *readers.parameters()], lr=0.3)

    for step in range(100):
        optimiser.zero_grad()
        readers.loss(inputs * slope, targets, step / 100).backward()
        optimiser.step()

    found = torch.stack([readers.composed()[f"R{r}S{s}"] for r in (1, 2) for s in (1, 2, 3)])
    assert found[..., 0].mean() == pytest.approx(FALSE_POSITIVE, abs=0.02)
    assert found[..., 1].mean() == pytest.approx(FALSE_NEGATIVE, abs=0.03)
