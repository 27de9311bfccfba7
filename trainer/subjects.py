"""The subject of each of a site's cases, so that a split never separates one person's visits.

``subjects.json`` beside the prepared cases lists the subject of each case number.
"""

import json
from collections.abc import Iterable, Mapping
from itertools import pairwise
from pathlib import Path

from trainer.errors import TrainingInputInvalid

SUBJECTS = "subjects.json"
HELD_OUT_SHARE = 0.1
"""Share of subjects for validation, and for test (paper: 271, 34 and 34 of 339)."""

FEWEST_SUBJECTS = 3
"""One each for training, validation and test."""


class SubjectDivided(TrainingInputInvalid):
    """A split separates visits of the same person."""


class SubjectsTooFew(TrainingInputInvalid):
    """A split needs more subjects."""


def write_subjects(subjects: list[str], folder: Path) -> None:
    """Write the subject of each case."""
    (folder / SUBJECTS).write_text(json.dumps(subjects, indent=0), encoding="utf-8")


def proposed_split(subjects: list[str]) -> Mapping[str, tuple[int, int]]:
    """Half-open ranges of case numbers for training, validation and test, by whole subjects.

    Parameters
    ----------
    subjects
        The subject of each case; cases of one subject must be consecutive.

    Raises
    ------
    SubjectsTooFew
        If there are fewer than three.
    """
    firsts = [number for number, subject in enumerate(subjects) if subject not in subjects[:number]]
    if len(firsts) < FEWEST_SUBJECTS:
        raise SubjectsTooFew(
            f"{len(firsts)} subject(s) cannot be split; training, validation and test need one "
            "each: import cases of more people"
        )
    held_out = max(1, round(len(firsts) * HELD_OUT_SHARE))
    edges = [0, firsts[-2 * held_out], firsts[-held_out], len(subjects)]
    return dict(zip(("training", "validation", "test"), pairwise(edges), strict=True))


def check_split(folder: Path, ranges: Iterable[tuple[int, int]]) -> None:
    """Check that no subject is in two ranges of a split.

    Raises
    ------
    SubjectDivided
        Naming the subject.
    """
    listed = folder / SUBJECTS
    if not listed.exists():
        return
    subjects = json.loads(listed.read_text(encoding="utf-8"))
    owner: dict[str, tuple[int, int]] = {}
    for one in ranges:
        for subject in set(subjects[slice(*one)]):
            if owner.setdefault(subject, one) != one:
                raise SubjectDivided(
                    f"subject {subject} is in the ranges {owner[subject]} and {one}; "
                    "keep all visits of one person in one range"
                )
