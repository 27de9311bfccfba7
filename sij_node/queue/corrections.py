"""Applies corrections of patient or study once they are complete.

An archive that corrects a study sends its images again, one by one. They take effect together, when
every image of the study has arrived under the same new identity and no further copy has come for
[study] stable_age_s: a study of which only some images are corrected would belong to two patients.
"""

import structlog

from sij_node.config.settings import StudyConfig
from sij_node.domain.job import StallDetector
from sij_node.store.database import Database
from sij_node.store.received_copies import (
    accept_copies,
    copies_of,
    is_complete_correction,
    studies_with_copies,
)
from sij_node.store.spool import Spool

log = structlog.get_logger()

CORRECTED_BY = "scheduler"
"""Recorded as the one who accepted a correction that was applied automatically."""


class StudyCorrections:
    """Applies complete corrections, unless [study] corrections = "hold"."""

    def __init__(self, database: Database, spool: Spool, config: StudyConfig) -> None:
        self._database = database
        self._spool = spool
        self._config = config
        self._arrivals = StallDetector()

    def apply_complete(self, now: float) -> None:
        """Accept each correction that is complete.

        Parameters
        ----------
        now
            Monotonic seconds.
        """
        if self._config.corrections == "hold":
            return
        studies = studies_with_copies(self._database)
        self._arrivals.keep_only(studies)
        for study_uid in studies:
            found = copies_of(self._database, study_uid)
            marker = tuple(one.quarantined_as for one in found)
            age_s = self._arrivals.still_for_s(study_uid, marker, now)
            is_quiet = age_s >= self._config.stable_age_s
            if is_quiet and is_complete_correction(self._database, found):
                jobs = accept_copies(self._database, self._spool, study_uid, CORRECTED_BY)
                log.info(
                    "correction applied", instances=len(found), job_ids=[j.job_id for j in jobs]
                )
