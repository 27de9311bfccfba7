"""The intended use on the model cards of the weights; every page shows it."""

import json
from functools import lru_cache
from pathlib import Path

import models

SHIPPED = Path(models.__file__).parent / "weights"
UNKNOWN = "Trained on phantoms, not for clinical use"
"""Shown if no card can be read."""


@lru_cache(maxsize=4)
def intended_use(folder: Path | None) -> str:
    """The intended use on all model cards of a folder of weights, without repeats.

    Parameters
    ----------
    folder
        None for the weights shipped with the node.
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
