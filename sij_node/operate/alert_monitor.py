"""The watchman: looks at the node every half minute, and tells people what is wrong."""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import structlog

from sij_node.config.settings import WEEKDAYS, AlertsConfig, Config
from sij_node.domain.alerts import (
    FAILED_JOBS,
    ActiveAlert,
    Episode,
    FailedJob,
    WorkingHours,
    drift_of,
    notice_of,
    silence_of,
    troubles_of,
    with_failed_jobs,
)
from sij_node.domain.drift import shifts
from sij_node.domain.health import Component, HealthStatus
from sij_node.domain.job import StallDetector
from sij_node.errors import DatabaseUnavailable, NoticeNotSent
from sij_node.operate.alert_channels import Channel
from sij_node.operate.health_check import check_up
from sij_node.store.alert_table import AlertTable
from sij_node.store.database import Database
from sij_node.store.drift_figures import histories
from sij_node.store.spool import Spool

log = structlog.get_logger()

LOOK_S = 30.0
DRIFT_S = 600.0
FIRST_WAIT_S, LONGEST_WAIT_S = 30.0, 900.0
_LONGEST_GAP_S = 4 * LOOK_S
_SEEN_WITHOUT_DATABASE = (Component.DATABASE.value, Component.SPOOL.value, Component.DISK.value)


@dataclass
class _Line:
    """One way of telling, what it has told, and how long it waits after a failure.

    `known` is kept in memory too, so that an outage of the database can be told.
    """

    channel: Channel
    known: Mapping[str, Episode] | None = None
    wait_s: float = 0.0
    not_before: float = float("-inf")
    gone: StallDetector = field(default_factory=lambda: StallDetector(_LONGEST_GAP_S))


@dataclass(frozen=True)
class _Sight:
    """What was found at one look, for how long already, and whether all could be looked at."""

    found: Mapping[str, ActiveAlert]
    standing_s: Mapping[str, float]
    is_whole: bool


