"""Time spans in words."""

_UNITS = ((172_800, 86_400, "days"), (7200, 3600, "h"), (120, 60, "min"))
"""From how many seconds a unit is used, its seconds, and its name."""


def in_words(seconds: float) -> str:
    """A time span in one unit: ``45 s``, ``12 min``, ``3 h``, ``2 days``.

    Examples
    --------
    >>> in_words(7500)
    '2 h'
    """
    for smallest_s, unit_s, unit in _UNITS:
        if seconds >= smallest_s:
            return f"{seconds // unit_s:.0f} {unit}"
    return f"{seconds:.0f} s"
