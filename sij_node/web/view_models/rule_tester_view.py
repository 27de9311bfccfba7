"""What the node would make of one file: the role of its series, its priority, its destination.

Nothing of the file is kept, and nothing of the patient in it is shown.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from pydicom import Dataset

from sij_node.config.settings import Config, PeerConfig, PriorityRule
from sij_node.dicom.headers import text, texts
from sij_node.dicom.series_roles import AcquisitionFacts, SequenceRole, acquisition_facts, role_of
from sij_node.queue.completeness import rule_applies
from sij_node.web.view_models.display_text import Tone

_PATIENT_GROUP = 0x0010


@dataclass(frozen=True)
class Fact:
    """Something the header says, in words; empty where it is silent."""

    name: str
    value: str


@dataclass(frozen=True)
class RuleLine:
    """A rule that was tried on the file."""

    words: str
    found: str
    applies: bool
    priority: int


@dataclass(frozen=True)
class Ruling:
    """What the node would make of the file."""

    role: str
    tone: Tone
    verdict: str
    reason: str
    facts: tuple[Fact, ...]
    priority: int
    why_priority: str
    rules: tuple[RuleLine, ...]
    way: str


def ruling(header: Dataset, peer: PeerConfig, config: Config) -> Ruling:
    """Apply the rules of the configuration to the header of one image.

    Parameters
    ----------
    peer
        Who would send it.
    """
    facts = acquisition_facts(header)
    found = role_of(facts)
    lines = tuple(_rule_line(rule, header) for rule in config.priority_rule)
    priority, why = _priority(lines, peer)
    return Ruling(
        role=found.role.value,
        tone=_tone(found.role),
        verdict=_VERDICTS[found.role],
        reason=found.reason,
        facts=_facts(facts, header),
        priority=priority,
        why_priority=why,
        rules=lines,
        way=_way(peer),
    )


_VERDICTS = {
    SequenceRole.T1: "This series would be the T1 of its study.",
    SequenceRole.STIR: "This series would be the STIR of its study.",
    SequenceRole.T2_FAT_SAT: "This series would stand in for the STIR, if the study has none.",
    SequenceRole.OTHER: "This series would be kept, but not analysed.",
}


def _tone(role: SequenceRole) -> Tone:
    if role is SequenceRole.OTHER:
        return Tone.QUIET
    return Tone.WARN if role is SequenceRole.T2_FAT_SAT else Tone.GOOD


def _rule_line(rule: PriorityRule, header: Dataset) -> RuleLine:
    return RuleLine(
        words=f"{rule.keyword} contains “{rule.contains}”",
        found=_shown(header, rule.keyword),
        applies=rule_applies(rule, header),
        priority=rule.priority,
    )


def _shown(header: Dataset, keyword: str) -> str:
    """What the file says there, unless it is about the patient."""
    element = header.get(keyword) and header[keyword]
    if element is not None and element.tag.group == _PATIENT_GROUP:
        return "(not shown: about the patient)"
    return "\\".join(texts(header, keyword))[:80]


def _priority(lines: Sequence[RuleLine], peer: PeerConfig) -> tuple[int, str]:
    """As `sij_node.queue.completeness` and the listener do it."""
    applying = [line for line in lines if line.applies]
    if not applying:
        return peer.priority, f"the priority of peer {peer.ae_title}; no rule applies"
    highest = max(applying, key=lambda line: line.priority)
    return highest.priority, f"the highest rule that applies: {highest.words}"


def _way(peer: PeerConfig) -> str:
    return (
        f"Results would go back to {peer.ae_title} at {peer.host}:{peer.port}, "
        f"profile {peer.profile}{', over TLS' if peer.tls else ''}."
    )


def _facts(facts: AcquisitionFacts, header: Dataset) -> tuple[Fact, ...]:
    known = {
        "Modality": facts.modality,
        "Series description": text(header, "SeriesDescription"),
        "Protocol name": text(header, "ProtocolName"),
        "Repetition time": _ms(facts.repetition_time_ms),
        "Echo time": _ms(facts.echo_time_ms),
        "Inversion time": _ms(facts.inversion_time_ms),
        "Pulse sequence": ", ".join(facts.scanning_sequence),
        "Scan options": ", ".join(facts.scan_options),
        "Image type": ", ".join(facts.image_type),
        "Body part": facts.body_part,
        "Plane": _plane(facts),
        "Contrast agent": "given" if facts.contrast_agent else "none",
    }
    return tuple(Fact(name, value[:120]) for name, value in known.items())


def _ms(value: float | None) -> str:
    return "" if value is None else f"{value:g} ms"


def _plane(facts: AcquisitionFacts) -> str:
    if facts.normal is None:
        return ""
    names = ("sagittal", "coronal", "axial")
    nearest = max(range(3), key=lambda axis: abs(facts.normal[axis]) if facts.normal else 0)
    oblique = "" if abs(facts.normal[nearest]) > 0.985 else "oblique "
    return f"{oblique}{names[nearest]}"
