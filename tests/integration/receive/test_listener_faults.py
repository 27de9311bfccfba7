"""A faulty or hostile peer can end its own association and nothing else."""

import errno
import gc
import os
import socket
import struct
import threading
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from sij_node.config.settings import ListenerConfig
from sij_node.domain.study import Registration
from sij_node.receive import listener as listener_module
from sij_node.receive.c_store import InstanceReceiver
from tests.support.raw_peer import (
    ABORT,
    ASSOCIATE_RQ,
    EXPLICIT,
    MR,
    P_DATA,
    RELEASE_RQ,
    RawPeer,
    associate_request,
    command,
    context,
    echo_command,
    encoded,
    fragment,
    pdu,
    store_command,
)
from tests.support.running_listener import Node, listening, mr_image

PATIENT = ListenerConfig(max_pdu_bytes=65536, max_instance_mb=24, max_connections_per_address=32)
IMPATIENT = PATIENT.model_copy(
    update={"handshake_timeout_s": 1, "pdu_timeout_s": 0.6, "idle_timeout_s": 1}
)
AT_ONCE_S = 5
"""Enough on a busy machine; whatever waits for a clock of the node takes longer."""


@pytest.fixture
def node(tmp_path):
    with listening(tmp_path, limits=PATIENT) as node:
        yield node


@pytest.fixture
def impatient_node(tmp_path):
    with listening(tmp_path, limits=IMPATIENT) as node:
        yield node


def seconds_for_an_echo(node: Node) -> float:
    started = time.monotonic()
    with node.associated() as peer:
        assert peer.echo() == 0x0000
    return time.monotonic() - started


def resident_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGESIZE") / 1e6


def open_descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def settles(condition, seconds: float = 60) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.02)
    return False


# ---- silence -----------------------------------------------------------------------------------


def test_silent_connections_do_not_block_other_peers(tmp_path):
    limits = PATIENT.model_copy(update={"handshake_timeout_s": AT_ONCE_S})
    with listening(tmp_path, limits=limits) as node, ExitStack() as silent:
        peers = [silent.enter_context(node.peer()) for _ in range(200)]
        for number, peer in enumerate(peers):
            peer.socket.sendall(b"\1\0\0\0\0"[: (0, 1, 5)[number % 3]])

        assert max(seconds_for_an_echo(node) for _ in range(5)) < AT_ONCE_S
        assert all(peer.is_closed_within(3 * AT_ONCE_S) for peer in peers)


def test_a_silent_connection_is_closed(impatient_node):
    with impatient_node.peer() as peer:
        assert peer.is_closed_within(10)


def test_an_association_on_which_nothing_happens_is_aborted(impatient_node):
    with impatient_node.associated() as peer:
        assert peer.read() == (ABORT, bytes((0, 0, 2, 0)))


def test_an_association_that_stays_in_use_is_not_aborted(tmp_path):
    limits = PATIENT.model_copy(update={"idle_timeout_s": 3})
    with listening(tmp_path, limits=limits) as node, node.associated() as peer:
        for _ in range(8):
            time.sleep(0.5)
            assert peer.echo() == 0x0000


def test_a_byte_now_and_then_keeps_no_pdu_alive(impatient_node):
    with ExitStack() as trickling:
        unknown = [trickling.enter_context(impatient_node.peer()) for _ in range(10)]
        known = [trickling.enter_context(impatient_node.associated()) for _ in range(10)]
        open_ones = {
            **dict.fromkeys(unknown, struct.pack(">BxI", ASSOCIATE_RQ, 200) + bytes(100)),
            **dict.fromkeys(known, struct.pack(">BxI", P_DATA, 200) + bytes(100)),
        }
        for moment in range(100):
            if not open_ones:
                break
            for peer, sent in open_ones.items():
                try_to_send(peer, sent[moment : moment + 1])
            time.sleep(0.05)
            open_ones = {
                peer: sent for peer, sent in open_ones.items() if not peer.is_closed_within(0.005)
            }
        assert not open_ones


def try_to_send(peer: RawPeer, content: bytes) -> None:
    try:
        peer.socket.sendall(content)
    except ConnectionError:
        return


def send_on(peer: RawPeer, content: bytes) -> None:
    while True:
        peer.socket.sendall(content)


def test_a_peer_that_sends_a_byte_per_pdu_is_aborted(tmp_path):
    limits = IMPATIENT.model_copy(update={"min_bytes_per_s": 1000})
    with listening(tmp_path, limits=limits) as node, node.associated() as peer:
        peer.begin_store("1.2.3")
        for _ in range(60):
            try_to_send(peer, pdu(P_DATA, fragment(1, 0, b"x")))
            if peer.is_closed_within(0.1):
                break
        else:
            pytest.fail("the association stayed open")
        assert node.refusals[-1].reason.startswith("association aborted: instance sent at ")


