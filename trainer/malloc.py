"""Memory that a training frees is kept for its next step.

The C library gives large blocks back to the system and fetches them again, emptied, at every
step. On a CPU that costs more than the arithmetic of a loss over many heatmaps; keeping them takes
about twice the memory.

Source: mallopt(3) of the GNU C library.
"""

import ctypes

_TRIM_THRESHOLD, _MMAP_MAX = -1, -4


def keep_freed_memory() -> bool:
    """Have this process keep what it frees; False where the C library offers no such choice."""
    choose = getattr(ctypes.CDLL(None), "mallopt", None)
    return choose is not None and bool(choose(_MMAP_MAX, 0) and choose(_TRIM_THRESHOLD, -1))
