"""The log: a closed vocabulary, no patient, one line per event."""

import json
import subprocess
import sys

SCRIPT = """
import logging, warnings
import structlog
from sij_node.errors import WorkerLost
from sij_node.logs import configure_logging
configure_logging({form!r})
log = structlog.get_logger()
{body}
"""


def lines_of(body: str, form: str = "json") -> list[str]:
    """What a process that logs writes to its standard error."""
    script = SCRIPT.format(form=form, body=body)
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    return done.stderr.splitlines()


def test_a_key_that_is_not_in_the_vocabulary_never_reaches_the_log():
    (line,) = lines_of("log.info('job finished', job_id=41, patient='Muster^Erika')")

    assert json.loads(line)["job_id"] == 41
    assert "Muster" not in line


def test_a_strange_text_cannot_forge_a_line():
    lines = lines_of(r"log.info('association ended', peer='PACS\n{\"event\": \"x\"}\x1b[31m')")

    assert len(lines) == 1
    assert "\x1b" not in lines[0]


def test_a_strange_text_cannot_forge_a_line_on_a_terminal_either():
    lines = lines_of(r"log.info('association ended', peer='PACS\nforged')", form="terminal")

    assert len(lines) == 1


def test_the_message_of_a_foreign_error_is_not_written():
    body = """
try:
    raise ValueError("Muster^Erika")
except ValueError as error:
    log.error("analysis failed", exc_info=error)
"""
    (line,) = lines_of(body)

    said = json.loads(line)
    assert said["error"] == "ValueError"
    assert any("<string>" in place for place in said["where"])
    assert "Muster" not in line


def test_the_message_of_an_error_of_our_own_is_written():
    body = """
try:
    raise WorkerLost("gone")
except WorkerLost as error:
    log.error("worker lost", exc_info=error)
"""
    (line,) = lines_of(body)

    assert json.loads(line)["reason"] == "gone"


def test_libraries_are_silent_because_they_may_quote_a_patient():
    body = "logging.getLogger('pynetdicom').error('Muster'); warnings.warn('Muster')"

    assert lines_of(body) == []


def test_an_uncaught_error_is_written_without_its_message():
    lines = lines_of("raise KeyError('Muster^Erika')")

    assert len(lines) == 1
    assert json.loads(lines[0])["error"] == "KeyError"
    assert "Muster" not in lines[0]


def test_an_error_that_ends_a_thread_is_written_without_its_message():
    lines = lines_of("import threading; threading.Thread(target={}.pop, args=('Muster',)).start()")

    assert [json.loads(line)["error"] for line in lines] == ["KeyError"]
    assert "Muster" not in lines[0]


def test_a_library_s_warning_never_reaches_the_log():
    body = """
warnings.simplefilter("always", DeprecationWarning)
warnings.warn("use something else", DeprecationWarning)
log.info("job finished", job_id=41)
"""
    (line,) = lines_of(body)

    assert json.loads(line)["event"] == "job finished"
