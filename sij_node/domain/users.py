"""Users of the pages and the API: roles, sessions, tokens, and the change log.

Pure decisions. Secrets of sessions, tokens and invitations are random, shown to their owner once,
and stored as hashes only.
"""

import hashlib
import re
import secrets
from collections.abc import Hashable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from sij_node.config.user_roles import Role
from sij_node.domain.backoff import delay_after_s
from sij_node.errors import AccountUnusable, RoleTooLow, SignInNeeded

MIN_PASSWORD, MAX_PASSWORD = 12, 256
"""Characters of a password (NIST SP 800-63B asks for length, not for kinds of characters)."""
INVITATION_LASTS = timedelta(hours=24)
TOKEN_PREFIX = "sij_"  # noqa: S105 - lets a scanner for leaked secrets recognise one
_NAME = re.compile(r"[a-z0-9][a-z0-9._@+-]{0,63}")


@dataclass(frozen=True)
class User:
    """A user; never deleted, so that old changes keep their author.

    Parameters
    ----------
    password_hash
        By argon2id; empty until a password is set, and for users of OpenID Connect.
    openid_subject
        Issuer and subject at the provider; empty for users with a password.
    """

    name: str
    role: Role
    password_hash: str = field(repr=False)
    openid_subject: str
    disabled: bool
    created_at: datetime

    @property
    def status(self) -> str:
        """Whether and how the user can sign in."""
        if self.disabled:
            return "disabled"
        if self.openid_subject:
            return "OpenID Connect"
        return "password set" if self.password_hash else "invited"


@dataclass(frozen=True)
class Session:
    """A signed-in browser."""

    secret_hash: str = field(repr=False)
    user_name: str
    address: str
    created_at: datetime
    seen_at: datetime


@dataclass(frozen=True)
class Token:
    """An API token: a program acts as the user, with the user's role or a lower one."""

    token_id: int
    user_name: str
    label: str
    role: Role
    created_at: datetime
    expires_at: datetime
    used_at: datetime | None
    revoked_at: datetime | None

    def is_valid(self, now: datetime) -> bool:
        """Whether it can still be used."""
        return self.revoked_at is None and now < self.expires_at


@dataclass(frozen=True)
class CurrentUser:
    """The user of a request.

    Parameters
    ----------
    token_id
        The API token of the request; None for a session.
    address
        The client's address; empty if not known.
    """

    name: str
    role: Role
    token_id: int | None = None
    address: str = ""


def needed(person: CurrentUser | None, role: Role) -> CurrentUser:
    """The current user, if their role includes `role`.

    Raises
    ------
    SignInNeeded, RoleTooLow
    """
    if person is None:
        raise SignInNeeded("Not signed in, or the session has expired. Sign in and try again.")
    if not person.role.includes(role):
        raise RoleTooLow(
            f"This requires the role {role.value}; {person.name} has {person.role.value}. "
            "Ask an administrator."
        )
    return person


@dataclass(frozen=True)
class AdminChange:
    """An entry of the change log; it never identifies a patient.

    Parameters
    ----------
    action
        For example retry, cancel, reveal patient, add user.
    subject
        The object: ``job 41``, ``user meier``, ``peer ORTHANC``.
    """

    at: datetime
    who: str
    action: str
    subject: str
    note: str = ""


@dataclass(frozen=True)
class SessionLimits:
    """When a session expires: after idle time, and after a maximum time in any case."""

    idle: timedelta
    longest: timedelta

    def is_over(self, session: Session, now: datetime) -> bool:
        """Whether a session has expired. Setting back the clock ends it too."""
        unused, age = now - session.seen_at, now - session.created_at
        slack = timedelta(minutes=5)
        return unused > self.idle or age > self.longest or age < -slack

    def is_due(self, session: Session, now: datetime) -> bool:
        """Whether to store that it is used: not at every request."""
        return abs(now - session.seen_at) > self.idle / 20


def new_secret() -> str:
    """A random secret of 256 bits."""
    return secrets.token_urlsafe(32)


def hash_of(secret: str) -> str:
    """The stored hash of a random secret; no slow hash is needed, it cannot be guessed."""
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).hexdigest()


def checked_name(name: str) -> str:
    """A user's name in lower case.

    Raises
    ------
    AccountUnusable
    """
    lower = name.strip().lower()
    if not _NAME.fullmatch(lower):
        raise AccountUnusable(
            "A user's name has 1 to 64 characters of a-z, 0-9 and . _ @ + -, and begins with a "
            "letter or digit. Choose another."
        )
    return lower


def check_password(password: str, name: str) -> None:
    """Accept a new password or say what is wrong with it.

    Raises
    ------
    AccountUnusable
    """
    if not MIN_PASSWORD <= len(password) <= MAX_PASSWORD:
        raise AccountUnusable(
            f"A password has {MIN_PASSWORD} to {MAX_PASSWORD} characters; this one has "
            f"{len(password)}. A passphrase is easy to remember."
        )
    if len(set(password)) < 5 or name in password.lower():
        raise AccountUnusable(
            "This password is easy to guess: it repeats a few characters or contains the user "
            "name. Choose another."
        )


@dataclass(frozen=True)
class _Failures:
    count: int
    last_s: float


class SignInThrottle:
    """The wait before the next sign-in after failed attempts.

    A few failures are free; then the wait doubles with each, up to a limit, so nobody is locked
    out for good. What is known is kept in memory and bounded; time is monotonic.
    """

    def __init__(
        self, free: int = 5, first_wait_s: float = 1, max_wait_s: float = 60, kept: int = 10_000
    ) -> None:
        self._free, self._first_wait_s, self._max_wait_s = free, first_wait_s, max_wait_s
        self._kept = kept
        self._failures: dict[Hashable, _Failures] = {}

    def wait_s(self, key: Hashable, now_s: float) -> float:
        """Seconds until `key` may try again; 0 when it may now."""
        failures = self._failures.get(key)
        if failures is None or failures.count < self._free:
            return 0.0
        costly = failures.count - self._free + 1
        pause_s = delay_after_s(costly, self._first_wait_s, self._max_wait_s)
        return max(0.0, failures.last_s + pause_s - now_s)

    def count(self, key: Hashable, now_s: float) -> None:
        """Count an attempt as failed until `forgive` is called for it.

        It counts before the password is checked, so that parallel attempts are throttled as well.
        The key longest without any is forgotten when there are too many.
        """
        before = self._failures.pop(key, _Failures(0, now_s))
        if len(self._failures) >= self._kept:
            del self._failures[next(iter(self._failures))]
        count = 0 if now_s - before.last_s > 3600 else before.count
        self._failures[key] = _Failures(count + 1, now_s)

    def forgive(self, key: Hashable) -> None:
        """Count one attempt of `key` less."""
        failures = self._failures.get(key)
        if failures is not None:
            self._failures[key] = replace(failures, count=max(0, failures.count - 1))

    def succeeded(self, key: Hashable) -> None:
        """Forget the failures of `key`."""
        self._failures.pop(key, None)
