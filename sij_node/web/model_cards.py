"""What the weights' cards say that they may be used for; every page repeats it."""

import json
from functools import lru_cache
from pathlib import Path

import models

SHIPPED = Path(models.__file__).parent / "weights"
UNKNOWN = "Trained on phantoms, not for clinical use"
"""Said where no card can be read."""


@lru_cache(maxsize=4)
def intended_use(folder: Path | None) -> str:
    """The statements of all cards of a weights folder, each once.

    Parameters
    ----------
    folder
        None for the weights that come with the node.
    """
    cards = sorted((folder or SHIPPED).glob("*/card.json"))
    stated = dict.fromkeys(filter(None, map(_stated_on, cards)))
    return ". ".join(stated) or UNKNOWN


def _stated_on(card: Path) -> str:
    try:
        content = json.loads(card.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return ""
    said = content.get("intended_use", "") if isinstance(content, dict) else ""
    return said.strip(" .") if isinstance(said, str) else ""
