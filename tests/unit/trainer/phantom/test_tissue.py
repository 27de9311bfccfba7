import pytest

from trainer.phantom.tissue import TISSUES, PulseSequence, signal

T1 = PulseSequence(1.5, 650, 15)
STIR = PulseSequence(1.5, 5000, 50, 145, 100)


@pytest.mark.parametrize(
    ("tissue", "t1", "stir"),
    [
        ("fatty lesion", 1.34, 0.72),
        ("oedema", 0.71, 1.81),
        ("sclerosis", 0.24, 0.26),
        ("cartilage", 0.43, 0.68),
        ("muscle", 0.50, 0.66),
        ("fluid", 0.34, 2.9),
        ("fat", 1.5, 0.65),
    ],
)
def test_tissues_shine_relative_to_marrow_as_two_pools_predict(tissue, t1, stir):
    marrow = TISSUES["marrow"]

    assert signal(TISSUES[tissue], T1) / signal(marrow, T1) == pytest.approx(t1, abs=0.04)
    assert abs(signal(TISSUES[tissue], STIR) / signal(marrow, STIR)) == pytest.approx(
        stir, rel=0.09
    )


def test_after_inversion_signals_add_before_the_modulus_is_taken():
    assert signal(TISSUES["fluid"], STIR) < 0


def test_a_longer_echo_darkens_every_tissue():
    later = PulseSequence(1.5, 650, 30)

    assert all(signal(tissue, later) < signal(tissue, T1) for tissue in TISSUES.values())


def test_water_relaxes_more_slowly_at_three_tesla():
    stronger = PulseSequence(3.0, 650, 15)

    assert signal(TISSUES["muscle"], stronger) < signal(TISSUES["muscle"], T1)
