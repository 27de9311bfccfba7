"""Asks the archive that sends a study how many images it has, and for those that are missing.

Asked once while a study does not change, within a time limit; an archive that does not answer
delays the study no further.
"""

from collections import Counter
from collections.abc import Callable

import structlog

from sij_node.config.settings import PeerConfig
from sij_node.dicom.dataset_scan import IMAGE_CLASSES
from sij_node.domain.job import Job
from sij_node.errors import PriorsUnavailable
from sij_node.network.query_retrieve import ArchiveSearch
from sij_node.store.database import Database
from sij_node.store.registration import received_instances
from sij_node.store.series_at_archive import keep_series_at_archive

log = structlog.get_logger()

MAX_SERIES = 12
MAX_IMAGES = 2000
"""Limits of what is fetched for a study."""


class MissingImages:
    """Compares what the archive has of a study with what was received.

    Parameters
    ----------
    search_of
        A search in the archive of a peer, with its time limit.
    """

    def __init__(
        self,
        database: Database,
        peer_titled: Callable[[str], PeerConfig | None],
        search_of: Callable[[PeerConfig], ArchiveSearch],
    ) -> None:
        self._database = database
        self._peer_titled = peer_titled
        self._search_of = search_of

    def of_job(self, job: Job, has_pair: bool) -> tuple[str, ...]:
        """What the archive has and the node has not, in words; fetched if the peer says so.

        Parameters
        ----------
        has_pair
            Whether T1 and STIR have begun to arrive; otherwise series of which nothing was
            received are missing too.
        """
        peer = self._peer_titled(job.source_ae)
        if peer is None or peer.missing_images == "wait":
            return ()
        try:
            return self._asked(job, peer, has_pair)
        except PriorsUnavailable as error:
            log.warning("archive not queried", job_id=job.job_id, reason=str(error))
            return ()

    def _asked(self, job: Job, peer: PeerConfig, has_pair: bool) -> tuple[str, ...]:
        search = self._search_of(peer)
        stated = search.mr_series(job.study_uid)
        keep_series_at_archive(self._database, job.study_uid, stated)
        missing = self._missing(job, stated, has_pair)
        if missing and peer.missing_images == "move" and _is_within_limits(stated, missing):
            search.move_series(job.study_uid, sorted(missing))
        return tuple(
            f"series {uid}: {count} of {stated[uid]} images received"
            for uid, count in sorted(missing.items())
        )

    def _missing(self, job: Job, stated: dict[str, int], has_pair: bool) -> dict[str, int]:
        """Images received of each series of which the archive has more."""
        here = Counter(
            one.series_uid
            for one in received_instances(self._database, job.study_uid)
            if one.sop_class_uid in IMAGE_CLASSES
        )
        return {
            uid: here[uid]
            for uid, count in stated.items()
            if here[uid] < count and (here[uid] or not has_pair)
        }


def _is_within_limits(stated: dict[str, int], missing: dict[str, int]) -> bool:
    return len(missing) <= MAX_SERIES and sum(stated[uid] for uid in missing) <= MAX_IMAGES
