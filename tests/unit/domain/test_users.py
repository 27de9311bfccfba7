"""Users: permissions of roles, expiry of sessions and tokens, and delays after failed sign-ins."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sij_node.config.user_roles import Role
from sij_node.domain.users import (
    CurrentUser,
    Session,
    SessionLimits,
    SignInThrottle,
    Token,
    check_password,
    checked_name,
    needed,
)
from sij_node.errors import AccountUnusable, RoleTooLow, SignInNeeded

NOON = datetime(2024, 5, 6, 12, tzinfo=UTC)
LIMITS = SessionLimits(idle=timedelta(minutes=30), longest=timedelta(hours=12))
SESSION = Session("hash", "meier", "10.0.0.1", NOON, NOON)
TOKEN = Token(1, "meier", "scripts", Role.VIEWER, NOON, NOON + timedelta(days=1), None, None)


@pytest.mark.parametrize(
    ("role", "may"),
    [
        (Role.VIEWER, [Role.VIEWER]),
        (Role.READER, [Role.VIEWER, Role.READER]),
        (Role.OPERATOR, [Role.VIEWER, Role.READER, Role.OPERATOR]),
        (Role.ADMINISTRATOR, list(Role)),
    ],
)
def test_a_role_may_do_what_lesser_roles_may(role: Role, may: list[Role]):
    assert [other for other in Role if role.includes(other)] == may


def test_without_a_role_nothing_is_permitted():
    with pytest.raises(SignInNeeded):
        needed(None, Role.VIEWER)


def test_a_viewer_may_not_operate():
    with pytest.raises(RoleTooLow, match="operator"):
        needed(CurrentUser("meier", Role.VIEWER), Role.OPERATOR)


def test_a_session_lasts_as_long_as_it_is_used():
    used = replace(SESSION, seen_at=NOON + timedelta(hours=3))

    assert not LIMITS.is_over(used, NOON + timedelta(hours=3, minutes=29))


def test_a_session_that_is_not_used_ends():
    assert LIMITS.is_over(SESSION, NOON + timedelta(minutes=31))


def test_a_session_ends_after_its_longest_time_though_it_is_used():
    evening = NOON + timedelta(hours=12, minutes=1)

    assert LIMITS.is_over(replace(SESSION, seen_at=evening), evening)


def test_a_session_of_the_future_is_not_believed():
    assert LIMITS.is_over(SESSION, NOON - timedelta(hours=1))


def test_a_token_opens_until_it_expires_or_is_revoked():
    assert TOKEN.is_valid(NOON + timedelta(hours=23))
    assert not TOKEN.is_valid(NOON + timedelta(hours=25))
    assert not replace(TOKEN, revoked_at=NOON).is_valid(NOON + timedelta(hours=1))


@pytest.mark.parametrize("name", ["", " ", "-x", "a b", "<script>", "a" * 65, "a\x00b", "ä", "a/b"])
def test_a_name_that_could_mislead_is_refused(name: str):
    with pytest.raises(AccountUnusable):
        checked_name(name)


def test_names_do_not_differ_in_case_alone():
    assert checked_name(" Meier@Hospital.example ") == "meier@hospital.example"


@pytest.mark.parametrize(
    "password", ["", "short", "a" * 40, "abab" * 10, "xx-meier-xx-yy", "x" * 300]
)
def test_a_password_that_is_easy_to_guess_is_refused(password: str):
    with pytest.raises(AccountUnusable):
        check_password(password, "meier")


def test_a_few_words_are_a_good_password():
    check_password("correct horse battery", "meier")


def test_a_few_wrong_attempts_cost_no_time():
    throttle = SignInThrottle(free=5)
    for _ in range(4):
        throttle.count("meier", 0)

    assert throttle.wait_s("meier", 0) == 0


def test_each_further_wrong_attempt_doubles_the_wait_up_to_a_limit():
    throttle = SignInThrottle(free=2, first_wait_s=1, max_wait_s=60)
    waits = []
    for _ in range(12):
        throttle.count("meier", 0)
        waits.append(throttle.wait_s("meier", 0))

    assert waits == [0, 1, 2, 4, 8, 16, 32, 60, 60, 60, 60, 60]


@given(failures=st.integers(0, 500), later_s=st.floats(60, 1e6))
def test_no_user_is_locked_out_for_longer_than_a_minute(failures: int, later_s: float):
    throttle = SignInThrottle(max_wait_s=60)
    for _ in range(failures):
        throttle.count("meier", 100)

    assert throttle.wait_s("meier", 100 + later_s) == 0


def test_a_success_forgets_the_failures():
    throttle = SignInThrottle(free=1)
    throttle.count("meier", 0)
    throttle.succeeded("meier")

    assert throttle.wait_s("meier", 0) == 0


def test_a_flood_of_names_does_not_fill_the_memory():
    throttle = SignInThrottle(free=1, kept=100)
    for number in range(1000):
        throttle.count(number, 0)

    assert [number for number in range(1000) if throttle.wait_s(number, 0) > 0] == list(
        range(900, 1000)
    )
