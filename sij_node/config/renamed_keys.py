"""Keys of config.toml that were renamed: the old ones are refused, naming the new one."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

RENAMED_KEYS: Mapping[str, str] = MappingProxyType(
    {
        "profile.like": "based_on",
        "study.pair_quiet_s": "stable_age_s",
        "study.quiet_s": "stable_age_without_pair_s",
        "worker.study_limit_s": "analysis_timeout_s",
        "retry.first_wait_s": "initial_delay_s",
        "retry.max_wait_s": "max_delay_s",
        "priors.limit_s": "timeout_s",
        "priors.most_studies": "max_studies",
        "spool.keep_days": "retention_days",
        "web.names": "host_names",
        "web.idle_minutes": "idle_timeout_minutes",
        "web.session_hours": "max_session_hours",
        "web.openid.name_claim": "username_claim",
        "health.silent_s": "heartbeat_timeout_s",
        "health.queue_minutes": "max_queue_minutes",
        "health.destination_minutes": "destination_down_minutes",
        "health.free_mb": "low_disk_mb",
        "alarms": "alerts",
        "alarms.settle_minutes": "debounce_minutes",
        "alarms.remind_hours": "repeat_hours",
        "alerts.settle_minutes": "debounce_minutes",
        "alerts.remind_hours": "repeat_hours",
        "metrics.keep_s": "cache_s",
        "audit.keep_days": "retention_days",
    }
)
"""Old key, with its section, and the new name of the key or section."""


def with_current_names(settings: Mapping[str, Any]) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Settings under their current names, so that their values can be checked as well.

    Parameters
    ----------
    settings
        config.toml as TOML gives it.

    Returns
    -------
    tuple
        The settings, and a message for each renamed key found.
    """
    found: list[str] = []
    return _renamed(settings, "", found), tuple(found)


def _renamed(section: Mapping[str, Any], place: str, found: list[str]) -> dict[str, Any]:
    renamed: dict[str, Any] = {}
    for key, value in section.items():
        path = f"{place}{key}"
        if path in RENAMED_KEYS:
            found.append(f"{path}: {key} has been renamed to {RENAMED_KEYS[path]}")
        renamed.setdefault(RENAMED_KEYS.get(path, key), _inside(value, f"{path}.", found))
    return renamed


def _inside(value: Any, place: str, found: list[str]) -> Any:
    if isinstance(value, Mapping):
        return _renamed(value, place, found)
    if isinstance(value, list):
        return [_inside(one, place, found) for one in value]
    return value
