"""Networks that analyse the same images once in a test run, whoever asks for it."""

from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from unittest import mock

from models.analyser import Analyser, Analysis
from models.volume import Volume

_analyses: dict[str, Analysis] = {}


@contextmanager
def analysed_once() -> Iterator[None]:
    """Within it, an earlier analysis of the same voxels by the same weights is used again."""
    analyse = Analyser.analyse

    def remembered(self: Analyser, t1: Volume, stir: Volume, *how: object) -> Analysis:
        key = _digest_of(self, t1, stir)
        if key not in _analyses:
            _analyses[key] = analyse(self, t1, stir, *how)
        return _analyses[key]

    with mock.patch.object(Analyser, "analyse", remembered):
        yield


def _digest_of(analyser: Analyser, *volumes: Volume) -> str:
    digest = sha256()
    for network in analyser.identities:
        digest.update(network.sha256.encode())
    for volume in volumes:
        digest.update(str((volume.voxels.shape, volume.voxels.dtype)).encode())
        digest.update(volume.voxels.tobytes() + volume.affine.tobytes())
    return digest.hexdigest()
