"""Keyed hashes (HMAC) with the node's secret key, for pseudonyms and for web tokens."""

import hmac


def keyed_hash(key: bytes, purpose: str, *parts: str) -> str:
    """HMAC-SHA-256 of texts, as 64 hexadecimal digits.

    Parameters
    ----------
    purpose
        Separates hashes for different purposes.
    """
    encoded = [part.encode("utf-8", "surrogateescape") for part in (purpose, *parts)]
    message = b"".join(len(part).to_bytes(4, "big") + part for part in encoded)
    return hmac.digest(key, message, "sha256").hex()
