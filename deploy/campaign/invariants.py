"""Judges a node from outside: the senders' ledger, the files, the rows and the archive.

Nothing of the node's code is used, so a mistake of the node cannot hide itself.
"""

import hashlib
import sqlite3
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path

_FINISHED = ("delivered", "confirmed", "rejected", "failed", "cancelled", "not sent")


def violations(data: Path, ledger: Sequence[Mapping[str, str]], archive: Path) -> list[str]:
    """Every broken promise, in a sentence each.

    Parameters
    ----------
    data
        Data folder of a node that has stopped.
    ledger
        What the senders were acknowledged.
    archive
        Folder with the objects that the archive holds, named by SOP Instance UID.
    """
    with closing(sqlite3.connect(f"file:{data / 'jobs.sqlite'}?mode=ro", uri=True)) as database:
        return [
            *_lost_or_changed(data / "spool", ledger),
            *_rows(database, ledger),
            *_unfinished(database),
            *_deliveries(database, ledger, archive),
            *(
                f"{file.name} was left in incoming/."
                for file in (data / "spool/incoming").iterdir()
            ),
        ]


def _lost_or_changed(spool: Path, ledger: Sequence[Mapping[str, str]]) -> Iterator[str]:
    for line in ledger:
        name = hashlib.sha256(line["uid"].encode()).hexdigest() + ".dcm"
        path = spool / "instances" / name[:2] / name
        if not path.exists():
            yield f"{line['uid']} was acknowledged and is not stored."
            continue
        content = path.read_bytes()
        dataset = content[144 + int.from_bytes(content[140:144], "little") :]
        if hashlib.sha256(dataset).hexdigest() != line["sha256"]:
            yield f"{line['uid']} was acknowledged and is stored with other content."


def _rows(database: sqlite3.Connection, ledger: Sequence[Mapping[str, str]]) -> Iterator[str]:
    rows = Counter(uid for (uid,) in database.execute("SELECT sop_instance_uid FROM instances"))
    for uid in sorted({line["uid"] for line in ledger}):
        if rows[uid] != 1:
            yield f"{uid} was acknowledged and has {rows[uid]} rows."


def _unfinished(database: sqlite3.Connection) -> Iterator[str]:
    for job_id, state, lease in database.execute("SELECT job_id, state, leased_by FROM jobs"):
        if state not in _FINISHED or lease:
            yield f"Job {job_id} is still {state}."
        elif state == "failed":
            yield f"Job {job_id} failed."


def _deliveries(
    database: sqlite3.Connection, ledger: Sequence[Mapping[str, str]], archive: Path
) -> Iterator[str]:
    """Each study has each of its reports once, at the archive, and the node knows it."""
    reports = database.execute(
        "SELECT DISTINCT jobs.study_uid, results.kind, deliveries.result_uid, deliveries.state "
        "FROM deliveries JOIN jobs ON jobs.job_id = deliveries.job_id "
        "JOIN results ON results.sop_instance_uid = deliveries.result_uid"
    ).fetchall()
    kinds = {kind for _, kind, _, _ in reports}
    made = Counter((study, kind) for study, kind, _, _ in reports)
    for study in sorted({line["study"] for line in ledger}):
        for kind in sorted(kinds):
            if made[study, kind] != 1:
                yield f"Study {study} has {made[study, kind]} reports ({kind}) instead of one."
    for study, kind, uid, state in reports:
        if state != "acknowledged" or not (archive / f"{uid}.dcm").exists():
            yield f"The report {uid} ({kind}) of study {study} is {state} or not at the archive."
    for file in sorted(archive.glob("*.dcm")):
        if file.stem not in {uid for _, _, uid, _ in reports}:
            yield f"{file.stem} is at the archive, and no delivery of it is known."
