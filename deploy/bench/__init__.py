"""Benchmarks: ingest compared with other servers, one study stage by stage, and the job table."""

import os

# Set before torch and numpy are loaded, as in the worker: idle threads must not spin.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
