"""Numbers the revisions of the results that a destination receives.

If inputs, networks or output have changed, results become a new revision that references its
predecessor. If nothing has changed, they are identical and keep their UIDs. Returning to an
earlier state is a further revision too, so the newest revision is always the valid one.
"""

from collections.abc import Sequence
from dataclasses import replace

from sij_node.domain.job import Result
from sij_node.results.provenance import ResultContext

Revision = tuple[Result, ...]
"""The results of one analysis for a destination."""


def in_history(
    context: ResultContext, study_uid: str, history: Sequence[Revision], reason_code: str = ""
) -> ResultContext:
    """The context with its revision number and predecessors.

    Parameters
    ----------
    context
        The context of a first analysis.
    history
        Earlier results for the destination, oldest first.
    reason_code
        Why the study was not analysed, if so.

    Returns
    -------
    ResultContext
        That of the newest revision if nothing has changed, otherwise a further revision.
    """
    known = _distinct(history)
    if not known:
        return context
    before = known[-2] if len(known) > 1 else ()
    as_newest = replace(context, predecessors=before, revision=len(known))
    if _is_same(as_newest, study_uid, known[-1], reason_code):
        return as_newest
    return replace(context, predecessors=known[-1], revision=len(known) + 1)


def _distinct(history: Sequence[Revision]) -> list[Revision]:
    """The distinct revisions; several jobs may have produced the same one."""
    apart: list[dict[str, Result]] = []
    for revision in history:
        by_uid = {result.sop_instance_uid: result for result in revision}
        known = next((one for one in apart if one.keys() & by_uid.keys()), None)
        if known is None:
            apart.append(by_uid)
        else:
            known.update(by_uid)
    return [tuple(one[uid] for uid in sorted(one)) for one in apart]


def _is_same(context: ResultContext, study_uid: str, revision: Revision, reason_code: str) -> bool:
    """Whether this analysis would reproduce a result of that revision."""
    return any(
        result.sop_instance_uid == context.uid(study_uid, *_names(result.kind, reason_code))
        for result in revision
    )


def _names(kind: str, reason_code: str) -> tuple[str, ...]:
    return (kind, reason_code) if kind.startswith("not analysed") else (kind,)
