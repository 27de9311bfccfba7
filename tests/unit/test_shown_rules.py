"""What the node would make of a dropped file."""

import numpy as np
import pytest
from pydicom.dataset import Dataset

from sij_node.config import Config
from sij_node.errors import DatasetUnreadable
from sij_node.store.reading import read_dropped
from sij_node.web.shown.rules import ruling
from sij_node.web.shown.words import Tone
from tests.support.mr import STIR_TIMES, T1_TIMES, classic_series
from tests.support.part10 import *  # noqa: F403

CONFIG = Config.model_validate(
    {
        "node": {"ae_title": "SIJNODE", "data_folder": "/tmp/none"},
        "peer": [
            {"ae_title": "PACS", "networks": ["127.0.0.1"], "host": "pacs", "port": 104, "priority": 3}
        ],
        "priority_rule": [
            {"keyword": "RequestedProcedurePriority", "contains": "STAT", "priority": 9},
            {"keyword": "StationName", "contains": "MR2", "priority": 6},
            {"keyword": "PatientName", "contains": "Canary", "priority": 1},
        ],
    }
)