def test_a_peer_that_takes_no_answers_is_given_up(impatient_node):
    with impatient_node.associated() as peer:
        peer.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        echoes = pdu(P_DATA, fragment(3, 3, echo_command()) * 16)
        peer.socket.settimeout(0.5)
        with pytest.raises((ConnectionError, TimeoutError)):
            send_on(peer, echoes * 50)

        assert settles(lambda: impatient_node.refusals)
        # Which is noticed first: that it takes no answer, or that it sends no more of its PDU?
        assert impatient_node.refusals[0].reason.endswith(
            ("the peer stopped reading", "timed out waiting for a PDU")
        )


# ---- floods ------------------------------------------------------------------------------------


@pytest.mark.parametrize("is_associated", [False, True])
def test_a_pdu_of_four_gigabytes_is_not_read(node, is_associated):
    before = resident_mb()
    kind = P_DATA if is_associated else ASSOCIATE_RQ
    with node.associated() if is_associated else node.peer() as peer:
        started = time.monotonic()
        try_to_send(peer, struct.pack(">BxI", kind, 0xFFFFFFFF) + bytes(1 << 20))
        assert peer.is_closed_within(10)
        assert time.monotonic() - started < AT_ONCE_S

    assert resident_mb() - before < 20


def test_a_request_of_six_megabytes_is_not_read(node):
    with node.peer() as peer:
        started = time.monotonic()
        try_to_send(peer, struct.pack(">BxI", ASSOCIATE_RQ, 6_000_000) + bytes(6_000_000))
        assert peer.is_closed_within(10)
        assert time.monotonic() - started < AT_ONCE_S


def test_five_thousand_contexts_are_too_many(node):
    contexts = b"".join(context(1 + 2 * (n % 128), "1.2", "1.2") for n in range(5000))
    with node.peer() as peer:
        assert peer.associate(associate_request(contexts=contexts))[0] == ABORT


def test_an_endless_dataset_is_aborted_at_the_limit_with_memory_flat(node):
    piece = fragment(1, 0, bytes(60_000))
    with node.associated() as peer:
        peer.begin_store("1.2.3")
        before = resident_mb()
        with pytest.raises(ConnectionError):
            send_on(peer, pdu(P_DATA, piece))
        assert resident_mb() - before < 20

    assert settles(lambda: node.other_files() == [])
    assert node.kept_files() == []
    assert "max_instance_mb" in node.refusals[0].reason


def test_an_endless_command_is_aborted(node):
    with node.associated() as peer:
        peer.send(P_DATA, fragment(1, 1, bytes(5000)))
        assert peer.read() == (ABORT, bytes((0, 0, 2, 0)))


# ---- what may not come -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "body", "reason"),
    [
        (P_DATA, fragment(1, 2, b"dataset first"), 5),
        (P_DATA, fragment(5, 3, echo_command()), 5),
        (P_DATA, fragment(1, 3, store_command("1.2.3")) + fragment(3, 2, b"elsewhere"), 5),
        (P_DATA, fragment(1, 3, store_command("1.2.3")) + fragment(1, 3, echo_command()), 5),
        (P_DATA, fragment(1, 3, b"no command"), 0),
        (P_DATA, fragment(3, 3, store_command("1.2.3", "1.2.840.10008.1.1")), 0),
        (P_DATA, b"\0\0\0\x20", 6),
        (ASSOCIATE_RQ, associate_request(), 2),
        (2, bytes(4), 2),
        (99, bytes(4), 1),
    ],
    ids=[
        "dataset without command",
        "context that was not proposed",
        "dataset in another context",
        "command instead of dataset",
        "malformed command",
        "store in the context of Verification",
        "malformed fragment",
        "second request",
        "answer instead of request",
        "unknown PDU",
    ],
)
def test_a_violation_of_the_protocol_aborts_the_association(node, kind, body, reason):
    with node.associated() as peer:
        peer.send(kind, body)
        assert peer.read() == (ABORT, bytes((0, 0, 2, reason)))
        assert peer.is_closed_within(10)

    assert node.kept_files() == []
    assert node.other_files() == []
    assert seconds_for_an_echo(node) < AT_ONCE_S


@pytest.mark.parametrize("field", [0x0020, 0x0021, 0x0010, 0x0100, 0x0110, 0x0120, 0x0130, 0x0140])
def test_queries_and_normalized_services_are_aborted_when_sent_anyway(node, field):
    with node.associated() as peer:
        peer.send(P_DATA, fragment(1, 3, command(field)))
        assert peer.read()[0] == ABORT


