"""Users, invitations, passwords, sessions and API tokens."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from sij_node.audit import messages as audit
from sij_node.config.user_roles import Role
from sij_node.domain.users import (
    INVITATION_LASTS,
    TOKEN_PREFIX,
    AdminChange,
    CurrentUser,
    Session,
    SessionLimits,
    SignInThrottle,
    Token,
    User,
    check_password,
    checked_name,
    hash_of,
    new_secret,
)
from sij_node.errors import (
    AccountUnusable,
    RoleTooLow,
    SignInFailed,
    SignInThrottled,
    UnknownUser,
)
from sij_node.store.user_table import UserTable

FIRST_USER = "admin"
_PROVIDER = "identity provider"
"""Recorded as the author when a user is added or changes role at sign-in."""
AT_ONCE = 2
"""Password hashes computed at a time: each takes 64 MB and most of a core."""
MAX_WAITING = 16
"""Concurrent sign-ins; further ones are refused for a moment, so that pages keep their threads."""
LONGEST_TOKEN = timedelta(days=366)


@dataclass(frozen=True)
class Authentication:
    """Authentication of users and programs.

    Parameters
    ----------
    monotonic
        Seconds; for the waits after failed attempts.
    record
        Takes messages of the audit trail.
    """

    table: UserTable
    limits: SessionLimits
    clock: Callable[[], datetime]
    monotonic: Callable[[], float]
    record: Callable[[audit.AuditMessage], None]
    hasher: PasswordHasher = field(default_factory=PasswordHasher)
    throttle: SignInThrottle = field(default_factory=SignInThrottle)
    by_address: SignInThrottle = field(default_factory=lambda: SignInThrottle(free=30))
    by_name: SignInThrottle = field(default_factory=lambda: SignInThrottle(free=30))
    _turn: threading.BoundedSemaphore = field(
        default_factory=lambda: threading.BoundedSemaphore(AT_ONCE)
    )
    _waiting: threading.BoundedSemaphore = field(
        default_factory=lambda: threading.BoundedSemaphore(MAX_WAITING)
    )
    _counting: threading.Lock = field(default_factory=threading.Lock)

    # ---- users ---------------------------------------------------------------------------

    def first_invitation(self) -> str | None:
        """An invitation for the first administrator; None once there is one."""
        if self.table.has_administrator():
            return None
        try:
            self.table.user(FIRST_USER)
        except UnknownUser:
            return self.add(FIRST_USER, Role.ADMINISTRATOR, "first start")
        return self._invite(FIRST_USER)

    def users(self) -> tuple[User, ...]:
        """All users, by name."""
        return self.table.users()

    def add(self, name: str, role: Role, who: str) -> str:
        """Add a user; returns the secret of the invitation to set a password.

        Raises
        ------
        AccountUnusable
            If the name is taken or not allowed.
        """
        user = User(checked_name(name), role, "", "", disabled=False, created_at=self.clock())
        self.table.add_user(user, self._change(who, "add user", f"user {user.name}", role.value))
        return self._invite(user.name)

    def invite_again(self, name: str, who: str) -> str:
        """A new invitation; the old password stays valid until a new one is set.

        Raises
        ------
        UnknownUser, AccountUnusable
        """
        user = self.table.user(checked_name(name))
        if user.openid_subject:
            raise AccountUnusable(
                f"User {user.name} signs in by OpenID Connect and has no password here. "
                "Change it at the identity provider."
            )
        return self._invite(user.name, self._change(who, "invite user", f"user {user.name}"))

    def set_role(self, name: str, role: Role, who: str) -> None:
        """Change a user's role; raises `UnknownUser`."""
        known = _another(checked_name(name), who)
        self.table.set_role(known, role, self._change(who, "set role", f"user {known}", role.value))

    def disable(self, name: str, who: str) -> None:
        """Disable a user at once: sessions and tokens end; raises `UnknownUser`."""
        known = _another(checked_name(name), who)
        self.table.set_disabled(known, True, self._change(who, "disable user", f"user {known}"))

    def enable(self, name: str, who: str) -> None:
        """Enable a user again; raises `UnknownUser`."""
        known = checked_name(name)
        self.table.set_disabled(known, False, self._change(who, "enable user", f"user {known}"))

    # ---- passwords -----------------------------------------------------------------------

    def invited(self, secret: str) -> User:
        """The user who was invited.

        Raises
        ------
        AccountUnusable
            If the invitation was used or has expired.
        """
        user = self.table.invited(hash_of(secret), self.clock())
        if user is None:
            raise _spent()
        return user

    def accept_invitation(self, secret: str, password: str, address: str) -> str:
        """Set a password and use up the invitation; returns the secret of a session.

        Raises
        ------
        AccountUnusable
            If the invitation is not valid or the password not allowed.
        """
        user = self.invited(secret)
        check_password(password, user.name)
        with self._turn:
            password_hash = self.hasher.hash(password)
        change = self._change(user.name, "set password", f"user {user.name}")
        if not self.table.accept_invitation(hash_of(secret), password_hash, user.name, change):
            raise _spent()
        return self.open_session(user, address)

    def sign_in(self, name: str, password: str, address: str, device: str = "") -> str:
        """Open a session by name and password; returns its secret.

        Parameters
        ----------
        device
            Identifies a browser from which this user has signed in before. It is not throttled
            by failed attempts from elsewhere under the same name.

        Raises
        ------
        SignInFailed
            With the same message whatever was wrong.
        SignInThrottled
            After too many failed attempts.
        """
        given = name.strip().lower()[:64]
        self._start_attempt(given, address, device)
        user = self._user_or_none(given)
        if not self._is_right(user, password[:1024]) or user is None:
            self.record(audit.user_authentication(given, address, failure="wrong password"))
            raise SignInFailed(
                "Wrong name or password. Try again, or ask an administrator for a new link."
            )
        with self._counting:
            self.throttle.succeeded((given, device or address))
            self.by_address.forgive(address)
            self.by_name.forgive(given)
        return self.open_session(user, address)

    def sign_in_by_provider(self, subject: str, name: str, role: Role, address: str) -> str:
        """Open a session for a user authenticated by an identity provider.

        A new user is added; the role given by the provider applies.

        Parameters
        ----------
        subject
            Issuer and subject, which never change.

        Raises
        ------
        SignInFailed
            If the user is disabled here, or the name belongs to another user.
        """
        user = self.table.user_of_subject(subject) or self._add_by_subject(subject, name, role)
        if user.disabled:
            raise SignInFailed(f"User {user.name} is disabled on this node. Ask an administrator.")
        if user.role is not role:
            self.set_role(user.name, role, _PROVIDER)
        return self.open_session(user, address)

    # ---- sessions ------------------------------------------------------------------------

    def open_session(self, user: User, address: str) -> str:
        """Open a session for an authenticated user; returns its secret."""
        secret, now = new_secret(), self.clock()
        session = Session(hash_of(secret), user.name, address, now, now)
        self.table.open_session(session, now - self.limits.longest)
        self.record(audit.user_authentication(user.name, address))
        return secret

    def person_of_session(self, secret: str, noticed: bool = True) -> CurrentUser | None:
        """The user of a session; None if it has ended.

        Parameters
        ----------
        noticed
            Whether this counts as use; polling does not.
        """
        found = self.table.session(hash_of(secret))
        if found is None:
            return None
        session, user = found
        now = self.clock()
        if self.limits.is_over(session, now):
            self.table.close_session(session.secret_hash)
            return None
        if noticed and self.limits.is_due(session, now):
            self.table.note_use(session, now)
        return CurrentUser(user.name, user.role)

    def sign_out(self, secret: str, address: str) -> None:
        """End a session, unless it has ended already."""
        found = self.table.session(hash_of(secret))
        if found is not None:
            self.table.close_session(hash_of(secret))
            self.record(audit.user_authentication(found[1].name, address, login=False))

    # ---- tokens --------------------------------------------------------------------------

    def add_token(
        self, person: CurrentUser, label: str, role: Role, lasts: timedelta
    ) -> tuple[Token, str]:
        """Create an API token; its secret is shown only once.

        Raises
        ------
        RoleTooLow
            If the token's role is above the user's.
        """
        if not person.role.includes(role):
            raise RoleTooLow(
                f"Your role is {person.role.value}; a token cannot have the role {role.value}. "
                "Choose a role that is not above your own."
            )
        now, secret = self.clock(), TOKEN_PREFIX + new_secret()
        expires_at = now + min(lasts, LONGEST_TOKEN)
        wanted = Token(0, person.name, label, role, now, expires_at, None, None)
        change = self._change(person.name, "add token", f"user {person.name}", role.value)
        return self.table.add_token(wanted, hash_of(secret), change), secret

    def tokens(self, person: CurrentUser) -> tuple[Token, ...]:
        """A user's tokens, newest first."""
        return self.table.tokens(person.name)

    def revoke_token(self, person: CurrentUser, token_id: int) -> bool:
        """Revoke one of a user's tokens; False if there is no such valid token."""
        change = self._change(person.name, "revoke token", f"token {token_id}")
        return self.table.revoke_token(person.name, token_id, self.clock(), change)

    def person_of_token(self, secret: str) -> CurrentUser | None:
        """The user of a token; None if it is not valid."""
        found = self.table.token(hash_of(secret))
        if found is None:
            return None
        token, user = found
        now = self.clock()
        if not token.is_valid(now):
            return None
        if token.used_at is None or abs(now - token.used_at) > timedelta(minutes=5):
            self.table.note_token_use(token.token_id, now)
        role = token.role if user.role.includes(token.role) else user.role
        return CurrentUser(user.name, role, token.token_id)

    # ---- within --------------------------------------------------------------------------

    def _add_by_subject(self, subject: str, name: str, role: Role) -> User:
        try:
            user = User(checked_name(name), role, "", subject, False, self.clock())
            change = self._change(_PROVIDER, "add user", f"user {user.name}", role.value)
            self.table.add_user(user, change)
        except AccountUnusable as error:
            raise SignInFailed(
                f"The user name from the identity provider cannot be used: {error}"
            ) from error
        return user

    def _invite(self, name: str, change: AdminChange | None = None) -> str:
        secret = new_secret()
        self.table.invite(name, hash_of(secret), self.clock() + INVITATION_LASTS, change)
        return secret

    def _change(self, who: str, action: str, subject: str, note: str = "") -> AdminChange:
        """A change about to be made; it is recorded in the audit trail."""
        what = f"{action} {subject} {note}".strip()
        self.record(
            audit.security_alert(audit.SecurityAlert.USER_CHANGED, what, audit.HumanUser(who))
        )
        return AdminChange(self.clock(), who, action, subject, note)

    def _user_or_none(self, name: str) -> User | None:
        try:
            user = self.table.user(checked_name(name))
        except (UnknownUser, AccountUnusable):
            return None
        return None if user.disabled or not user.password_hash else user

    def _is_right(self, user: User | None, password: str) -> bool:
        """Whether a password is correct; takes as long for unknown users."""
        with self._place_in_line(), self._turn:
            if user is None:
                self.hasher.hash(password)
                return False
            try:
                self.hasher.verify(user.password_hash, password)
            except (VerificationError, InvalidHashError):
                return False
            if self.hasher.check_needs_rehash(user.password_hash):
                self.table.renew_hash(user.name, self.hasher.hash(password))
            return True

    @contextmanager
    def _place_in_line(self) -> Iterator[None]:
        if not self._waiting.acquire(blocking=False):
            raise SignInThrottled("Many users are signing in. Wait 5 seconds and try again.", 5)
        try:
            yield
        finally:
            self._waiting.release()

    def _start_attempt(self, name: str, address: str, device: str) -> None:
        """Count an attempt, or raise `SignInThrottled` if it must wait."""
        now_s = self.monotonic()
        with self._counting:
            self._check_waits(name, address, device, now_s)
            self.throttle.count((name, device or address), now_s)
            self.by_address.count(address, now_s)
            self.by_name.count(name, now_s)

    def _check_waits(self, name: str, address: str, device: str, now_s: float) -> None:
        waits = [self.throttle.wait_s((name, device or address), now_s)]
        if not device:
            waits += [self.by_address.wait_s(address, now_s), self.by_name.wait_s(name, now_s)]
        if max(waits) > 0:
            raise SignInThrottled(
                f"Too many failed attempts. Wait {max(waits):.0f} seconds and try again.",
                max(waits),
            )


def _another(name: str, who: str) -> str:
    """A name other than the user's own, so that no one locks themselves out by mistake."""
    if name == who:
        raise AccountUnusable(
            "You cannot disable yourself or change your own role. Ask another administrator."
        )
    return name


def _spent() -> AccountUnusable:
    return AccountUnusable(
        "This invitation was used or has expired (24 hours). Ask an administrator "
        "for a new one (`sij-node users reset NAME`)."
    )
