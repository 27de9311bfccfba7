"""Keeps freed memory in the process between training steps.

By default the C library returns large blocks to the system and requests zeroed ones again at every
step. On a CPU this costs more than computing a loss over many heatmaps. Keeping them roughly
doubles memory use.

Source: mallopt(3) of the GNU C library.
"""

import ctypes

_TRIM_THRESHOLD, _MMAP_MAX = -1, -4


def keep_freed_memory() -> bool:
    """Keep freed memory in this process; False if the C library has no ``mallopt``."""
    choose = getattr(ctypes.CDLL(None), "mallopt", None)
    return choose is not None and bool(choose(_MMAP_MAX, 0) and choose(_TRIM_THRESHOLD, -1))
