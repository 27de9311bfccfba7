"""The peers: last contact, C-ECHO, and pending results."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from sij_node.config.settings import AnyDestination, DestinationConfig
from sij_node.domain.health import Component, Condition, HealthStatus
from sij_node.domain.peer_activity import PeerActivity
from sij_node.operate.admin import DestinationStatus, PeerStatus
from sij_node.web.view_models.display_text import Tone, moment, span


@dataclass(frozen=True)
class PeerCard:
    """One peer, as sender and as destination.

    Parameters
    ----------
    wrong
        The condition to show, if not OK.
    facts
        Its configuration, as labels and values.
    state
        In a word or two.
    seen, refused, echo_in, echo_out, taken
        When, in words; empty if never.
    """

    peer: PeerStatus
    wrong: Condition | None
    facts: tuple[tuple[str, str], ...]
    tone: Tone
    state: str
    seen: str
    refused: str
    echo_in: str
    echo_out: str
    taken: str

    @property
    def title(self) -> str:
        """AE title or name."""
        return self.peer.destination.ae_title

    @property
    def sends(self) -> bool:
        """Whether it is a DICOM peer, which also sends."""
        return _sends(self.peer)


def peer_cards(
    peers: Iterable[PeerStatus], conditions: Iterable[Condition], now: datetime
) -> tuple[PeerCard, ...]:
    """A card for each peer, those with problems first.

    Parameters
    ----------
    conditions
        The node's health.
    """
    wrong = {
        one.name: one
        for one in conditions
        if one.component is Component.DESTINATION and one.status is not HealthStatus.OK
    }
    cards = [_card(one, wrong.get(one.destination.ae_title), now) for one in peers]
    return tuple(sorted(cards, key=lambda card: list(_RANKS).index(card.tone)))


_RANKS = (Tone.BAD, Tone.WARN, Tone.BUSY, Tone.GOOD, Tone.QUIET)


def _card(peer: PeerStatus, wrong: Condition | None, now: datetime) -> PeerCard:
    contact = peer.activity
    test = "C-ECHO" if _sends(peer) else "connection test"
    tone, state = _state(peer.destination, contact, wrong, test)
    return PeerCard(
        peer,
        wrong,
        facts=_facts(peer.config),
        tone=tone,
        state=state,
        seen=_ago(contact.accepted_at, now, f" from {contact.address}"),
        refused=_ago(contact.refused_at, now, f": {contact.refused_because}"),
        echo_in=_ago(contact.echo_in_at, now),
        echo_out=_ago(contact.echo_out_at, now, f": {contact.echo_out_error or 'OK'}"),
        taken=_ago(peer.acknowledged_at, now),
    )


def _sends(peer: PeerStatus) -> bool:
    return not isinstance(peer.config, DestinationConfig)


def _facts(config: AnyDestination | None) -> tuple[tuple[str, str], ...]:
    if config is None:
        return ()
    if isinstance(config, DestinationConfig):
        return (
            ("Address", config.url),
            ("Kind", config.kind),
            ("Receives results of", ", ".join(config.peers) or "all peers"),
            ("Results", _sent(config.shadow, _results(config))),
        )
    profile = config.profile if config.send_results else "results are sent to destinations only"
    return (
        ("Address", f"{config.host}:{config.port}{', TLS' if config.tls else ''}"),
        ("Allowed networks", ", ".join(config.networks)),
        ("Output profile", _sent(config.shadow, profile)),
        ("Priority", str(config.priority)),
    )


def _results(config: DestinationConfig) -> str:
    if config.kind != "stow-rs":
        return "the report"
    return ", ".join(config.objects) or "as in the peer's profile"


def _sent(shadow: bool, results: str) -> str:
    return "shadow mode: nothing is sent" if shadow else results


def _state(
    destination: DestinationStatus, contact: PeerActivity, wrong: Condition | None, test: str
) -> tuple[Tone, str]:
    """The first that applies."""
    is_down = wrong is not None and wrong.status is HealthStatus.FAILED
    is_unknown = contact.accepted_at is None and contact.echo_out_at is None
    judged = (
        (not destination.is_configured, Tone.WARN, "no longer configured"),
        (destination.hold, Tone.WARN, "held"),
        (is_down, Tone.BAD, "delivery failing"),
        (wrong, Tone.WARN, "some deliveries failing"),
        (contact.echo_out_error, Tone.WARN, f"last {test} failed"),
        (destination.shadow, Tone.QUIET, "shadow mode"),
        (is_unknown, Tone.QUIET, "no contact yet"),
    )
    return next(((tone, words) for applies, tone, words in judged if applies), _IN_ORDER)


_IN_ORDER = (Tone.GOOD, "OK")


def _ago(at: datetime | None, now: datetime, more: str = "") -> str:
    if at is None:
        return ""
    return f"{span((now - at).total_seconds())} ago{more} ({moment(at)})"
