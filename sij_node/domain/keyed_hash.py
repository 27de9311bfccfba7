"""Hashes under the node's secret key: patients' pseudonyms, and tokens of forms and browsers."""

import hmac


def keyed_hash(key: bytes, purpose: str, *parts: str) -> str:
    """A hash that only the holder of the key can compute, as 64 hexadecimal digits.

    Parameters
    ----------
    purpose
        Keeps a hash made for one thing from being taken for another.
    """
    told = [part.encode("utf-8", "surrogateescape") for part in (purpose, *parts)]
    message = b"".join(len(part).to_bytes(4, "big") + part for part in told)
    return hmac.digest(key, message, "sha256").hex()
