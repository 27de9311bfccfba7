"""For all tests: system programs come first in PATH, and parallel tests use different ports.

A busy machine is no fault of what is tested, so no example of hypothesis is timed.

Several workers share the processors. Threads of the networks would only wait for each other there,
so these and all programs that are started compute with one, which torch has to be told before it
is imported.
"""

import os
from collections import defaultdict
from itertools import chain, zip_longest
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from deploy.trial import keep_to_share, prefer_programs_of_the_system

SHARES = 8
"""More workers than this are not to be expected."""


def number_of_worker() -> int:
    """0, 1 and so on in a worker of pytest-xdist, 0 without."""
    return int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))


os.environ.setdefault("OMP_NUM_THREADS", "1")
keep_to_share(number_of_worker() % SHARES, SHARES)
prefer_programs_of_the_system()
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Alternate files that wait for servers with files that compute: no processor is idle."""
    files: dict[Path, list[pytest.Item]] = defaultdict(list)
    for item in items:
        files[item.path].append(item)
    waiting = [tests for path, tests in files.items() if "acceptance" in path.parts]
    computing = [tests for path, tests in files.items() if "acceptance" not in path.parts]
    pairs = chain.from_iterable(zip_longest(waiting, computing, fillvalue=[]))
    items[:] = chain.from_iterable(pairs)
