"""Signed weights: an Ed25519 signature of a network's card, which names the weights' SHA-256.

Keys are PEM files as OpenSSL makes them; ``openssl pkeyutl -verify -rawin`` checks a signature too.

Source: RFC 8032 (Ed25519), RFC 8410 (its keys).
"""

from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_pem_public_key

from models.weights import CARD_NAME, WeightsInvalid, load_network

SIGNATURE_NAME = "card.sig"


def sign_weights(folder: Path, private_key: Path) -> Path:
    """Sign the card of a network, after checking that it fits the weights.

    Parameters
    ----------
    private_key
        PEM, Ed25519, without a passphrase.

    Returns
    -------
    Path
        The signature, beside the card.

    Raises
    ------
    WeightsInvalid
        If the weights do not fit their card, or the key cannot be used.
    """
    load_network(folder)
    try:
        key = load_pem_private_key(_read(private_key), password=None)
    except (ValueError, TypeError) as error:
        raise WeightsInvalid(f"{private_key} is not a private key in PEM: {error}") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise WeightsInvalid(
            f"{private_key} is not an Ed25519 key; make one with `openssl genpkey -algorithm "
            f"ed25519 -out {private_key.name}`"
        )
    path = folder / SIGNATURE_NAME
    path.write_bytes(key.sign(_read(folder / CARD_NAME)))
    return path


def check_signature(folder: Path, public_key: Path) -> None:
    """Check that a network's card was signed with the private key that belongs to a public one.

    The weights themselves are checked against the card when they are loaded.

    Raises
    ------
    WeightsInvalid
        If there is no signature, it is not valid, or the key cannot be used.
    """
    try:
        key = load_pem_public_key(_read(public_key))
    except ValueError as error:
        raise WeightsInvalid(f"{public_key} is not a public key in PEM: {error}") from error
    if not isinstance(key, Ed25519PublicKey):
        raise WeightsInvalid(f"{public_key} is not an Ed25519 key")
    signature = folder / SIGNATURE_NAME
    if not signature.exists():
        raise WeightsInvalid(
            f"{folder} is not signed, but {public_key} is required to have signed it; sign it with "
            "`python -m trainer sign-weights`"
        )
    try:
        key.verify(_read(signature), _read(folder / CARD_NAME))
    except InvalidSignature:
        raise WeightsInvalid(
            f"{signature} is not the signature of its card by the key {public_key}; get the folder "
            "from its source again"
        ) from None


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise WeightsInvalid(f"{path} cannot be read: {error.strerror}") from error
