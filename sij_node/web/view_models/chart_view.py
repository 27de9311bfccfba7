"""Charts over time: throughput, turnaround time and failed attempts.

Every chart is also a table; `sij_node.web.chart_svg` draws it.
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
    """Equal time slots, the last of which contains the present.

    Parameters
    ----------
    begins
        When each begins, in the node's local time.
    """

    begins: tuple[datetime, ...]
    each: timedelta

    @classmethod
    def until(cls, now: datetime, chosen: Range) -> "Slots":
        """The slots of a range; they begin on whole hours or days."""
        number, each = _SLOTS[chosen]
        local = now.astimezone()
        midnight = local.replace(hour=0, minute=0, second=0, microsecond=0)
        last = midnight + ((local - midnight) // each) * each
        return cls(tuple(last - each * back for back in reversed(range(number))), each)

    def place(self, at: datetime) -> int | None:
        """The slot that a moment falls into; None outside all."""
        number = (at - self.begins[0]) // self.each
        return number if 0 <= number < len(self.begins) else None

    def label(self, number: int) -> str:
        """The label below a slot."""
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
        What it shows, in a sentence.
    in_words
        A value with its unit.
    """

    title: str
    summary: str
    shape: str
    slots: Slots
    series: tuple[Series, ...]
    in_words: Callable[[float], str]

    @property
    def rows(self) -> list[tuple[str, list[str]]]:
        """The chart as a table: a label, then a text per series; empty slots are left out."""
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


def charts(events: Sequence[ChartEvent], slots: Slots) -> tuple[Chart, Chart, Chart]:
    """Throughput, latency and failures."""
    return throughput(events, slots), latency(events, slots), failures(events, slots)


def throughput(events: Sequence[ChartEvent], slots: Slots) -> Chart:
    """How many studies finished, and how."""
    series = (
        _counted("delivered", "good", filter(_is_delivered, events), slots),
        _counted("rejected", "warn", _with(events, Step.REJECT), slots),
        _counted("failed", "bad", filter(_is_failed, events), slots),
    )
    done, rejected, failed = (_total(one) for one in series)
    summary = f"{done} delivered, {rejected} rejected, {failed} failed."
    return Chart("Completed studies", summary, "bars", slots, series, _whole)


def latency(events: Sequence[ChartEvent], slots: Slots) -> Chart:
    """From the first image to the archive's acknowledgement, and the analysis alone."""
    waits = [
        (one.at, (one.at - one.opened_at).total_seconds()) for one in events if _is_delivered(one)
    ]
    analyses = list(_analyses(events))
    series = (
        Series("first image to delivery, 95th percentile", "faint", _of_slots(waits, slots, _p95)),
        Series("first image to delivery, median", "accent", _of_slots(waits, slots, median)),
        Series("analysis, median", "quiet", _of_slots(analyses, slots, median)),
    )
    said = [seconds for _, seconds in waits]
    summary = (
        f"Median {seconds_in_words(median(said))} from first image to delivery, "
        f"95th percentile {seconds_in_words(_p95(said))}."
        if said
        else "No deliveries."
    )
    return Chart("Turnaround time", summary, "lines", slots, series, seconds_in_words)


def failures(events: Sequence[ChartEvent], slots: Slots) -> Chart:
    """Failed attempts, whether or not a later one succeeded."""
    series = (
        _counted("analysis attempts failed", "quiet", _with(events, Step.TRY_AGAIN), slots),
        _counted("delivery attempts failed", "warn", _with(events, Step.DELIVERY_FAILED), slots),
        _counted("abandoned", "bad", _with(events, Step.GIVE_UP), slots),
    )
    analyses, deliveries, given_up = (_total(one) for one in series)
    summary = (
        f"{count(analyses, 'analysis attempt')} and {count(deliveries, 'delivery attempt')} "
        f"failed; {count(given_up, 'job')} abandoned."
        if analyses or deliveries or given_up
        else "No failed attempts."
    )
    return Chart("Failed attempts", summary, "bars", slots, series, _whole)


def _is_delivered(one: ChartEvent) -> bool:
    return one.step is Step.WITHHELD or (
        one.step is Step.ACKNOWLEDGED and one.to_state is State.DELIVERED
    )


def _is_failed(one: ChartEvent) -> bool:
    return one.step is Step.GIVE_UP and one.to_state is State.FAILED


def _with(events: Iterable[ChartEvent], step: Step) -> Iterable[ChartEvent]:
    return (one for one in events if one.step is step)


def _counted(name: str, kind: str, happened: Iterable[ChartEvent], slots: Slots) -> Series:
    counts = [0.0] * len(slots.begins)
    for one in happened:
        place = slots.place(one.at)
        if place is not None:
            counts[place] += 1
    return Series(name, kind, tuple(counts))


def _total(series: Series) -> int:
    return int(sum(value or 0 for value in series.values))


def _analyses(events: Iterable[ChartEvent]) -> Iterable[tuple[datetime, float]]:
    """When each analysis ended, and its duration."""
    begun: dict[int, datetime] = {}
    for one in events:
        if one.step is Step.CLAIMED:
            begun[one.job_id] = one.at
        elif one.step in (Step.RESULTS_STORED, Step.WITHHELD) and one.job_id in begun:
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
    """The 95th percentile, nearest rank."""
    return sorted(values)[-(-95 * len(values) // 100) - 1]


def _whole(value: float) -> str:
    return f"{value:.0f}"
