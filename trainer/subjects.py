"""The subject of each of a site's cases, so that a split never separates one person's visits.

``subjects.json`` beside the prepared cases lists the subject of each case number.
"""

import hashlib
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


class SubjectsRenumbered(TrainingInputInvalid):
    """An import would give case numbers to other subjects than before."""


def read_subjects(folder: Path) -> list[str]:
    """The subject of each case; empty if they were not listed."""
    listed = folder / SUBJECTS
    return json.loads(listed.read_text(encoding="utf-8")) if listed.exists() else []


def subject_digests(folder: Path, cases: range) -> list[str]:
    """A digest of each subject of some cases, sorted: comparable, but not its name."""
    subjects = set(read_subjects(folder)[cases.start : cases.stop])
    return sorted(hashlib.sha256(one.encode()).hexdigest()[:16] for one in subjects)


def numbered(cases: Iterable[tuple[str, Path]], folder: Path) -> list[tuple[str, Path]]:
    """Subject and file of each case in the order of their numbers; new subjects come last.

    Raises
    ------
    SubjectsRenumbered
        If a number that the folder already has would go to another subject.
    """
    before = read_subjects(folder)
    rank = {subject: before.index(subject) for subject in set(before)}
    ordered = sorted(cases, key=lambda case: (rank.get(case[0], len(before)), *map(str, case)))
    subjects = [subject for subject, _ in ordered]
    if subjects[: len(before)] != before:
        raise SubjectsRenumbered(
            f"{folder} was prepared from other cases, and numbers would move from one subject to "
            "another, so that test subjects could become training subjects; import into another "
            "folder, and give the experiments a new version"
        )
    return ordered


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
    subjects = read_subjects(folder)
    owner: dict[str, tuple[int, int]] = {}
    for one in ranges:
        for subject in set(subjects[slice(*one)]):
            if owner.setdefault(subject, one) != one:
                raise SubjectDivided(
                    f"subject {subject} is in the ranges {owner[subject]} and {one}; "
                    "keep all visits of one person in one range"
                )
