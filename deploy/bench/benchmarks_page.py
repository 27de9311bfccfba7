"""The benchmark results as a Markdown page: ratios first, then absolute values."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from deploy.bench.analysis_stages import NETWORKS, StudyTimes
from deploy.bench.ingest import IDLE_ASSOCIATIONS, IDLE_S, INSTANCES, Ingest, ServerMedians
from deploy.bench.jobs import Operation
from deploy.bench.result_costs import ObjectCost
from deploy.bench.system_info import NOT_INSTALLED, SystemInfo
from deploy.bench.whole_node import QUIET_S, WholeNode

PARTS = ("ingest", "study", "objects", "node", "jobs")
PHANTOM = "The weights are trained on phantoms. Not for clinical use."


@dataclass(frozen=True)
class Results:
    """Results of all benchmarks, and the reason for each that was not run."""

    system: SystemInfo
    ingest: Ingest | None
    study: StudyTimes | None
    objects: tuple[ObjectCost, ...] | None
    node: WholeNode | None
    jobs: tuple[Operation, ...] | None
    missing: Mapping[str, str]


def page(results: Results) -> str:
    """The complete page."""
    sections = [
        _head(results.system),
        *([ingest_section(results.ingest)] if results.ingest else []),
        *([_study(results.study)] if results.study else []),
        *([objects_section(results.objects)] if results.objects else []),
        *([_node(results.node)] if results.node else []),
        *([_jobs(results.jobs)] if results.jobs else []),
        *([_missing(results.missing)] if results.missing else []),
    ]
    return "\n\n".join(sections) + "\n"


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table with a text column followed by numeric columns."""
    lines = [columns, ["---", *["---:"] * (len(columns) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _head(of: SystemInfo) -> str:
    quiet = (
        ""
        if of.is_quiet
        else (f"\n\n**The machine was busy (load {of.load:.1f}): these figures are not valid.**")
    )
    versions = ", ".join(f"{name} {number}" for name, number in of.versions.items())
    return f"""# Benchmarks

{PHANTOM} Everything ran on one machine over loopback.
Compare the ratios: they come from one run with alternating measurements. Absolute values
differ between machines and days.{quiet}

- Measured {of.at:%Y-%m-%d %H:%M} UTC with `{of.command}` at revision {of.revision}
- {of.processor}, {of.cores} cores, {of.memory_gb} GB, {of.system}, {of.disk}
- {versions}"""


def ingest_section(of: Ingest) -> str:
    """Ingest of the node and the other servers."""
    return f"""## Receiving images

MR images of 512 × 512 pixels of 16 bits ({of.size_bytes / 1e3:.0f} kB, about 120 elements) sent by
DCMTK storescu, one process per association, {INSTANCES} images per run, medians of
{of.repeats} runs. TCP_NODELAY is set on both sides. CPU is user and system time of the server's
processes. **storescp neither syncs its files nor keeps an index**; Orthanc syncs and indexes; the
node syncs file and folder and commits a row before each response. The rate includes the start
of storescu.

{_ingest_table(of.rows, of.not_installed)}

One association of an unmodified storescu: only the node sets TCP_NODELAY, on its own side.

{_ingest_table(of.untouched, of.not_installed)}

{IDLE_ASSOCIATIONS} idle associations, over {IDLE_S:g} s, in percent of one core:

{_idle_table(of)}

Resident memory after the first and the last run:

{_memory_table(of)}"""


def _ingest_table(rows: Sequence[ServerMedians], not_installed: Sequence[str]) -> str:
    return table(
        [
            "server, associations",
            "CPU ratio",
            "speed ratio",
            "CPU ms per image",
            "images/s",
            "peak MB",
        ],
        [
            *map(_ingest_row, rows),
            *([f"**{name}**", *[f"**{NOT_INSTALLED}**"] * 5] for name in not_installed),
        ],
    )


def _ingest_row(row: ServerMedians) -> list[str]:
    sample = row.sample
    return [
        f"{sample.server}, {sample.associations}",
        _ratio(row.cpu_ratio),
        _ratio(row.speed_ratio),
        f"{sample.cpu_ms:.2f}",
        f"{sample.per_s:.0f}",
        f"{sample.peak_mb:.0f}",
    ]


def _ratio(ratio: float | None) -> str:
    return "no storescp" if ratio is None else f"{ratio:.2f}"


def _idle_table(of: Ingest) -> str:
    return table(
        ["server", "per association %", "all %", "none %", "accepted"],
        [
            [
                one.server,
                f"{(one.with_percent - one.without_percent) / max(one.held, 1):.3f}",
                f"{one.with_percent:.1f}",
                f"{one.without_percent:.1f}",
                f"{one.held} of {IDLE_ASSOCIATIONS}",
            ]
            for one in of.idle
        ],
    )


def _memory_table(of: Ingest) -> str:
    return table(
        ["server", "growth", "first MB", "last MB", "images between"],
        [
            [
                one.server,
                f"{100 * (one.last_mb / one.first_mb - 1):+.1f} %",
                f"{one.first_mb:.0f}",
                f"{one.last_mb:.0f}",
                str(one.instances_between),
            ]
            for one in of.memory
        ],
    )


def _study(of: StudyTimes) -> str:
    return f"""## One study by stage

A phantom of {of.t1_shape[0]} T1 slices of {_size(of.t1_shape)} and {of.stir_shape[0]} STIR slices
of {_size(of.stir_shape)} in one process, {of.threads} threads on {of.device}, medians of
{of.repeats} runs after a warm-up. Networks: {of.networks}.
{PHANTOM}

{_stage_table(of)}

The floor of a network is the time this machine needs for the same number of operations as plain
single-precision convolutions; it reaches {of.gigaflops:.0f} GFLOP/s.

{_floor_table(of)}"""


def _size(shape: Sequence[int]) -> str:
    return f"{shape[1]} × {shape[2]}"


def _stage_table(of: StudyTimes) -> str:
    total = sum(of.seconds.values())
    sums = {"**all but the networks**": of.rest_s, "**all**": total}
    return table(
        ["stage", "share", "ms"],
        [
            [name, f"{100 * seconds / total:.0f} %", f"{1000 * seconds:.0f}"]
            for name, seconds in {**of.seconds, **sums}.items()
        ],
    )


def _floor_table(of: StudyTimes) -> str:
    rows = [(name, of.seconds[name], of.floor_s[name]) for name in NETWORKS]
    rows.append(("both", of.network_s, sum(of.floor_s.values())))
    return table(
        ["network", "ratio to its floor", "ms", "floor ms"],
        [
            [name, f"{taken / floor:.2f}", f"{1000 * taken:.0f}", f"{1000 * floor:.0f}"]
            for name, taken, floor in rows
        ],
    )


def objects_section(of: Sequence[ObjectCost]) -> str:
    """Time to build and check each kind of result object, and its size."""
    whole_s = sum(one.made_s + one.checked_s for one in of)
    rows = [
        [
            one.name,
            str(one.count),
            f"{100 * (one.made_s + one.checked_s) / whole_s:.0f} %",
            f"{1000 * one.made_s:.0f}",
            f"{1000 * one.checked_s:.0f}",
            f"{one.size_bytes / 1000:.0f}",
        ]
        for one in of
    ]
    return f"""## By result object

For the same phantom study, each kind built alone and written as files; `seg`, `findings` and
`presentation` are two objects each. *Check* is the self-check: read back and compared with the
findings.
{PHANTOM}

{table(["result", "objects", "share of time", "build ms", "check ms", "kB"], rows)}"""


def _node(of: WholeNode) -> str:
    passage = of.passage
    steps = {
        "claimed → results stored by the archive": passage.stored_s,
        "claimed → results in the outbox": passage.analysed_s,
        f"last image → stored, incl. {QUIET_S} s without new images": passage.sent_to_stored_s,
        "CPU time of all node processes": passage.cpu_s,
    }
    starts = {"worker": of.start_s, "torch alone": of.import_s}
    return f"""## One study through the whole node

The same study sent to `sij-node run` on SQLite, with a minimal archive (pynetdicom) as destination;
medians of {of.repeats} studies after a warm-up. Peak memory of listener, worker and analysis
together: {of.peak_mb:.0f} MB.
{PHANTOM}

{_seconds_table(steps, passage.stored_s, "ratio to claimed → stored")}

Start of a worker until its networks are loaded, compared with starting Python and importing
torch:

{_seconds_table(starts, of.import_s, "ratio to torch alone")}"""


def _seconds_table(seconds: Mapping[str, float], unit_s: float, ratio: str) -> str:
    return table(
        ["", ratio, "s"],
        [[name, f"{value / unit_s:.2f}", f"{value:.2f}"] for name, value in seconds.items()],
    )


def _jobs(operations: Sequence[Operation]) -> str:
    return f"""## Job table on SQLite

WAL, synchronous=FULL. Ratios are to a bare commit of one row on the same disk in the same round.

{_jobs_table(operations)}"""


def _jobs_table(operations: Sequence[Operation]) -> str:
    return table(
        ["operation", "ratio", "ms each", "CPU ms each", "per s"],
        [
            [
                one.name,
                f"{one.ratio:.2f}",
                f"{one.wall_ms:.2f}",
                f"{one.cpu_ms:.2f}",
                f"{1000 / one.wall_ms:.0f}",
            ]
            for one in operations
        ],
    )


def _missing(missing: Mapping[str, str]) -> str:
    lines = [f"- **{part}: NOT MEASURED.** {reason}" for part, reason in missing.items()]
    return "\n".join(["## Not measured", "", *lines])
