"""A node started with `sij-node run`, with all its processes."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from deploy.trial import NODE, set_up
from sij_node.config.settings import load_config
from sij_node.domain.job import Job, State
from sij_node.store.database import open_database
from sij_node.store.job_table import JobTable
from tests.support.job_tables import latest_job
from tests.support.raw_peer import ASSOCIATE_AC, RawPeer, associate_request
from tests.support.waiting import PATIENCE_S, wait_for

ARCHIVE = "ARCHIVE"
LISTENER, WORKER, ANALYSIS = "-m sij_node listen", "-m sij_node work", "spawn_main"
"""Part of the command line of each process below `sij-node run`."""


class RunningNode:
    """A node with its own folder that delivers to an archive on this machine.

    Its processes form a process group, so that none can be overlooked.

    Parameters
    ----------
    quiet_s
        After how long an incomplete study counts as complete.
    profile
        What the archive gets.
    page_port
        Where its page answers; 0 leaves it out.
    priors_from
        As in a [[peer]].
    """

    def __init__(
        self,
        folder: Path,
        archive_port: int,
        quiet_s: float = 60,
        profile: str = "minimal",
        page_port: int = 0,
        priors_from: str = "store",
    ) -> None:
        self.folder = folder
        self._run: subprocess.Popen[bytes] | None = None
        trial = set_up(
            folder,
            ARCHIVE,
            archive_port,
            profile=profile,
            priors_from=priors_from,
            study={"stable_age_s": 3, "stable_age_without_pair_s": quiet_s},
            worker={"lease_s": 8},
            retry={"initial_delay_s": 1, "max_delay_s": 2},
            spool={"min_free_mb": 10},
            web={"enabled": page_port > 0, "port": page_port or 8570},
        )
        self.peer, self._config = trial.peer, trial.config
        self._engine = open_database(load_config(self._config).database_url)
        self.table = JobTable(self._engine)

    @property
    def log_file(self) -> Path:
        """The standard error of its processes."""
        return self.folder / "node.log"

    def start(self) -> None:
        """Start it and wait until it responds and its networks are loaded."""
        ready = self.log().count("worker ready")
        with self.log_file.open("ab") as log:
            self._run = subprocess.Popen(
                [sys.executable, "-m", "sij_node", "run", "--config", str(self._config)],
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.wait_until_it_listens()
        wait_for(lambda: self._is_alive() and self.log().count("worker ready") > ready, "worker")

    def wait_until_it_listens(self) -> None:
        """Wait until it responds to C-ECHO."""
        wait_for(lambda: self._is_alive() and self._answers(), "answer to a C-ECHO")

    def stop(self) -> int:
        """Stop it with SIGTERM, as systemd does; returns the exit status."""
        self._run.terminate()
        return self._run.wait(timeout=PATIENCE_S)

    def close(self) -> None:
        """Kill all its processes, whatever their state."""
        if self.processes():
            os.killpg(self._run.pid, signal.SIGKILL)
            self._run.wait(timeout=PATIENCE_S)
        self._engine.dispose()

    def kill(self, role: str) -> None:
        """SIGKILL the `LISTENER`, the `WORKER` or its child for `ANALYSIS`."""
        os.kill(self._pid_of(role), signal.SIGKILL)

    @contextmanager
    def held_still(self, role: str) -> Iterator[None]:
        """Suspend one of its processes for a while."""
        pid = self._pid_of(role)
        os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            if pid in self.processes():
                with suppress(ProcessLookupError):  # it was being killed
                    os.kill(pid, signal.SIGCONT)

    def processes(self) -> dict[int, str]:
        """Process id and command line of each live process."""
        if self._run is None:
            return {}
        found = (_process(folder) for folder in Path("/proc").glob("[0-9]*"))
        return {pid: command for pid, group, command in found if group == self._run.pid}

    def _pid_of(self, role: str) -> int:
        (pid,) = (pid for pid, command in self.processes().items() if role in command)
        return pid

    def job_of(self, study_uid: str) -> Job | None:
        """The study's latest job."""
        return latest_job(self.table, study_uid, ARCHIVE)

    def wait_for_state(self, study_uid: str, *states: State) -> Job:
        """Wait until the study's job is in one of some states."""

        def look() -> Job | None:
            job = self.job_of(study_uid)
            return job if job is not None and job.state in states else None

        try:
            return wait_for(look, f"job that is {' or '.join(states)}")
        except TimeoutError as error:
            raise TimeoutError(f"{error} {self.job_of(study_uid)}\n{self.log()[-4000:]}") from None

    def log(self) -> str:
        """The complete log of its processes."""
        return self.log_file.read_text(encoding="utf-8") if self.log_file.exists() else ""

    def _is_alive(self) -> bool:
        if self._run.poll() is not None:
            raise RuntimeError(f"The node ended with {self._run.returncode}:\n{self.log()[-4000:]}")
        return True

    def _answers(self) -> bool:
        request = associate_request(NODE.encode(), ARCHIVE.encode())
        try:
            with RawPeer(self.peer.port) as peer:
                return peer.associate(request)[0] == ASSOCIATE_AC and peer.echo() == 0
        except OSError:
            return False


def _process(folder: Path) -> tuple[int, int, str]:
    """Process id, group and command line; no group if the process has exited."""
    try:
        status = (folder / "stat").read_text().rpartition(")")[2].split()
        command = (folder / "cmdline").read_text().replace("\0", " ")
    except OSError:
        return int(folder.name), 0, ""
    state, _, group = status[:3]
    return int(folder.name), 0 if state == "Z" else int(group), command


@contextmanager
def running_node(
    folder: Path,
    archive_port: int,
    quiet_s: float = 60,
    profile: str = "minimal",
    page_port: int = 0,
    priors_from: str = "store",
) -> Iterator[RunningNode]:
    """A node within a ``with`` block that delivers to `ARCHIVE` on that port."""
    node = RunningNode(folder, archive_port, quiet_s, profile, page_port, priors_from)
    try:
        node.start()
        yield node
    finally:
        node.close()
