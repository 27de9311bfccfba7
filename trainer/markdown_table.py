"""Tables of the Markdown pages that evaluations write."""

from collections.abc import Iterable, Sequence

import numpy as np


def markdown(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A Markdown table."""
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    lines += ["| " + " | ".join(str(cell) for cell in row) + " |" for row in rows]
    return "\n".join(lines)


def written(value: float, digits: int = 2) -> str:
    """A number formatted for a table; a dash if it is not finite."""
    if not np.isfinite(value):
        return "–"
    text = f"{round(value, digits) + 0.0:.{digits}f}"
    return text.replace("0.", ".", 1) if text.startswith(("0.", "-0.")) else text
