"""The demo, as a new user runs it."""

import subprocess
import sys
from pathlib import Path

import pytest
from pydicom import dcmread

pytestmark = pytest.mark.acceptance


def run_demo(out: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "deploy.demo", "--out", str(out)],
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def leave_an_earlier_run(out: Path) -> None:
    """What an interrupted run may leave: an object, a truncated database, a page."""
    for name in ("archive/1.2.3.dcm", "data/jobs.sqlite", "index.html"):
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        (out / name).write_bytes(b"of an earlier run")


def test_the_demo_replaces_an_earlier_run_and_leaves_no_process(tmp_path: Path):
    out = tmp_path / "demo"
    leave_an_earlier_run(out)

    said = run_demo(out)
    names = {file.name for file in (out / "archive").iterdir()}

    assert said.count("absent") + said.count("present ") >= 28
    assert "not for clinical use" in said
    assert processes_of(out) == []
    assert len(names) == 7
    received = [dcmread(out / "archive" / name) for name in names]
    assert {one.Modality for one in received} == {"DOC", "OT", "SEG", "SR"}
    page = (out / "index.html").read_text(encoding="utf-8")
    (summary,) = (one for one in received if one.Modality == "OT")
    assert page.count("<img") == 8 + summary.NumberOfFrames
    assert (out / "report.pdf").read_bytes().startswith(b"%PDF-")
    assert 'data="report.pdf"' in page
    assert "Trained on phantoms, not for clinical use" in page


def processes_of(out: Path) -> list[str]:
    """What still runs with that folder among its arguments."""
    running = (process for process in Path("/proc").iterdir() if process.name.isdigit())
    return [process.name for process in running if str(out) in _command_line(process)]


def _command_line(process: Path) -> str:
    try:
        return (process / "cmdline").read_text()
    except OSError:
        return ""
