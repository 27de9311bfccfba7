"""Waiting for what other processes do, with a limit."""

import time
from collections.abc import Callable
from typing import TypeVar

PATIENCE_S = 180.0
"""Far above what anything takes, so that a slow machine fails no test; waits end early."""

Seen = TypeVar("Seen")


def wait_for(look: Callable[[], Seen | None], what: str, limit_s: float = PATIENCE_S) -> Seen:
    """Look until there is something to see, and return it."""
    deadline = time.monotonic() + limit_s
    while not (seen := look()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"In {limit_s:g} s there was no {what}.")
        time.sleep(0.05)
    return seen
