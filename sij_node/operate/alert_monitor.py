"""The alert monitor: checks the node every half minute and sends alerts."""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import structlog

from sij_node.config.settings import AlertsConfig, Config
from sij_node.config.value_types import WEEKDAYS
from sij_node.domain.alerts import (
    FAILED_JOBS,
    ActiveAlert,
    FailedJob,
    ReportedAlert,
    WorkingHours,
    alerts_of,
    changed_sender,
    message_of,
    silent_sender,
    with_failed_jobs,
)
from sij_node.domain.backoff import next_delay_s
from sij_node.domain.drift import shifts
from sij_node.domain.health import Component, HealthStatus
from sij_node.domain.job import StallDetector
from sij_node.errors import AlertNotSent, DatabaseUnavailable
from sij_node.operate.alert_channels import Channel
from sij_node.operate.health_check import check_health
from sij_node.store.alert_table import AlertTable
from sij_node.store.database import Database
from sij_node.store.drift_figures import histories
from sij_node.store.spool import Spool

log = structlog.get_logger()

CHECK_ALERTS_S = 30.0
DRIFT_S = 600.0
FIRST_WAIT_S, LONGEST_WAIT_S = 30.0, 900.0
_LONGEST_GAP_S = 4 * CHECK_ALERTS_S
_SEEN_WITHOUT_DATABASE = (Component.DATABASE.value, Component.SPOOL.value, Component.DISK.value)


@dataclass
class _ChannelState:
    """A channel, what it has reported, and its delay after a failure.

    `known` is kept in memory as well, so that an outage of the database can be reported.
    """

    channel: Channel
    known: Mapping[str, ReportedAlert] | None = None
    wait_s: float = 0.0
    not_before: float = float("-inf")
    resolved: StallDetector = field(default_factory=lambda: StallDetector(_LONGEST_GAP_S))


@dataclass(frozen=True)
class _CheckedNode:
    """The problems found by one check, how long they have lasted, and whether it was complete."""

    found: Mapping[str, ActiveAlert]
    lasted_s: Mapping[str, float]
    is_complete: bool