def test_a_release_in_the_middle_of_an_instance_is_a_violation(node):
    with node.associated() as peer:
        peer.begin_store("1.2.3")
        peer.send(RELEASE_RQ, bytes(4))
        assert peer.read() == (ABORT, bytes((0, 0, 2, 2)))


def test_what_is_not_dicom_is_turned_away(node):
    with node.peer() as peer:
        peer.socket.sendall(b"GET / HTTP/1.1\r\nHost: node\r\n\r\n")
        assert peer.is_closed_within(10)
    assert seconds_for_an_echo(node) < AT_ONCE_S


# ---- breaking off ------------------------------------------------------------------------------


def test_resets_in_the_middle_of_an_instance_leave_nothing(node):
    raw = encoded(mr_image("1.2.3", pixels=bytes(2_000_000)))
    seconds_for_an_echo(node)
    descriptors, threads = open_descriptors(), threading.active_count()

    for number in range(100):
        with node.associated() as peer:
            peer.begin_store("1.2.3")
            peer.send_dataset(raw[: 1 + number * 19_000 % len(raw)], piece=60_000)
            peer.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    assert settles(lambda: threading.active_count() <= threads)
    assert settles(lambda: open_descriptors() <= descriptors)
    assert settles(lambda: node.other_files() == [])
    assert node.kept_files() == []


def test_an_abort_in_the_middle_of_an_instance_leaves_nothing(node):
    with node.associated() as peer:
        peer.begin_store("1.2.3")
        peer.send(P_DATA, fragment(1, 0, bytes(60_000)))
        peer.send(ABORT, bytes(4))
        assert peer.is_closed_within(10)

    assert node.kept_files() == []
    assert node.other_files() == []


# ---- faults of the node itself -----------------------------------------------------------------


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_fault_in_one_association_ends_no_other(tmp_path):
    def register(instance):
        if instance.sop_instance_uid == "1.2.3":
            raise ZeroDivisionError
        return Registration.NEW

    with listening(tmp_path, register=register) as node, node.associated() as other:
        with node.associated() as peer:
            peer.begin_store("1.2.3")
            peer.send_dataset(encoded(mr_image("1.2.3")))
            assert peer.read() == (0, b"")
        assert other.store("1.2.4", encoded(mr_image("1.2.4"))) == 0x0000
        assert len(node.kept_files()) == 1
        assert node.other_files() == []


def test_running_out_of_descriptors_is_survived(node, monkeypatch):
    failures = [OSError(errno.EMFILE, "Too many open files")] * 3
    listening_socket = node.listener._socket

    class Failing:
        def accept(self):
            if failures:
                raise failures.pop()
            return listening_socket.accept()

    monkeypatch.setattr(listener_module, "_PAUSE_S", 0.01)
    survivor = threading.Thread(target=node.listener._accept_all, args=(Failing(),), daemon=True)
    survivor.start()

    assert settles(lambda: not failures)
    for _ in range(4):
        assert seconds_for_an_echo(node) < AT_ONCE_S
    assert survivor.is_alive()


def test_more_connections_than_threads_can_be_started_are_survived(node, monkeypatch):
    def no_thread(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as exhausted:
        exhausted.setattr(threading.Thread, "start", no_thread)
        with node.peer() as peer:
            assert peer.is_closed_within(10)
    assert seconds_for_an_echo(node) < AT_ONCE_S


def test_an_idle_association_costs_no_processor_time(tmp_path):
    with listening(tmp_path) as node, ExitStack() as idle:
        peers = [idle.enter_context(node.associated()) for _ in range(10)]
        assert [peer.echo() for peer in peers] == [0x0000] * 10
        before = time.process_time()
        time.sleep(1)
        assert time.process_time() - before < 0.02
        assert peers[0].echo() == 0x0000


def test_an_association_that_is_over_holds_no_memory(node):
    gc.collect()
    gc.disable()
    try:
        for _ in range(5):
            seconds_for_an_echo(node)
        assert settles(lambda: not any(isinstance(o, InstanceReceiver) for o in gc.get_objects()))
    finally:
        gc.enable()


def test_a_context_of_a_deflated_syntax_cannot_be_used(node):
    deflated = context(1, MR, "1.2.840.10008.1.2.1.99") + context(3, MR, EXPLICIT)
    with node.peer() as peer:
        assert peer.associate(associate_request(contexts=deflated))[0] == 2
        peer.begin_store("1.2.3", context_id=1)
        assert peer.read()[0] == ABORT
