"""Where new results stand among those that a destination already has.

When inputs, networks or the way of writing have changed, results are a new revision that names
the one before. When nothing has changed since, they are the same again, under the same UIDs. What
goes back to how it was before that is one more revision, so that the newest always holds.
"""

from collections.abc import Sequence
from dataclasses import replace

from sij_node.domain.job import Result
from sij_node.results.provenance import ResultContext

Revision = tuple[Result, ...]
"""The results that one analysis gave to a destination."""


def in_history(
    context: ResultContext, study_uid: str, history: Sequence[Revision], reason_code: str = ""
) -> ResultContext:
    """The context as the revision that it is.

    Parameters
    ----------
    context
        Of the analysis, as if it were the first.
    history
        What the destination was given before, the oldest first.
    reason_code
        Why the study is not analysed, if it is not.

    Returns
    -------
    ResultContext
        The newest revision's own context where nothing has changed since; else one more.
    """
    known = _told_apart(history)
    if not known:
        return context
    before = known[-2] if len(known) > 1 else ()
    as_newest = replace(context, predecessors=before, revision=len(known))
    if _is_same(as_newest, study_uid, known[-1], reason_code):
        return as_newest
    return replace(context, predecessors=known[-1], revision=len(known) + 1)


def _told_apart(history: Sequence[Revision]) -> list[Revision]:
    """The revisions, each once, though several jobs may have given the same one."""
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
    """Whether this analysis would make a result of that revision again."""
    return any(
        result.sop_instance_uid == context.uid(study_uid, *_names(result.kind, reason_code))
        for result in revision
    )


def _names(kind: str, reason_code: str) -> tuple[str, ...]:
    return (kind, reason_code) if kind == "not analysed" else (kind,)
