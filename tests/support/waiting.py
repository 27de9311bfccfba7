"""Wait for a condition with a time limit."""

import time
from collections.abc import Callable
from typing import TypeVar

PATIENCE_S = 180.0
"""Far above the time needed, so that no test fails on a slow machine; waits end early."""

Seen = TypeVar("Seen")


def wait_for(look: Callable[[], Seen | None], what: str, limit_s: float = PATIENCE_S) -> Seen:
    """Poll until the result is truthy, and return it."""
    deadline = time.monotonic() + limit_s
    while not (seen := look()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"In {limit_s:g} s there was no {what}.")
        time.sleep(0.05)
    return seen
