import pickle

import pytest
import torch

from models.findings import HEADS
from models.lesion_resnet34 import LesionArchitecture, LesionResNet34, Pooling
from models.weights import load_network, read_card
from trainer.imports.spinenet_encoder import (
    EncoderInvalid,
    read_checkpoint,
    with_encoder,
    write_initial_weights,
)

NARROW = LesionArchitecture(width=2)


def made_up(architecture=NARROW):
    """A checkpoint's tensors: the encoder's names, and a few heads named as SpineNet V2's."""
    torch.manual_seed(0)
    state = LesionResNet34(architecture).state_dict()
    encoder = {n: torch.randn(t.shape) if t.is_floating_point() else t for n, t in state.items()}
    ours = {name: t for name, t in encoder.items() if not name.startswith("heads.")}
    return ours | {"fc_pfirrmann.weight": torch.zeros(5, 16), "fc_pfirrmann.bias": torch.zeros(5)}


def test_an_encoder_is_imported_without_its_heads():
    tensors = made_up()

    network = with_encoder(tensors, NARROW)

    for name, tensor in network.state_dict().items():
        if not name.startswith("heads."):
            torch.testing.assert_close(tensor, tensors[name])
    assert not network.heads.weight.any()


def test_the_paper_s_width_has_spinenet_s_names_and_shapes():
    with torch.device("meta"):
        state = LesionResNet34(LesionArchitecture()).state_dict()

    shapes = {name: tuple(tensor.shape) for name, tensor in state.items()}
    assert shapes["conv1.weight"] == (64, 1, 3, 7, 7)
    assert shapes["conv1.bias"] == (64,)
    assert shapes["layer1.2.conv2.weight"] == (64, 64, 3, 3, 3)
    assert shapes["layer2.0.downsample.0.weight"] == (128, 64, 1, 1, 1)
    assert shapes["layer3.5.bn2.running_var"] == (256,)
    assert shapes["layer4.2.conv2.weight"] == (512, 512, 3, 3, 3)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda t: t.pop("layer3.1.bn2.weight"), "missing: layer3.1.bn2.weight"),
        (lambda t: t.update({"layer5.0.conv1.weight": torch.zeros(1)}), "extra: layer5.0.conv1"),
        (lambda t: t.update({"bn1.bias": torch.zeros(3)}), r"bn1.bias \(3,\) instead of \(2,\)"),
        (lambda t: t["bn1.bias"].fill_(float("nan")), "not finite: bn1.bias"),
    ],
)
def test_an_encoder_that_does_not_fit_is_refused_by_name(spoil, said):
    tensors = made_up()
    spoil(tensors)

    with pytest.raises(EncoderInvalid, match=said):
        with_encoder(tensors, NARROW)


def test_a_narrower_encoder_is_refused_and_not_every_tensor_is_listed():
    with pytest.raises(EncoderInvalid, match=r"and .* more"):
        with_encoder(made_up(), LesionArchitecture(width=4))


class Bomb:
    def __reduce__(self):
        return print, ("this must never run",)


@pytest.mark.parametrize(
    "content",
    [
        lambda path: torch.save({"weights": {}}, path),
        lambda path: torch.save({"model_weights": {"conv1.weight": 3}}, path),
        lambda path: torch.save([torch.zeros(1)], path),
        lambda path: path.write_bytes(b"not a checkpoint"),
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(pickle.dumps({"model_weights": Bomb()})),
        lambda path: torch.save({"model_weights": Bomb()}, path),
    ],
)
def test_a_weights_file_with_more_than_tensors_is_refused_unexecuted(content, tmp_path, capsys):
    path = tmp_path / "checkpoint.pt"
    content(path)

    with pytest.raises(EncoderInvalid):
        read_checkpoint(path)

    assert "must never run" not in capsys.readouterr().out


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(EncoderInvalid, match=r"nowhere.pt cannot be read"):
        read_checkpoint(tmp_path / "nowhere.pt")


def test_an_imported_encoder_is_something_that_training_can_begin_from(tmp_path):
    path, out = tmp_path / "checkpoint.pt", tmp_path / "start"
    torch.save({"model_weights": made_up()}, path)

    write_initial_weights(path, LesionArchitecture(2, 3, Pooling.ZONES), out)

    loaded, card = load_network(out), read_card(out)
    stem = loaded.network.state_dict()["conv1.weight"]
    torch.testing.assert_close(stem, made_up()["conv1.weight"], atol=1e-3, rtol=1e-3)
    assert len(card.training["checkpoint_sha256"]) == 64
    assert len(card.settings["thresholds"]) == len(HEADS)
