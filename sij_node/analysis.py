"""What the analysis process does with an order: read the files, run the pipeline, keep the results.

This is the only module of the hospital side that loads the networks.
"""

import hashlib
import os
import resource
import signal
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path

import structlog

import models
from models.analyser import Analyser
from models.weights import WeightsInvalid
from sij_node.analysis_process import Order, Outcome, answer_orders
from sij_node.config import Config, WorkerConfig
from sij_node.errors import WeightsRefused
from sij_node.jobs import Result
from sij_node.logs import configure_logging
from sij_node.pipeline import CheckedResult, Destination, Ports, analyse_study
from sij_node.store.reading import read_checked, read_header
from sij_node.store.secret import tracking_key
from sij_node.store.spool import Spool

log = structlog.get_logger()

WEIGHTS = Path(models.__file__).parent / "weights"
LOWEST_PRIORITY = 19
"""The listener's syncs come before the networks' arithmetic."""


def serve(pipe: Connection, config: Config) -> None:
    """Load the networks, say so, and answer orders until the worker goes away."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    os.nice(LOWEST_PRIORITY)
    configure_logging(config.node.log_format)
    try:
        analyser = Analyser.load(
            config.worker.weights_folder or WEIGHTS, config.worker.device, config.worker.threads
        )
    except WeightsInvalid as error:
        pipe.send(WeightsRefused(f"The networks cannot be used: {error}"))
        return
    _limit_memory(config.worker, analyser)
    log.info("networks ready", model=_named(analyser), device=str(analyser.device))
    spool = Spool(config.node.data_folder / "spool")
    answer_orders(pipe, partial(_fulfil, analyser, spool, config))


def _fulfil(analyser: Analyser, spool: Spool, config: Config, order: Order) -> Outcome:
    ports = Ports(
        header=partial(read_header, spool),
        dataset=partial(read_checked, spool),
        analyse=analyser.analyse,
        ae_title=config.node.ae_title,
        tracking_key=tracking_key(config.node.data_folder),
    )
    profile = config.profile_for(order.destination)
    destination = Destination(profile, order.history, order.priors)
    study = analyse_study(order.instances, order.conflicts, ports, destination)
    kept = tuple(_kept(spool, made) for made in study.objects)
    note = "; ".join(f"series {uid}: {reason}" for uid, reason in study.series.items())
    return Outcome(kept, study.weights, note, study.rejected)


def _kept(spool: Spool, made: CheckedResult) -> Result:
    """Put a result on the disk, under a name that says nothing but its content."""
    sha256 = hashlib.sha256(made.content).hexdigest()
    return Result(
        sop_instance_uid=str(made.dataset.SOPInstanceUID),
        sop_class_uid=str(made.dataset.SOPClassUID),
        kind=made.kind,
        series_uid=str(made.dataset.SeriesInstanceUID),
        file_name=spool.keep_result(made.content, f"{sha256}.dcm"),
        sha256=sha256,
        size_bytes=len(made.content),
        transfer_syntax_uid="1.2.840.10008.1.2.1",
    )


def _limit_memory(worker: WorkerConfig, analyser: Analyser) -> None:
    if analyser.device.type == "cpu":
        limit = worker.memory_limit_mb << 20
        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))


def _named(analyser: Analyser) -> str:
    return ", ".join(f"{one.name} {one.version}" for one in analyser.identities)
