"""Measurements: the node beside its peers, one study stage by stage, and the job table."""

import os

# As the node's worker does, before torch and numpy are loaded: idle threads must not spin.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
