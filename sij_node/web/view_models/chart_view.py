"""Charts over time: how much was done, how long it took, and what went wrong.

Every chart is also a table; the drawing itself is made in `sij_node.web.chart_svg`.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from statistics import median
from types import MappingProxyType

from sij_node.domain.job import State, Step
from sij_node.domain.job_list import ChartEvent
from sij_node.web.view_models.display_text import count, seconds_in_words


class Range(StrEnum):
    """How far back the charts look."""

    DAY = "24 hours"
    WEEK = "7 days"
    MONTH = "30 days"


_SLOTS: Mapping[Range, tuple[int, timedelta]] = MappingProxyType(
    {
        Range.DAY: (24, timedelta(hours=1)),
        Range.WEEK: (28, timedelta(hours=6)),
        Range.MONTH: (30, timedelta(days=1)),
    }
)


@dataclass(frozen=True)
class Slots:
    """Equal pieces of time, the last of which holds the present.

    Parameters
    ----------
    begins
        When each begins, in the time of the node's machine.
    """

    begins: tuple[datetime, ...]
    each: timedelta

    @classmethod
    def until(cls, now: datetime, chosen: Range) -> "Slots":
        """Those of a range; they begin at whole hours or days of the clock."""
        number, each = _SLOTS[chosen]
        local = now.astimezone()
        midnight = local.replace(hour=0, minute=0, second=0, microsecond=0)
        last = midnight + ((local - midnight) // each) * each
        return cls(tuple(last - each * back for back in reversed(range(number))), each)

    def place(self, at: datetime) -> int | None:
        """Which one a moment falls into."""
        number = (at - self.begins[0]) // self.each
        return number if 0 <= number < len(self.begins) else None

    def label(self, number: int) -> str:
        """What stands below it."""
        begin = self.begins[number]
        if self.each >= timedelta(days=1):
            return f"{begin:%d %b}"
        if self.each > timedelta(hours=1):
            return f"{begin:%a %H:%M}"
        return f"{begin:%H:%M}"


@dataclass(frozen=True)
class Series:
    """One value for each slot; None where there is none. `kind` decides its colour."""

    name: str
    kind: str
    values: tuple[float | None, ...]


@dataclass(frozen=True)
class Chart:
    """One chart.

    Parameters
    ----------
    summary
        What it says, in a sentence.
    in_words
        A value as a person reads it.
    """

    title: str
    summary: str
    shape: str
    slots: Slots
    series: tuple[Series, ...]
    in_words: Callable[[float], str]

    @property
    def rows(self) -> list[tuple[str, list[str]]]:
        """The same as a table: a label, then a text for each series; empty slots left out."""
        return [
            (
                self.slots.label(number),
                [
                    "–" if one.values[number] is None else self.in_words(one.values[number] or 0.0)
                    for one in self.series
                ],
            )
            for number in range(len(self.slots.begins))
            if any(one.values[number] for one in self.series)
        ]


def charts(happenings: Sequence[ChartEvent], slots: Slots) -> tuple[Chart, Chart, Chart]:
    """Throughput, latency and failures."""
    return throughput(happenings, slots), latency(happenings, slots), failures(happenings, slots)


def throughput(happenings: Sequence[ChartEvent], slots: Slots) -> Chart:
    """How many studies came to an end, and to which."""
    series = (
        _counted("delivered", "good", filter(_is_delivered, happenings), slots),
        _counted("rejected", "warn", _with(happenings, Step.REJECT), slots),
        _counted("failed", "bad", filter(_is_failed, happenings), slots),
    )
    done, rejected, failed = (_total(one) for one in series)
    summary = f"{done} delivered, {rejected} rejected, {failed} failed."
    return Chart("Studies finished", summary, "bars", slots, series, _whole)


def latency(happenings: Sequence[ChartEvent], slots: Slots) -> Chart:
    """From the first image to the archive's acknowledgement, and how much of it is analysis."""
    waits = [
        (one.at, (one.at - one.opened_at).total_seconds())
        for one in happenings
        if _is_delivered(one)
    ]
    analyses = list(_analyses(happenings))
    series = (
        Series("first image to delivered, 95 %", "faint", _of_slots(waits, slots, _p95)),
        Series("first image to delivered, median", "accent", _of_slots(waits, slots, median)),
        Series("analysis alone, median", "quiet", _of_slots(analyses, slots, median)),
    )
    said = [seconds for _, seconds in waits]
    summary = (
        f"Half were delivered within {seconds_in_words(median(said))} of their first image, "
        f"95 % within {seconds_in_words(_p95(said))}."
        if said
        else "Nothing was delivered."
    )
    return Chart("Time to result", summary, "lines", slots, series, seconds_in_words)


def failures(happenings: Sequence[ChartEvent], slots: Slots) -> Chart:
    """Attempts that went wrong, whether or not a later one went well."""
    series = (
        _counted("analysis tried in vain", "quiet", _with(happenings, Step.TRY_AGAIN), slots),
        _counted("delivery tried in vain", "warn", _with(happenings, Step.DELIVERY_FAILED), slots),
        _counted("given up", "bad", _with(happenings, Step.GIVE_UP), slots),
    )
    analyses, deliveries, given_up = (_total(one) for one in series)
    summary = (
        f"Tried in vain: {count(analyses, 'analysis', 'analyses')} and "
        f"{count(deliveries, 'delivery', 'deliveries')}; given up: {count(given_up, 'job')}."
        if analyses or deliveries or given_up
        else "Nothing went wrong."
    )
    return Chart("Failed attempts", summary, "bars", slots, series, _whole)


def _is_delivered(one: ChartEvent) -> bool:
    return one.step is Step.KEPT_BACK or (
        one.step is Step.ACKNOWLEDGED and one.to_state is State.DELIVERED
    )


def _is_failed(one: ChartEvent) -> bool:
    return one.step is Step.GIVE_UP and one.to_state is State.FAILED


def _with(happenings: Iterable[ChartEvent], step: Step) -> Iterable[ChartEvent]:
    return (one for one in happenings if one.step is step)


def _counted(name: str, kind: str, happened: Iterable[ChartEvent], slots: Slots) -> Series:
    counts = [0.0] * len(slots.begins)
    for one in happened:
        place = slots.place(one.at)
        if place is not None:
            counts[place] += 1
    return Series(name, kind, tuple(counts))


def _total(series: Series) -> int:
    return int(sum(value or 0 for value in series.values))


def _analyses(happenings: Iterable[ChartEvent]) -> Iterable[tuple[datetime, float]]:
    """When each analysis ended, and how long it took."""
    begun: dict[int, datetime] = {}
    for one in happenings:
        if one.step is Step.CLAIMED:
            begun[one.job_id] = one.at
        elif one.step in (Step.RESULTS_STORED, Step.KEPT_BACK) and one.job_id in begun:
            yield one.at, (one.at - begun.pop(one.job_id)).total_seconds()


def _of_slots(
    measured: Iterable[tuple[datetime, float]],
    slots: Slots,
    summarised: Callable[[Sequence[float]], float],
) -> tuple[float | None, ...]:
    by_slot: list[list[float]] = [[] for _ in slots.begins]
    for at, seconds in measured:
        place = slots.place(at)
        if place is not None:
            by_slot[place].append(seconds)
    return tuple(summarised(values) if values else None for values in by_slot)


def _p95(values: Sequence[float]) -> float:
    """The smallest value that 95 % do not exceed."""
    return sorted(values)[-(-95 * len(values) // 100) - 1]


def _whole(value: float) -> str:
    return f"{value:.0f}"
