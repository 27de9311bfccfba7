import hashlib
import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from models.contour_unet import ContourArchitecture
from models.lesion_resnet34 import LesionArchitecture, Pooling
from models.preprocess import PREPROCESSING_VERSION
from models.weights import (
    INTENDED_USE,
    Card,
    LoadedNetwork,
    WeightsInvalid,
    build,
    check_known_case,
    load_network,
    save_network,
)

CPU = torch.device("cpu")
SHAPES = {
    "contour": ContourArchitecture(2, 2, 2),
    "lesion": LesionArchitecture(2, 1, Pooling.ZONES),
}


def card_for(architecture):
    return Card(
        "small",
        "1.2.3",
        architecture,
        PREPROCESSING_VERSION,
        INTENDED_USE,
        {"seed": 1},
        {},
        {"presence_threshold": 0.1},
    )


@pytest.fixture(params=list(SHAPES))
def folder(request, tmp_path):
    torch.manual_seed(0)
    architecture = SHAPES[request.param]
    save_network(build(architecture).eval(), card_for(architecture), tmp_path)
    return tmp_path


def rewrite_card(folder, **changes):
    path = folder / "card.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_a_network_comes_back_as_it_was_handed_over(folder):
    loaded = load_network(folder)

    check_known_case(loaded, CPU)
    assert loaded.card.name == "small"
    assert loaded.card.intended_use == INTENDED_USE
    assert all(t.dtype is torch.float32 for t in loaded.network.parameters())


def test_saving_a_loaded_network_again_changes_nothing(folder, tmp_path):
    first = load_network(folder)

    again = save_network(first.network, first.card, tmp_path / "again")

    assert again == first.card


@pytest.mark.parametrize("name", ["card.json", "weights.safetensors"])
def test_a_missing_file_is_refused(folder, name):
    (folder / name).unlink()

    with pytest.raises(WeightsInvalid, match=f"{name} cannot be read"):
        load_network(folder)


def test_a_flipped_bit_is_refused(folder):
    path = folder / "weights.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)

    with pytest.raises(WeightsInvalid, match="SHA-256"):
        load_network(folder)


def test_a_truncated_card_is_refused(folder):
    path = folder / "card.json"
    path.write_text(path.read_text()[:100])

    with pytest.raises(WeightsInvalid, match="not a valid model card"):
        load_network(folder)


def test_a_card_without_a_digest_or_with_unknown_fields_is_refused(folder):
    rewrite_card(folder, colour="blue")

    with pytest.raises(WeightsInvalid, match="not a valid model card"):
        load_network(folder)


def test_another_preprocessing_is_refused(folder):
    rewrite_card(folder, preprocessing_version=PREPROCESSING_VERSION + 1)

    with pytest.raises(WeightsInvalid, match="preprocessing version"):
        load_network(folder)


def test_a_card_of_another_architecture_is_refused(folder):
    shape = json.loads((folder / "card.json").read_text())["architecture"]
    rewrite_card(folder, architecture=shape | {"width": 3})

    with pytest.raises(WeightsInvalid, match="do not match the card's architecture"):
        load_network(folder)


def test_a_file_that_is_not_safetensors_is_refused(folder):
    (folder / "weights.safetensors").write_bytes(b"hello")
    rewrite_card(folder, sha256=hashlib.sha256(b"hello").hexdigest())

    with pytest.raises(WeightsInvalid, match="not a valid safetensors file"):
        load_network(folder)


def test_weights_that_are_not_finite_are_refused(folder):
    path = folder / "weights.safetensors"
    tensors = load_file(path)
    name = next(name for name, t in tensors.items() if t.is_floating_point())
    tensors[name] = torch.full_like(tensors[name], float("nan"))
    save_file(tensors, path)
    rewrite_card(folder, sha256=hashlib.sha256(path.read_bytes()).hexdigest())

    with pytest.raises(WeightsInvalid, match="not finite"):
        load_network(folder)


def test_a_machine_that_computes_something_else_is_noticed(folder):
    loaded = load_network(folder)
    with torch.no_grad():
        for tensor in loaded.network.parameters():
            tensor.add_(1.0)

    with pytest.raises(WeightsInvalid, match="fails its known case"):
        check_known_case(LoadedNetwork(loaded.network, loaded.card), CPU)
