"""Ingest speed and cost of the node, compared with DCMTK storescp and Orthanc.

All servers run throughout and are measured in turn, so that a slow phase of the machine affects
them alike. The sender is DCMTK storescu, one process per association.
"""

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

from deploy.bench.footprint import PeakMemory, footprint_of
from deploy.bench.instances import Instances, make_instances
from deploy.bench.servers import (
    CALLING,
    NODE,
    STORESCP,
    MeasurementFailed,
    Running,
    Server,
    environment,
    idle_association,
    listener,
    orthanc,
    running,
    storescp,
)

ASSOCIATIONS = (1, 4, 16)
INSTANCES = 480
UNTOUCHED_INSTANCES = 48
"""Without TCP_NODELAY a server may need 44 ms per image."""
IDLE_ASSOCIATIONS = 16
IDLE_S = 5.0
_SEND_LIMIT_S = 60.0
_SETTLE_S = 0.3
_IMAGE_BYTES = 400_000
"""Stored files larger than this are images."""

Report = Callable[[str], None]


@dataclass(frozen=True)
class Sample:
    """One run: one server, a number of concurrent associations.

    Parameters
    ----------
    nodelay
        Whether TCP_NODELAY was set on sender and server.
    """

    server: str
    associations: int
    nodelay: bool
    cpu_ms: float
    per_s: float
    peak_mb: float


@dataclass(frozen=True)
class ServerMedians:
    """Medians over the runs of one server, and ratios to storescp in the same repetition.

    Parameters
    ----------
    cpu_ratio, speed_ratio
        None if storescp is not installed.
    """

    sample: Sample
    cpu_ratio: float | None
    speed_ratio: float | None


@dataclass(frozen=True)
class Idle:
    """CPU load of idle associations, in percent of one core.

    Parameters
    ----------
    held
        Number of associations accepted.
    """

    server: str
    held: int
    without_percent: float
    with_percent: float


@dataclass(frozen=True)
class Memory:
    """Resident memory after the first repetition and after the last."""

    server: str
    first_mb: float
    last_mb: float
    instances_between: int


@dataclass(frozen=True)
class Ingest:
    """Results of the ingest benchmark, and the servers that are not installed."""

    rows: tuple[ServerMedians, ...]
    untouched: tuple[ServerMedians, ...]
    idle: tuple[Idle, ...]
    memory: tuple[Memory, ...]
    not_installed: tuple[str, ...]
    size_bytes: int
    repeats: int


def measure_ingest(folder: Path, repeats: int, report: Report) -> Ingest:
    """Run the ingest benchmark on every installed server.

    Raises
    ------
    MeasurementFailed
        If storescu is not installed, or a server loses an image.
    """
    if shutil.which("storescu") is None:
        raise MeasurementFailed("storescu (Debian package dcmtk) is NOT INSTALLED")
    with_nodelay = [
        storescp(folder / "storescp", nodelay=True),
        orthanc(folder / "orthanc", nodelay=True),
    ]
    plain = [
        storescp(folder / "storescp plain", nodelay=False),
        orthanc(folder / "orthanc plain", nodelay=False),
    ]
    node = listener(folder / "node")
    report("ingest: writing images")
    instances = make_instances(folder / "images", INSTANCES)
    with ExitStack() as stack:
        started = {
            server: stack.enter_context(running(server, folder / f"{server.port}.log"))
            for server in [*with_nodelay, *plain, node]
            if server.is_installed
        }
        rotation = [started[server] for server in [*with_nodelay, node] if server in started]
        plainly = [started[server] for server in [*plain, node] if server in started]
        for one in dict.fromkeys([*rotation, *plainly]):
            send_all(one, instances.first(ASSOCIATIONS[-1]), 1, nodelay=True)
        report("ingest: idle associations")
        idle = _measure_idle(rotation)
        samples, resident = _measure_load(rotation, instances, repeats, report)
        untouched = _measure_untouched(plainly, instances, repeats, report)
    return Ingest(
        _rows(samples),
        _rows(untouched),
        idle,
        tuple(
            Memory(name, seen[0], seen[-1], (len(seen) - 1) * len(ASSOCIATIONS) * INSTANCES)
            for name, seen in resident.items()
        ),
        tuple(server.name for server in with_nodelay if not server.is_installed),
        instances.files[0].stat().st_size,
        repeats,
    )


def _measure_load(
    rotation: Sequence[Running], instances: Instances, repeats: int, report: Report
) -> tuple[list[list[Sample]], dict[str, list[float]]]:
    """Samples per round, and the memory of each server after each repetition."""
    rounds: list[list[Sample]] = []
    resident: dict[str, list[float]] = {one.server.name: [] for one in rotation}
    for repeat in range(repeats):
        for associations in ASSOCIATIONS:
            report(f"ingest: {associations} associations, {repeat + 1} of {repeats}")
            instances.renew()
            rounds.append(
                [send_all(one, instances, associations, nodelay=True) for one in rotation]
            )
        for one in rotation:
            resident[one.server.name].append(footprint_of(one.process.pid).rss_mb)
    return rounds, resident


