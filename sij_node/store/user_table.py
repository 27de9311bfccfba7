"""Users, their sessions, invitations and API tokens.

Each method is one transaction. Secrets are passed as hashes only.
"""

from datetime import datetime

from sqlalchemy import Connection, delete, func, insert, select, update

from sij_node.config.user_roles import Role
from sij_node.domain.users import AdminChange, Session, Token, User
from sij_node.errors import AccountUnusable, UnknownUser
from sij_node.store.change_log import add_change
from sij_node.store.database import Database
from sij_node.store.tables import (
    invitations,
    session_from,
    sessions,
    token_from,
    tokens,
    user_from,
    users,
)


class UserTable:
    """Users, sessions, invitations and tokens.

    Every method may be called from any thread, and raises `DatabaseUnavailable` if the database
    does not answer.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    # ---- users ---------------------------------------------------------------------------

    def users(self) -> tuple[User, ...]:
        """All users, by name."""
        with self._database.reading() as connection:
            return tuple(
                user_from(row) for row in connection.execute(select(users).order_by(users.c.name))
            )

    def user(self, name: str) -> User:
        """A user; raises `UnknownUser` if there is none of that name."""
        with self._database.reading() as connection:
            return _user(connection, name)

    def user_of_subject(self, openid_subject: str) -> User | None:
        """The user with a subject (``sub``) of the identity provider; None if there is none."""
        with self._database.reading() as connection:
            row = connection.execute(
                select(users).where(users.c.openid_subject == openid_subject)
            ).one_or_none()
        return None if row is None else user_from(row)

    def has_administrator(self) -> bool:
        """Whether any administrator can sign in."""
        with self._database.reading() as connection:
            count = connection.execute(
                select(func.count()).where(
                    users.c.role == Role.ADMINISTRATOR.value,
                    ~users.c.disabled,
                    (users.c.password_hash != "") | (users.c.openid_subject != ""),
                )
            ).scalar_one()
        return count > 0

    def add_user(self, user: User, change: AdminChange) -> None:
        """Add a user; raises `AccountUnusable` if the name is taken."""
        with self._database.writing() as connection:
            taken = connection.execute(select(users.c.name).where(users.c.name == user.name))
            if taken.one_or_none() is not None:
                raise AccountUnusable(f"User {user.name} already exists. Choose another name.")
            connection.execute(insert(users).values(**{**vars(user), "role": user.role.value}))
            add_change(connection, change)

    def set_role(self, name: str, role: Role, change: AdminChange) -> None:
        """Change the role of a user."""
        with self._database.writing() as connection:
            _user(connection, name)
            connection.execute(update(users).where(users.c.name == name).values(role=role.value))
            add_change(connection, change)

    def set_disabled(self, name: str, disabled: bool, change: AdminChange) -> None:
        """Disable or enable a user; disabling ends all sessions and tokens at once."""
        with self._database.writing() as connection:
            _user(connection, name)
            connection.execute(update(users).where(users.c.name == name).values(disabled=disabled))
            if disabled:
                _end_access(connection, name, change.at)
            add_change(connection, change)

    # ---- passwords and invitations -------------------------------------------------------

    def invite(
        self, name: str, secret_hash: str, expires_at: datetime, change: AdminChange | None
    ) -> None:
        """Invite a user to set a password; an earlier invitation becomes void."""
        with self._database.writing() as connection:
            _user(connection, name)
            connection.execute(delete(invitations).where(invitations.c.user_name == name))
            connection.execute(
                insert(invitations).values(
                    user_name=name, secret_hash=secret_hash, expires_at=expires_at
                )
            )
            if change is not None:
                add_change(connection, change)

    def invited(self, secret_hash: str, now: datetime) -> User | None:
        """The user of a valid invitation; None if it is not valid."""
        with self._database.reading() as connection:
            row = connection.execute(
                select(users)
                .join(invitations, invitations.c.user_name == users.c.name)
                .where(
                    invitations.c.secret_hash == secret_hash,
                    invitations.c.expires_at > now,
                    ~users.c.disabled,
                )
            ).one_or_none()
        return None if row is None else user_from(row)

    def accept_invitation(
        self, secret_hash: str, password_hash: str, name: str, change: AdminChange
    ) -> bool:
        """Set the password of an invited user; ends the invitation and all sessions and tokens.

        Returns
        -------
        bool
            False if the invitation had been used or had expired.
        """
        with self._database.writing() as connection:
            used = connection.execute(
                delete(invitations).where(
                    invitations.c.user_name == name,
                    invitations.c.secret_hash == secret_hash,
                    invitations.c.expires_at > change.at,
                )
            )
            if used.rowcount == 0:
                return False
            connection.execute(
                update(users).where(users.c.name == name).values(password_hash=password_hash)
            )
            _end_access(connection, name, change.at)
            add_change(connection, change)
            return True

    def renew_hash(self, name: str, password_hash: str) -> None:
        """Replace the hash of an unchanged password by a stronger one."""
        with self._database.writing() as connection:
            connection.execute(
                update(users).where(users.c.name == name).values(password_hash=password_hash)
            )

    # ---- sessions ------------------------------------------------------------------------

    def open_session(self, session: Session, oldest: datetime) -> None:
        """Store a new session; remove all sessions created before `oldest`."""
        with self._database.writing() as connection:
            connection.execute(delete(sessions).where(sessions.c.created_at < oldest))
            connection.execute(insert(sessions).values(**vars(session)))

    def session(self, secret_hash: str) -> tuple[Session, User] | None:
        """A session and its user; None if there is none or the user is disabled."""
        with self._database.reading() as connection:
            row = connection.execute(
                select(sessions).where(sessions.c.secret_hash == secret_hash)
            ).one_or_none()
            if row is None:
                return None
            user = _user(connection, row.user_name)
            return None if user.disabled else (session_from(row), user)

    def note_use(self, session: Session, now: datetime) -> None:
        """Record the last use of a session."""
        with self._database.writing() as connection:
            connection.execute(
                update(sessions)
                .where(sessions.c.secret_hash == session.secret_hash)
                .values(seen_at=now)
            )

    def close_session(self, secret_hash: str) -> None:
        """End a session, if it exists."""
        with self._database.writing() as connection:
            connection.execute(delete(sessions).where(sessions.c.secret_hash == secret_hash))

    # ---- tokens --------------------------------------------------------------------------

    def add_token(self, token: Token, secret_hash: str, change: AdminChange) -> Token:
        """Store a new token; returns it with its number."""
        row = {name: value for name, value in vars(token).items() if name != "token_id"}
        with self._database.writing() as connection:
            added = connection.execute(
                insert(tokens)
                .values(**{**row, "role": token.role.value}, secret_hash=secret_hash)
                .returning(tokens)
            ).one()
            add_change(connection, change)
            return token_from(added)

    def tokens(self, user_name: str) -> tuple[Token, ...]:
        """The tokens of a user, newest first."""
        with self._database.reading() as connection:
            rows = connection.execute(
                select(tokens)
                .where(tokens.c.user_name == user_name)
                .order_by(tokens.c.token_id.desc())
            )
            return tuple(token_from(row) for row in rows)

    def token(self, secret_hash: str) -> tuple[Token, User] | None:
        """A token and its user; None if there is none or the user is disabled."""
        with self._database.reading() as connection:
            row = connection.execute(
                select(tokens).where(tokens.c.secret_hash == secret_hash)
            ).one_or_none()
            if row is None:
                return None
            user = _user(connection, row.user_name)
            return None if user.disabled else (token_from(row), user)

    def note_token_use(self, token_id: int, now: datetime) -> None:
        """Record the last use of a token."""
        with self._database.writing() as connection:
            connection.execute(
                update(tokens).where(tokens.c.token_id == token_id).values(used_at=now)
            )

    def revoke_token(
        self, user_name: str, token_id: int, now: datetime, change: AdminChange
    ) -> bool:
        """Revoke a user's token; False if there is no valid token of that number."""
        with self._database.writing() as connection:
            revoked = connection.execute(
                update(tokens)
                .where(
                    tokens.c.token_id == token_id,
                    tokens.c.user_name == user_name,
                    tokens.c.revoked_at.is_(None),
                )
                .values(revoked_at=now)
            )
            if revoked.rowcount == 1:
                add_change(connection, change)
            return revoked.rowcount == 1


def _user(connection: Connection, name: str) -> User:
    row = connection.execute(select(users).where(users.c.name == name)).one_or_none()
    if row is None:
        raise UnknownUser("There is no user of this name. `sij-node users list` lists all users.")
    return user_from(row)


def _end_access(connection: Connection, name: str, now: datetime) -> None:
    """End all sessions, invitations and tokens of a user."""
    connection.execute(delete(sessions).where(sessions.c.user_name == name))
    connection.execute(delete(invitations).where(invitations.c.user_name == name))
    connection.execute(
        update(tokens)
        .where(tokens.c.user_name == name, tokens.c.revoked_at.is_(None))
        .values(revoked_at=now)
    )
