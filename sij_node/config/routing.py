"""Which destinations receive which results of a peer's studies."""

from dataclasses import dataclass, replace

from sij_node.config.profiles import ObjectName, Profile
from sij_node.config.settings import Config

_NOTE = "rejection note"


@dataclass(frozen=True)
class Recipient:
    """A destination of the results of a study.

    Parameters
    ----------
    objects
        Results that it receives; None: all. The report "not analysed" is always sent.
    only_reports
        Whether it receives the report of a study that was not analysed without its pictures.
    withheld
        Whether the study's sender or the destination is in shadow mode: results are withheld until
        a user requests them.
    """

    title: str
    objects: tuple[ObjectName, ...] | None = None
    rejection_notes: bool = True
    withheld: bool = False
    only_reports: bool = False

    def takes(self, kind: str) -> bool:
        """Whether it receives a result of this kind, as in `sij_node.domain.job.Result`."""
        if kind == _NOTE:
            return self.rejection_notes
        if kind.startswith("not analysed"):
            return not self.only_reports or kind == "not analysed"
        return self.objects is None or kind.split(maxsplit=1)[0] in self.objects


def recipients_of(config: Config, source_ae: str) -> tuple[Recipient, ...]:
    """Every destination of the results of a peer's studies, the peer itself first.

    A peer that is no longer configured is among them, so that its results are kept for it.
    """
    peer = config.peer_titled(source_ae)
    own = config.profile_for(source_ae).objects
    shadow = config.shadow_titles
    found = []
    if peer is None or peer.send_results:
        notes = peer is not None and peer.rejection_notes
        found.append(Recipient(source_ae, own, notes))
    for one in config.destinations_for(source_ae):
        if one.kind == "stow-rs":
            found.append(Recipient(one.name, one.objects or own, one.rejection_notes))
        else:
            found.append(Recipient(one.name, ("scores",), False, only_reports=True))
    return tuple(
        replace(one, withheld=not shadow.isdisjoint({source_ae, one.title})) for one in found
    )


def profile_made_for(config: Config, source_ae: str) -> Profile:
    """The peer's output profile, with exactly the objects that a recipient of its results receives.

    A peer that gets no results adds none of its own.
    """
    profile = config.profile_for(source_ae)
    wanted = [name for one in recipients_of(config, source_ae) for name in one.objects or ()]
    own = [name for name in profile.objects if name in wanted]
    return profile.model_copy(update={"objects": tuple(dict.fromkeys((*own, *wanted)))})
