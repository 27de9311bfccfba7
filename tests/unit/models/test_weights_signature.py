"""Weights are signed by an Ed25519 key, and refused where the signature does not fit."""

import subprocess

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from typer.testing import CliRunner

from models.weights import CARD_NAME, TENSORS_NAME, WeightsInvalid, load_network
from models.weights_signature import SIGNATURE_NAME, check_signature, sign_weights
from sij_node.analyse.inference import networks_in
from sij_node.config.settings import WorkerConfig
from tests.support.untrained_networks import SMALL_LESION, experiment, save_untrained
from trainer.__main__ import app
from trainer.experiment import SHIPPED_WEIGHTS


def key_pair(folder, kind=Ed25519PrivateKey):
    key = kind.generate()
    private, public = folder / "key.pem", folder / "public.pem"
    private.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    public.write_bytes(
        key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    )
    return private, public


@pytest.fixture
def keys(tmp_path):
    return key_pair(tmp_path)


@pytest.fixture
def network(tmp_path):
    save_untrained(experiment(SMALL_LESION, tmp_path), tmp_path / "weights" / "lesion")
    return tmp_path / "weights" / "lesion"


def test_signed_weights_are_accepted_here_and_by_openssl(keys, network):
    private, public = keys
    sign_weights(network, private)

    check_signature(network, public)

    where = ("-in", network / CARD_NAME, "-sigfile", network / SIGNATURE_NAME)
    command = ("openssl", "pkeyutl", "-verify", "-rawin", "-pubin", "-inkey", public, *where)
    subprocess.run(command, check=True, capture_output=True)


def test_a_changed_card_is_refused(keys, network):
    private, public = keys
    sign_weights(network, private)
    card = network / CARD_NAME
    card.write_text(card.read_text().replace("9.9.9", "9.9.8"))

    with pytest.raises(WeightsInvalid, match="is not the signature of its card"):
        check_signature(network, public)


def test_changed_weights_no_longer_fit_the_signed_card(keys, network):
    private, public = keys
    sign_weights(network, private)
    tensors = network / TENSORS_NAME
    tensors.write_bytes(tensors.read_bytes()[:-1] + b"\1")

    check_signature(network, public)
    with pytest.raises(WeightsInvalid, match="copy both files again"):
        load_network(network)


def test_another_key_is_refused(keys, network, tmp_path):
    sign_weights(network, keys[0])
    (tmp_path / "other").mkdir()
    _, other = key_pair(tmp_path / "other")

    with pytest.raises(WeightsInvalid, match=r"by the key .*other/public\.pem"):
        check_signature(network, other)


def test_a_key_of_another_kind_is_refused_with_the_command_for_a_right_one(network, tmp_path):
    private, public = key_pair(tmp_path, X25519PrivateKey)

    with pytest.raises(WeightsInvalid, match="openssl genpkey -algorithm ed25519"):
        sign_weights(network, private)
    with pytest.raises(WeightsInvalid, match="is not an Ed25519 key"):
        check_signature(network, public)


def test_a_file_that_is_no_key_is_refused_by_its_name(network, tmp_path):
    (tmp_path / "notes.txt").write_text("no key")

    with pytest.raises(WeightsInvalid, match=r"notes\.txt is not a private key"):
        sign_weights(network, tmp_path / "notes.txt")
    with pytest.raises(WeightsInvalid, match=r"absent\.pem cannot be read"):
        check_signature(network, tmp_path / "absent.pem")


def test_one_command_signs_every_network_of_a_folder(keys, network):
    private, public = keys

    result = CliRunner().invoke(app, ["sign-weights", str(network.parent), "--key", str(private)])

    assert result.exit_code == 0, result.output
    check_signature(network, public)


def test_a_node_that_requires_signatures_refuses_weights_without_one(keys):
    worker = WorkerConfig(weights_public_key=keys[1])

    with pytest.raises(WeightsInvalid, match="is not signed, but"):
        networks_in(SHIPPED_WEIGHTS, worker)
