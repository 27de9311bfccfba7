"""Tables of what readers said, like the paper's Tables 2 to 6, and how far they agreed."""

from collections.abc import Mapping

import numpy as np

from models.findings import HEADS, Head, Lesion, Region, Side
from trainer.lesions.calibration_fit import HEADS_OF_LESION
from trainer.markdown_table import markdown, written
from trainer.metrics.lesion_scores import Bools
from trainer.phantom.simulated_readers import LITERATURE_KAPPA
from trainer.phantom.trials import Trial, visits_of
from trainer.reader_study.cross_validation import ReadTrial
from trainer.reader_study.reader_evaluation import all_agree, between_readers, within_readers
from trainer.readers.readings import MISSING, Labels, hierarchy

WARNING = "**Phantom readers, phantom patients. Not for clinical use.**"


def label_counts(lesion: Lesion, trials: Mapping[str, ReadTrial]) -> str:
    """How many joints were called free of a lesion, and how many not, by region and reading."""
    regions = [head.region for head in HEADS if head.lesion is lesion]
    columns = [(side, region) for side in Side for region in regions]
    head = ["trial", "reading", *(_place(side, region) for side, region in columns)]
    rows = []
    for name, trial in trials.items():
        values = trial.reading.readings.values
        names = hierarchy(*values.shape[2:]).names
        labels = trial.labels()
        readers, sessions = values.shape[2:]
        first = 1 + readers if sessions > 1 else 1
        shown = [*range(first, len(names)), 0]
        for node in shown:
            counts = [
                _counted(labels[..., node], trial.joints.left, lesion, *column)
                for column in columns
            ]
            rows.append([name, names[node], *counts])
    return markdown(head, rows)


def _place(side: Side, region: Region) -> str:
    return str(side) if region is Region.JOINT else f"{side} {region}"


def _counted(labels: Labels, left: Bools, lesion: Lesion, side: Side, region: Region) -> str:
    """Absent and present readings of one region on one side, as "absent / present"."""
    head = HEADS.index(Head(lesion, region))
    mine = labels[left == (side is Side.LEFT), head]
    return f"{int((mine == 0).sum())} / {int((mine == 1).sum())}"


def agreement_table(trials: Mapping[str, ReadTrial]) -> str:
    """Kappa between and within readers beside the literature's, and where all agree."""
    rows = []
    for name, trial in trials.items():
        values, labels = trial.reading.readings.values, trial.labels()
        for lesion, heads in HEADS_OF_LESION.items():
            rows.append(
                [
                    name,
                    lesion,
                    written(between_readers(values[:, heads])),
                    written(LITERATURE_KAPPA[lesion]),
                    written(within_readers(values[:, heads])),
                    written(100 * all_agree(labels[:, heads]), 0) + " %",
                    *(
                        written(
                            np.mean(
                                [getattr(c, kind)[heads].mean() for c in trial.reading.confusion]
                            )
                        )
                        for kind in ("false_negative", "false_positive")
                    ),
                ]
            )
    head = [
        "trial",
        "lesion",
        "kappa, two readers",
        "literature",
        "kappa, one reader twice",
        "all readings agree",
        "missed by a reading",
        "added by a reading",
    ]
    return markdown(head, rows)


def consensus_counts(trials: Mapping[str, ReadTrial]) -> str:
    """Places with a consensus, and those of them with a lesion, by the sessions that are wanted."""
    rows = []
    for name, trial in trials.items():
        for sessions in range(1, trial.reading.readings.values.shape[3] + 1):
            agreed = trial.labels(sessions)[..., 0]
            known = agreed != MISSING
            rows.append([name, sessions, agreed.size, int(known.sum()), int((agreed == 1).sum())])
    return markdown(
        ["trial", "sessions wanted of each reader", "places", "with a consensus", "present"], rows
    )


def trials_page(plans: Mapping[str, Trial], trials: Mapping[str, ReadTrial], command: str) -> str:
    """The whole page about the trials."""
    visits = [
        [
            name,
            plan.patients,
            len(visits_of(plan)),
            ", ".join(str(week) for week in plan.weeks),
            f"{len(plan.readers)} × {len(plan.last_week_read)}",
            ", ".join(str(week) for week in plan.last_week_read),
            f"{plan.options.disease}, {plan.options.style}",
        ]
        for name, plan in plans.items()
    ]
    head = ["trial", "patients", "studies", "weeks", "readers × sessions",
            "last week of each session", "disease, style of the images"]  # fmt: skip
    parts = [
        "# Three phantom trials",
        WARNING,
        f"Made by `{command}`. Every number follows from seeds kept in "
        "`trainer/phantom/trials.py` and in the experiments.",
        markdown(head, visits),
        "## Agreement of the readers",
        "Errors follow severity and contrast: faint first grades are the ones missed. What is "
        "missed and added is against what was drawn (a Berlin grade of 1 or more).",
        agreement_table(trials),
        "## Where there is a consensus",
        "Late visits were read in fewer sessions; a consensus of all readers exists where every "
        "reader read at least so often and nobody disagreed.",
        consensus_counts(trials),
        "## What was read",
        "Readings without and with the lesion (absent / present), as in the paper's Tables 2 to 6.",
    ]
    for lesion in Lesion:
        parts += [f"### {str(lesion).capitalize()}", label_counts(lesion, trials)]
    return "\n\n".join(parts) + "\n"