def _measure_untouched(
    plainly: Sequence[Running], instances: Instances, repeats: int, report: Report
) -> list[list[Sample]]:
    rounds = []
    few = instances.first(UNTOUCHED_INSTANCES)
    for repeat in range(repeats):
        report(f"ingest: without TCP_NODELAY, {repeat + 1} of {repeats}")
        instances.renew()
        rounds.append(
            [
                send_all(one, instances if one.server.name == NODE else few, 1, nodelay=False)
                for one in plainly
            ]
        )
    return rounds


def send_all(one: Running, instances: Instances, associations: int, nodelay: bool) -> Sample:
    """Send all instances over concurrent associations and check that all were stored."""
    os.sync()  # pending writes of other servers must not count
    pid = one.process.pid
    before = footprint_of(pid).cpu_s
    began = time.perf_counter()
    with PeakMemory(pid) as memory:
        _run_senders(one.server, instances.divided(associations), nodelay)
        seconds = time.perf_counter() - began
    time.sleep(_SETTLE_S)
    cpu_s = footprint_of(pid).cpu_s - before
    count = len(instances.files)
    _truncate_stored(one.server, count)
    return Sample(
        one.server.name,
        associations,
        nodelay,
        1000 * cpu_s / count,
        count / seconds,
        memory.peak_mb,
    )


def _run_senders(server: Server, parts: Sequence[Sequence[Path]], nodelay: bool) -> None:
    command = ["storescu", "-aet", CALLING, "-aec", server.title, "127.0.0.1", str(server.port)]
    senders = [
        subprocess.Popen(  # noqa: S603
            [*command, *map(str, part)],
            env=environment(nodelay),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for part in parts
    ]
    deadline = time.monotonic() + _SEND_LIMIT_S
    try:
        failed = [s for s in senders if s.wait(max(0.0, deadline - time.monotonic()))]
    except subprocess.TimeoutExpired as error:
        raise MeasurementFailed(f"{server.name} took longer than {_SEND_LIMIT_S:g} s") from error
    finally:
        for sender in senders:
            if sender.poll() is None:
                sender.kill()
                sender.wait()
    if failed:
        raise MeasurementFailed(f"{len(failed)} of {len(senders)} senders failed at {server.name}")


def _truncate_stored(server: Server, expected: int) -> None:
    """Count the stored images and truncate them to free disk space.

    They are not deleted: some file systems are slow to reuse freed inodes.
    """
    stored = [file for file in _files(server.stored) if file.stat().st_size > _IMAGE_BYTES]
    for file in stored:
        os.truncate(file, 0)
    if len(stored) != expected:
        raise MeasurementFailed(f"{server.name} stored {len(stored)} of {expected} images")


def _files(folder: Path) -> Iterable[Path]:
    return (path for path in folder.rglob("*") if path.is_file())


def _measure_idle(rotation: Sequence[Running]) -> tuple[Idle, ...]:
    """All servers over the same interval: first without associations, then with."""
    without = _percent_of_a_core(rotation)
    with ExitStack() as stack:
        held = [
            sum(idle_association(one.server, stack) for _ in range(IDLE_ASSOCIATIONS))
            for one in rotation
        ]
        time.sleep(_SETTLE_S)
        waiting = _percent_of_a_core(rotation)
    return tuple(
        Idle(one.server.name, count, *percents)
        for one, count, *percents in zip(rotation, held, without, waiting, strict=True)
    )


def _percent_of_a_core(rotation: Sequence[Running]) -> list[float]:
    before = [footprint_of(one.process.pid).cpu_s for one in rotation]
    time.sleep(IDLE_S)
    after = [footprint_of(one.process.pid).cpu_s for one in rotation]
    return [100 * (late - early) / IDLE_S for early, late in zip(before, after, strict=True)]


def _rows(rounds: Iterable[Sequence[Sample]]) -> tuple[ServerMedians, ...]:
    compared: dict[tuple[int, str], list[ServerMedians]] = {}
    for samples in rounds:
        for row in compared_with_storescp(samples):
            compared.setdefault((row.sample.associations, row.sample.server), []).append(row)
    return tuple(_median(rows) for rows in compared.values())


def compared_with_storescp(samples: Sequence[Sample]) -> list[ServerMedians]:
    """Samples of one round with their ratios to storescp, if it was measured."""
    floor = next((sample for sample in samples if sample.server == STORESCP), None)
    if floor is None:
        return [ServerMedians(sample, None, None) for sample in samples]
    return [
        ServerMedians(sample, sample.cpu_ms / floor.cpu_ms, sample.per_s / floor.per_s)
        for sample in samples
    ]


def _median(rows: Sequence[ServerMedians]) -> ServerMedians:
    samples = [row.sample for row in rows]
    return ServerMedians(
        replace(
            samples[0],
            cpu_ms=median(one.cpu_ms for one in samples),
            per_s=median(one.per_s for one in samples),
            peak_mb=max(one.peak_mb for one in samples),
        ),
        _median_or_none([row.cpu_ratio for row in rows]),
        _median_or_none([row.speed_ratio for row in rows]),
    )


def _median_or_none(ratios: Sequence[float | None]) -> float | None:
    there = [ratio for ratio in ratios if ratio is not None]
    return median(there) if there else None
