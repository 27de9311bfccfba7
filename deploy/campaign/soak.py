"""Load on the listener: latency, memory, descriptors and database size must stay flat (T44)."""

import random
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median, quantiles

from deploy.bench.footprint import footprint_of
from deploy.bench.servers import CALLING, listener, running
from deploy.campaign import senders
from deploy.campaign.senders import IMAGES, Ledger, send_until_acknowledged, small_study

BLOCKS = 5
SENDERS = 8


@dataclass(frozen=True)
class Block:
    """One fifth of a soak: latency of C-STORE, and the listener afterwards."""

    instances: int
    median_ms: float
    p99_ms: float
    rss_mb: float
    descriptors: int
    database_bytes_per_instance: float


@dataclass(frozen=True)
class Soak:
    """A soak in five blocks."""

    blocks: Sequence[Block]
    acknowledged: int
    sent: int


def soak(folder: Path, instances: int, seed: int) -> Soak:
    """Send small images from eight senders at once, and look at the listener after each fifth."""
    server = listener(folder / "node")
    senders.SENDER = CALLING
    blocks, ledger = [], Ledger(folder / "acknowledged.jsonl")
    per_sender = max(1, instances // BLOCKS // SENDERS // IMAGES)
    with running(server, folder / "node.log") as node:
        for number in range(BLOCKS):
            before = len(ledger.lines())
            _send_block(server.port, per_sender, seed + number * SENDERS, ledger)
            lines = ledger.lines()
            took = [float(line["seconds"]) * 1000 for line in lines[before:]]
            database = sum(file.stat().st_size for file in (folder / "node/data").glob("*.sqlite*"))
            descriptors = len(list(Path(f"/proc/{node.process.pid}/fd").iterdir()))
            blocks.append(
                Block(
                    len(took),
                    median(took),
                    quantiles(took, n=100)[98],
                    footprint_of(node.process.pid).rss_mb,
                    descriptors,
                    database / len(lines),
                )
            )
    return Soak(blocks, len(ledger.lines()), BLOCKS * SENDERS * per_sender * IMAGES)


def _send_block(port: int, studies: int, seed: int, ledger: Ledger) -> None:
    never = threading.Event()

    def send(number: int) -> None:
        numbers = random.Random(seed + number)  # noqa: S311
        for _ in range(studies):
            send_until_acknowledged(list(small_study(numbers)), port, ledger, never)

    threads = [threading.Thread(target=send, args=(number,)) for number in range(SENDERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
