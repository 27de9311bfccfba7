"""The scores that the paper states, for comparison."""

from collections.abc import Mapping

from models.findings import Lesion

PAPER: Mapping[str, Mapping[Lesion, tuple[float, float | None]]] = {
    "measure-like": {
        Lesion.OEDEMA: (0.85, 0.79),
        Lesion.EROSION: (0.87, 0.85),
        Lesion.FATTY_LESION: (0.87, 0.85),
        Lesion.SCLEROSIS: (0.87, 0.85),
        Lesion.ANKYLOSIS: (0.97, 0.93),
    },
    "prevent-like": {
        Lesion.OEDEMA: (0.91, None),
        Lesion.EROSION: (0.88, None),
        Lesion.FATTY_LESION: (0.88, None),
        Lesion.SCLEROSIS: (0.88, None),
    },
    "surpass-like": {
        Lesion.OEDEMA: (0.92, 0.86),
        Lesion.EROSION: (0.95, None),
        Lesion.FATTY_LESION: (0.95, None),
        Lesion.SCLEROSIS: (0.95, None),
        Lesion.ANKYLOSIS: (0.99, 0.97),
    },
}
"""AUC and balanced accuracy of the paper's prose; where it gives a range, its lower end."""
