"""A time limit for a sequence of network operations, even if one of them hangs.

pynetdicom waits without limit for its reactor thread, so timeouts of the association do not cover
everything. Here the operations run in a thread of their own; when the time is up, their socket is
closed and the caller goes on.
"""

import threading
from collections.abc import Callable, Generator, Iterator
from queue import Empty, SimpleQueue
from time import monotonic
from typing import Generic, TypeVar

from sij_node.errors import attempted

Item = TypeVar("Item")


class _End:
    """No more items."""


class _Producer(threading.Thread, Generic[Item]):
    """Computes an item when asked for it."""

    def __init__(self, items: Generator[Item, None, None]) -> None:
        super().__init__(name="limited in time", daemon=True)
        self._items = items
        self._wanted = threading.Semaphore(0)
        self._is_over = False
        self._made: SimpleQueue[Item | Exception | type[_End]] = SimpleQueue()

    def run(self) -> None:
        while self._wanted.acquire() and not self._is_over:
            self._made.put(attempted(lambda: next(self._items, _End)))
        self._items.close()

    def next_item(self, limit_s: float) -> Item | Exception | type[_End]:
        """The next item; raises `Empty` when it takes too long."""
        self._wanted.release()
        return self._made.get(timeout=max(0.0, limit_s))

    def end(self) -> None:
        """Have the thread end after its current item."""
        self._is_over = True
        self._wanted.release()


def limited_in_time(
    items: Generator[Item, None, None], limit_s: float, cut: Callable[[], None]
) -> Iterator[Item]:
    """Items of a generator, which runs in its own thread, within a time limit.

    The generator never runs ahead of the caller. Its exceptions are raised here.

    Parameters
    ----------
    limit_s
        Limit for all items together, in seconds.
    cut
        Called when the time is up; it must end whatever the generator is waiting for.

    Raises
    ------
    TimeoutError
        When the time is up.
    """
    deadline = monotonic() + limit_s
    producer = _Producer(items)
    producer.start()
    try:
        while (item := producer.next_item(deadline - monotonic())) is not _End:
            if isinstance(item, Exception):
                raise item
            yield item  # type: ignore[misc]
    except Empty:
        cut()
        raise TimeoutError(f"not finished after {limit_s:g} s") from None
    finally:
        producer.end()