class AlertMonitor:
    """Sends alerts by every channel; what cannot be sent now is sent later.

    Parameters
    ----------
    wall
        Current time in UTC, for messages, working hours and repetitions.
    clock
        Monotonic seconds, for everything else.
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
        self._channels = [_ChannelState(channel) for channel in channels]
        self._wall = wall
        self._clock = clock
        self._lasting = StallDetector(_LONGEST_GAP_S)
        self._drift: tuple[float, tuple[ActiveAlert, ...]] = (float("-inf"), ())

    def check_and_send(self) -> None:
        """Check once and send what is due; a failing channel does not affect the others."""
        if not self._channels:
            return
        checked = self._check()
        for state in self._channels:
            if self._clock() >= state.not_before:
                self._send(state, checked)

    # ---- checking ------------------------------------------------------------------------

    def _check(self) -> _CheckedNode:
        report = check_health(self._config, self._database, self._spool)
        found = list(alerts_of(report.conditions))
        is_complete = not report.facts.database_error
        if is_complete:
            found += [*self._silent_senders(), *self._changed_senders()]
        now = self._clock()
        self._lasting.keep_only(problem.key for problem in found)
        return _CheckedNode(
            {one.key: one for one in found},
            {one.key: self._lasting.still_for_s(one.key, "", now) for one in found},
            is_complete,
        )

    def _silent_senders(self) -> Iterable[ActiveAlert]:
        hours = self._alerts.silent_sender_hours
        if not hours:
            return
        calendar = calendar_of(self._alerts)
        last = self._table.last_studies()
        for peer in self._config.peer:
            if peer.ae_title in last:
                problem = silent_sender(
                    peer.ae_title, last[peer.ae_title], self._wall(), hours, calendar
                )
                if problem is not None:
                    yield problem

    def _changed_senders(self) -> tuple[ActiveAlert, ...]:
        """Checked only now and then, because hundreds of studies are read for it."""
        now = self._clock()
        if self._alerts.drift and now - self._drift[0] >= DRIFT_S:
            senders = [peer.ae_title for peer in self._config.peer]
            known = histories(self._database, senders)
            found = (changed_sender(sender, shifts(history)) for sender, history in known.items())
            self._drift = now, tuple(problem for problem in found if problem is not None)
        return self._drift[1]

    # ---- sending -------------------------------------------------------------------------

    def _send(self, state: _ChannelState, checked: _CheckedNode) -> None:
        known = self._known(state)
        now = self._wall()
        repeat = timedelta(hours=self._alerts.repeat_hours)
        message = message_of(self._debounced(state, checked, known), known, now, repeat)
        failed = self._failed_since(known)
        message = with_failed_jobs(message, failed, now, self._alerts.patient_data)
        if not message.lines:
            return
        try:
            state.channel.send(message.lines)
        except AlertNotSent as error:
            self._wait(state, error)
            return
        state.wait_s, state.known = 0.0, message.known
        log.info("alert sent", channel=state.channel.name, objects=len(message.lines))
        self._remember(state)

    def _debounced(
        self, state: _ChannelState, checked: _CheckedNode, known: Mapping[str, ReportedAlert]
    ) -> Iterable[ActiveAlert]:
        """Current problems after debouncing: neither short problems nor short recoveries count."""
        debounce_s = self._alerts.debounce_minutes * 60
        for key, problem in checked.found.items():
            if key in known or checked.lasted_s[key] >= debounce_s:
                yield problem
        missing = [key for key in known if key not in checked.found and key != FAILED_JOBS]
        state.resolved.keep_only(missing)
        for key in missing:
            resolved_s = state.resolved.still_for_s(key, "", self._clock())
            is_not_checked = not checked.is_complete and not key.startswith(_SEEN_WITHOUT_DATABASE)
            if is_not_checked or resolved_s < debounce_s:
                yield ActiveAlert(key, known[key].status, known[key].message, "")

    def _known(self, state: _ChannelState) -> Mapping[str, ReportedAlert]:
        """What a channel has reported; at first, jobs that failed before count as reported."""
        if state.known is None:
            try:
                state.known = self._table.known(state.channel.name)
                if FAILED_JOBS not in state.known:
                    state.known = {**state.known, FAILED_JOBS: self._nothing_failed_yet()}
                    self._table.remember(state.channel.name, state.known)
            except DatabaseUnavailable:
                return {}
        return state.known

    def _nothing_failed_yet(self) -> ReportedAlert:
        long_ago = self._wall() - timedelta(days=1)
        last = self._table.last_step()
        return ReportedAlert(FAILED_JOBS, HealthStatus.OK, "", long_ago, long_ago, last)

    def _failed_since(self, known: Mapping[str, ReportedAlert]) -> Sequence[FailedJob]:
        if FAILED_JOBS not in known:
            return ()
        try:
            return self._table.failed_since(known[FAILED_JOBS].last_step_id)
        except DatabaseUnavailable:
            return ()

    def _remember(self, state: _ChannelState) -> None:
        """Save what was reported; during an outage of the database it is kept in memory."""
        if state.known is None:
            return
        try:
            self._table.remember(state.channel.name, state.known)
        except DatabaseUnavailable as error:
            log.warning("alert state not saved", channel=state.channel.name, reason=str(error))

    def _wait(self, state: _ChannelState, error: AlertNotSent) -> None:
        if not state.wait_s:
            log.error("alert failed", channel=state.channel.name, reason=str(error))
        state.wait_s = next_delay_s(state.wait_s, FIRST_WAIT_S, LONGEST_WAIT_S)
        state.not_before = self._clock() + state.wait_s


def calendar_of(config: AlertsConfig) -> WorkingHours:
    """Working hours of the site."""
    first, last = config.working_hours
    days = frozenset(WEEKDAYS.index(day) for day in config.working_days)
    return WorkingHours(ZoneInfo(config.time_zone), days, first, last)
