"""Exponential backoff: the delay before the next attempt doubles up to a limit."""

_MAX_DOUBLINGS = 60


def delay_after_s(failures: int, first_s: float, longest_s: float) -> float:
    """Delay in seconds after a number of failures; `first_s` after the first.

    Examples
    --------
    >>> [delay_after_s(failures, 2, 10) for failures in (1, 2, 3, 4)]
    [2.0, 4.0, 8.0, 10]
    """
    doublings = min(max(failures - 1, 0), _MAX_DOUBLINGS)
    return min(first_s * 2.0**doublings, longest_s)


def next_delay_s(delay_s: float, first_s: float, longest_s: float) -> float:
    """Delay in seconds after a further failure; `delay_s` is the last delay, 0 for none.

    Examples
    --------
    >>> next_delay_s(0, 2, 10), next_delay_s(2, 2, 10), next_delay_s(8, 2, 10)
    (2, 4, 10)
    """
    return min(max(first_s, delay_s * 2), longest_s)