class AlertMonitor:
    """Tells what is wrong by every channel; what cannot be told now is told later.

    Parameters
    ----------
    wall
        Now, in UTC: told to people, and the measure of working hours and reminders.
    clock
        Monotonic seconds: the measure of everything else.
    """

    def __init__(
        self,
        config: Config,
        database: Database,
        spool: Spool,
        channels: Sequence[Channel],
        wall: Callable[[], datetime] = lambda: datetime.now(UTC),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._config = config
        self._alerts = config.alerts
        self._database = database
        self._table = AlertTable(database)
        self._spool = spool
        self._lines = [_Line(channel) for channel in channels]
        self._wall = wall
        self._clock = clock
        self._standing = StallDetector(_LONGEST_GAP_S)
        self._drift: tuple[float, tuple[ActiveAlert, ...]] = (float("-inf"), ())

    def look(self) -> None:
        """Look once, and tell what has to be told; a channel that fails disturbs no other."""
        if not self._lines:
            return
        sight = self._sight()
        for line in self._lines:
            if self._clock() >= line.not_before:
                self._tell(line, sight)

    # ---- looking -------------------------------------------------------------------------

    def _sight(self) -> _Sight:
        checkup = check_up(self._config, self._database, self._spool)
        found = list(troubles_of(checkup.conditions))
        is_whole = not checkup.facts.database_error
        if is_whole:
            found += [*self._silences(), *self._drifts()]
        now = self._clock()
        self._standing.keep_only(trouble.key for trouble in found)
        return _Sight(
            {one.key: one for one in found},
            {one.key: self._standing.still_for_s(one.key, "", now) for one in found},
            is_whole,
        )

    def _silences(self) -> Iterable[ActiveAlert]:
        hours = self._alerts.silent_sender_hours
        if not hours:
            return
        calendar = calendar_of(self._alerts)
        last = self._table.last_studies()
        for peer in self._config.peer:
            if peer.ae_title in last:
                trouble = silence_of(
                    peer.ae_title, last[peer.ae_title], self._wall(), hours, calendar
                )
                if trouble is not None:
                    yield trouble

    def _drifts(self) -> tuple[ActiveAlert, ...]:
        """Looked at now and then only: hundreds of studies are read for it."""
        now = self._clock()
        if self._alerts.drift and now - self._drift[0] >= DRIFT_S:
            senders = [peer.ae_title for peer in self._config.peer]
            known = histories(self._database, senders)
            found = (drift_of(sender, shifts(history)) for sender, history in known.items())
            self._drift = now, tuple(trouble for trouble in found if trouble is not None)
        return self._drift[1]

    # ---- telling -------------------------------------------------------------------------

    def _tell(self, line: _Line, sight: _Sight) -> None:
        known = self._known(line)
        now = self._wall()
        remind = timedelta(hours=self._alerts.repeat_hours)
        notice = notice_of(self._counting(line, sight, known), known, now, remind)
        failed = self._failed_since(known)
        notice = with_failed_jobs(notice, failed, now, self._alerts.patient_data)
        if not notice.lines:
            return
        try:
            line.channel.send(notice.lines)
        except NoticeNotSent as error:
            self._wait(line, error)
            return
        line.wait_s, line.known = 0.0, notice.known
        log.info("people told", channel=line.channel.name, objects=len(notice.lines))
        self._remember(line)

    def _counting(
        self, line: _Line, sight: _Sight, known: Mapping[str, Episode]
    ) -> Iterable[ActiveAlert]:
        """What counts as standing: not what flickers up, and still what flickers away."""
        settled_s = self._alerts.debounce_minutes * 60
        for key, trouble in sight.found.items():
            if key in known or sight.standing_s[key] >= settled_s:
                yield trouble
        missing = [key for key in known if key not in sight.found and key != FAILED_JOBS]
        line.gone.keep_only(missing)
        for key in missing:
            gone_s = line.gone.still_for_s(key, "", self._clock())
            is_out_of_sight = not sight.is_whole and not key.startswith(_SEEN_WITHOUT_DATABASE)
            if is_out_of_sight or gone_s < settled_s:
                yield ActiveAlert(key, known[key].verdict, known[key].words, "")

    def _known(self, line: _Line) -> Mapping[str, Episode]:
        """What a channel has told; the first time ever, jobs that failed before count as told."""
        if line.known is None:
            try:
                line.known = self._table.known(line.channel.name)
                if FAILED_JOBS not in line.known:
                    line.known = {**line.known, FAILED_JOBS: self._nothing_failed_yet()}
                    self._table.remember(line.channel.name, line.known)
            except DatabaseUnavailable:
                return {}
        return line.known

    def _nothing_failed_yet(self) -> Episode:
        long_ago = self._wall() - timedelta(days=1)
        mark = self._table.last_step()
        return Episode(FAILED_JOBS, HealthStatus.OK, "", long_ago, long_ago, mark)

    def _failed_since(self, known: Mapping[str, Episode]) -> Sequence[FailedJob]:
        if FAILED_JOBS not in known:
            return ()
        try:
            return self._table.failed_since(known[FAILED_JOBS].mark)
        except DatabaseUnavailable:
            return ()

    def _remember(self, line: _Line) -> None:
        """Write down what was told; if the database is away, memory has it until it is back."""
        if line.known is None:
            return
        try:
            self._table.remember(line.channel.name, line.known)
        except DatabaseUnavailable as error:
            log.warning("notice not remembered", channel=line.channel.name, reason=str(error))

    def _wait(self, line: _Line, error: NoticeNotSent) -> None:
        if not line.wait_s:
            log.error("people not told", channel=line.channel.name, reason=str(error))
        line.wait_s = min(max(FIRST_WAIT_S, line.wait_s * 2), LONGEST_WAIT_S)
        line.not_before = self._clock() + line.wait_s


def calendar_of(config: AlertsConfig) -> WorkingHours:
    """When the site works."""
    first, last = config.working_hours
    days = frozenset(WEEKDAYS.index(day) for day in config.working_days)
    return WorkingHours(ZoneInfo(config.time_zone), days, first, last)
