"""The page docs/delineation.md, generated from the evaluation results."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

Report = Mapping[str, Any]

HEAD = """# Delineation accuracy

**{warning}.** All numbers are from phantoms not used for training; for real images see
 [delineation_real.md](delineation_real.md). The network of whole slices is evaluated
(`models/weights/whole_slices`), which the node has not used since contour 0.9.0. The page is
generated; the numbers,
with their intervals, rules and training records, are in [delineation.json](delineation.json).

- Command: `{command}`
- Code {code}, torch {torch}, {patients} simulated patients, {contours} true contours
- A contour is one joint on one slice. A missed contour counts as an infinite error in every
  percentile.
- RMS: from each true point to the closest point of the contour (the paper's definition; in the
  paper 95 % of the patients' contours were below 2.76 mm). Symmetric: also from contour to truth,
  which penalises contours that are too long. Ends: mean distance of the two ends.
- In parentheses: 95 % interval of a bootstrap over patients. Missed and false contours are given
  as shares of the true contours; a false one is "away" if no adjacent slice shows the joint.
"""


def delineation_page(report: Report, figure: Path) -> str:
    """The page in Markdown.

    Parameters
    ----------
    report
        The JSON written by `evaluate contour`.
    figure
        Path of the cumulative distribution, relative to the page.
    """
    first = next(iter(report["methods"].values()))["all"]
    parts = [
        HEAD.format(
            warning=report["warning"],
            command=report["command"],
            code=report["code"],
            torch=report["machine"]["torch"],
            patients=first["patients"],
            contours=first["contours"],
        ),
        "## Comparison of methods\n",
        _methods(report["methods"]),
        f"![Cumulative distribution of the error]({figure.as_posix()})\n",
        _goals(report["methods"]),
        "Networks:\n",
        _networks(report["methods"]),
        *_details(report["methods"]),
        *_ablations(report),
        *_quality(report["methods"]),
        *_rejection(report["refusal"]),
    ]
    return "\n".join(parts)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    rule = ["---", *["---:"] * (len(head) - 1)]
    lines = [f"| {' | '.join(row)} |" for row in (head, rule, *rows)]
    return "\n".join(lines) + "\n"


def _number(value: float | str) -> str:
    return "missed" if value == "inf" else value if isinstance(value, str) else f"{value:.2f}"


def _ranged(estimate: Mapping[str, Any]) -> str:
    low, high = _number(estimate["low"]), _number(estimate["high"])
    return f"{_number(estimate['value'])} ({low} to {high})"


def _share(estimate: Mapping[str, Any]) -> str:
    value, low, high = (100 * estimate[key] for key in ("value", "low", "high"))
    return f"{value:.1f} % ({low:.1f} to {high:.1f})"


def _methods(methods: Report) -> str:
    def row(name: str, of: Report) -> list[str]:
        rms, both = of["errors"]["rms"]["mm"], of["errors"]["symmetric_rms"]["mm"]
        return [
            name,
            *(_ranged(rms[percent]) for percent in ("50", "75", "90", "95")),
            _ranged(both["95"]),
            _share(of["below_1_5_mm"]),
            *(_share(of[f"{kind}_fraction"]) for kind in ("missed", "false", "false_away")),
        ]

    percents = ["p50", "p75", "p90", "p95"]
    shares = ["< 1.5 mm", "missed", "false", "false, away"]
    head = ["RMS in mm", *percents, "symmetric p95", *shares]
    return _table(head, (row(name, one["all"]) for name, one in methods.items()))


GOALS = """Goals, and results of {name} ({style} phantoms, all phantoms):

- 95 % of the contours below 1.5 mm: {below}.
- Fewer than 1 % missed: {missed}. Fewer than 1 % false: {false}; away from the joint: {away}.
{fields}
The remaining errors are at the ends of contours; on the first and last slices of a joint, where
the 7 mm minimum of visible cartilage is borderline on a thick slice; and on slices that show an
upper and a lower part of a joint far apart: the truth is the longer one, but a part of nearly the
same length looks just as valid.
"""


LOST_WALKS = """
Tracing fails on the literal field: off the line it points to the nearest annotated vertex from
both sides, and the direction to the next vertex exists only on a line one pixel wide, which no
network reproduces. Tracing stops between two vertices and the contour is missed.
"""


def _goals(methods: Report) -> str:
    name, one = next(iter(methods.items()))
    style = "plausible" if "plausible" in one["by"]["style"] else next(iter(one["by"]["style"]))
    parts = (one["by"]["style"][style], one["all"])

    def reached(key: str) -> str:
        return ", ".join(f"{100 * part[key]['value']:.1f} %" for part in parts)

    fields = [
        f"- {other} better than baseline at: {_better(methods[other], methods['baseline'])}.\n"
        for other in methods
        if "baseline" in methods and other not in ("baseline", name)
    ]
    return GOALS.format(
        name=name,
        style=style,
        below=reached("below_1_5_mm"),
        missed=reached("missed_fraction"),
        false=reached("false_fraction"),
        away=reached("false_away_fraction"),
        fields="".join(fields) + _lost_walks(methods),
    )


def _lost_walks(methods: Report) -> str:
    """The explanation of missed contours, if the literal field misses most of them."""
    literal = methods.get("literal_uvf")
    is_lost = literal is not None and literal["all"]["missed_fraction"]["value"] > 0.5
    return LOST_WALKS if is_lost else ""


def _better(method: Report, baseline: Report) -> str:
    """The percentiles of the RMS error at which one method is better than another."""
    rms, other = (one["all"]["errors"]["rms"]["mm"] for one in (method, baseline))
    ahead = [p for p in rms if float(rms[p]["value"]) < float(other[p]["value"])]
    return ", ".join(f"p{percent}" for percent in ahead) or "none"


def _networks(methods: Report) -> str:
    lines = []
    for name, one in methods.items():
        training, shape = one["training"], one["architecture"]
        lines.append(
            f"- {name}: {one['network']}, width {shape['width']}, {training.get('steps', '?')} "
            f"steps of {training.get('batch', '?')} slices, seed {training.get('seed', '?')}, "
            f"code {training.get('code', '?')}. {training.get('notes', '')}"
        )
    return "\n".join(lines) + "\n"


MEASURES = {
    "rms": "RMS",
    "symmetric_rms": "symmetric RMS",
    "hausdorff95": "95 % Hausdorff",
    "ends": "ends",
}


def _details(methods: Report) -> list[str]:
    name, one = next(iter(methods.items()))
    errors = one["all"]["errors"]
    rows = [
        [f"{label}, {unit}", *(_ranged(errors[measure][unit][p]) for p in ("50", "75", "90", "95"))]
        for measure, label in MEASURES.items()
        for unit in errors[measure]
    ]
    parts = [
        f"## {name}: all error measures\n",
        "Native pixels are those of the acquired image, 224 px those of the network input.\n",
        _table(["", "p50", "p75", "p90", "p95"], rows),
        f"## {name} by sequence, style and slice position\n",
    ]
    return [*parts, _groups(one["by"])]


def _groups(by: Report) -> str:
    rows = [
        [
            f"{group}: {value}",
            str(of["contours"]),
            _ranged(of["errors"]["rms"]["mm"]["50"]),
            _ranged(of["errors"]["rms"]["mm"]["95"]),
            _ranged(of["errors"]["symmetric_rms"]["mm"]["95"]),
            _share(of["missed_fraction"]),
        ]
        for group, values in by.items()
        for value, of in values.items()
    ]
    return _table(["", "contours", "RMS p50", "RMS p95", "symmetric p95", "missed"], rows)


def _ablations(report: Report) -> list[str]:
    if not report["ablations"]:
        return []
    name, best = next(iter(report["methods"].items()))
    rows = [
        [
            label,
            *(_number(of["errors"]["rms"]["mm"][p]["value"]) for p in ("50", "90", "95")),
            *(_number(of["errors"]["symmetric_rms"]["mm"][p]["value"]) for p in ("90", "95")),
            f"{of['missed']} + {of['false']}",
            f"{100 * of['below_1_5_mm']['value']:.1f} %",
        ]
        for label, of in [
            (name, best["all"]),
            *((label, one["all"]) for label, one in report["ablations"].items()),
        ]
    ]
    head = [
        "same weights",
        "RMS p50",
        "p90",
        "p95",
        "symmetric p90",
        "p95",
        "missed + false",
        "< 1.5 mm",
    ]
    return ["## Ablation of the tracing rules\n", _table(head, rows)]


def _quality(methods: Report) -> list[str]:
    rows = [
        [
            name,
            _number(one["quality"]["rank_correlation"]),
            *(_number(value) for value in one["quality"]["by_quarter"]),
            _number(one["quality"]["true_quality"]),
            _number(one["quality"]["false_quality"]),
        ]
        for name, one in methods.items()
    ]
    head = [
        "",
        "rank correlation with error",
        "p90 error, lowest quartile",
        "second",
        "third",
        "highest",
        "median, true",
        "median, false",
    ]
    return [
        "## Contour quality as a predictor of error\n",
        "Spearman's rank correlation between quality and symmetric error (mm) of the found "
        "contours, and the error by quartile of quality.\n",
        _table(head, rows),
    ]


def _rejection(rejection: Report) -> list[str]:
    if not rejection:
        return []
    rows = [
        [name, str(one["studies"]), str(one["refused"]), f"{100 * one['share']:.1f} %"]
        for name, one in rejection["studies"].items()
    ]
    return [
        "## Rejection of studies without sacroiliac joints\n",
        rejection["rule"] + "\n",
        _table(["shown", "studies", "rejected", "share"], rows),
    ]
