"""The figures of a campaign as a section of docs/reliability.md."""

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from deploy.bench.benchmarks_page import table
from deploy.bench.system_info import SystemInfo

BEGIN, END = "<!-- figures of make campaign -->", "<!-- end of figures -->"


def replace_figures(page: str, section: str) -> str:
    """The page with a new section between its two marks."""
    before, _, rest = page.partition(BEGIN)
    return f"{before}{BEGIN}\n\n{section}\n\n{END}{rest.partition(END)[2]}"


def figures_section(figures: Mapping[str, Any], system: SystemInfo, command: str) -> str:
    """Everything that was measured, with the command that did it."""
    load = f", load {system.load:.1f} at the start" if system.load else ""
    return "\n\n".join(
        [
            f"`{command}`, {system.cores} cores{load}.",
            _kills(figures["kills"], figures["violations"]),
            _soak(figures["soak"]),
        ]
    )


def _kills(of: Mapping[str, Any], violations: Sequence[str]) -> str:
    killed = ", ".join(f"{role} {count}" for role, count in sorted(of["kills"].items()))
    states = ", ".join(f"{state} {count}" for state, count in sorted(of["states"].items()))
    ready = of["ready_s"] or [0.0]
    rows = [
        ("processes killed", str(sum(of["kills"].values()))),
        ("images acknowledged", str(of["acknowledged"])),
        ("studies", str(of["studies"])),
        ("associations the senders needed", str(of["associations"])),
        ("connections cut of those through the proxies", f"{of['cut']} of {of['connections']}"),
        ("reports at the archive", str(of["at_archive"])),
        ("times a report was sent", str(of["sent_to_archive"])),
        ("listening again after a kill, median s", f"{median(ready):.1f}"),
        ("listening again after a kill, longest s", f"{max(ready):.1f}"),
        ("minutes, until the last job had ended", f"{of['seconds'] / 60:.1f}"),
        ("**promises broken**", f"**{len(violations)}**"),
    ]
    broken = "".join(f"\n- {one}" for one in violations[:20])
    return (
        f"{table(('kills and cuts', 'figure'), rows)}\n\nKilled: {killed}. Jobs at those moments: "
        f"{states}.{broken}"
    )


def _soak(of: Mapping[str, Any]) -> str:
    rows = [
        (
            str(number),
            str(one["instances"]),
            f"{one['median_ms']:.0f}",
            f"{one['p99_ms']:.0f}",
            f"{one['rss_mb']:.0f}",
            str(one["descriptors"]),
            f"{one['database_bytes_per_instance']:.0f}",
        )
        for number, one in enumerate(of["blocks"], 1)
    ]
    columns = (
        "block",
        "instances",
        "C-STORE median ms",
        "p99 ms",
        "listener RSS MB",
        "descriptors",
        "database bytes per instance",
    )
    return f"{table(columns, rows)}\n\n{of['acknowledged']} of {of['sent']} instances acknowledged."
