"""What an administrator reads about a rejected association."""

import tomllib
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from sij_node.config.settings import PeerConfig
from sij_node.domain.study import Refusal, of_association
from sij_node.network.pdu import (
    ADDRESS_NOT_ALLOWED,
    APPLICATION_CONTEXT,
    CALLED_TITLE_UNKNOWN,
    CALLING_TITLE_UNKNOWN,
    CERTIFICATE_NOT_OF_PEER,
    TOO_MANY_ASSOCIATIONS,
    AssociateRequest,
)
from sij_node.receive.rejection_advice import rejection_advice

PACS = PeerConfig(
    ae_title="PACS",
    networks=("10.1.0.0/16",),
    host="10.1.0.5",
    port=104,
    certificate_names=("pacs.example",),
)
REQUEST = AssociateRequest(1, "SIJ", "PACS", b"", APPLICATION_CONTEXT, (), 0)
STRANGER = replace(REQUEST, calling_ae="CT 1")


@pytest.mark.parametrize(
    ("rejection", "request_", "words"),
    [
        (
            CALLED_TITLE_UNKNOWN,
            REQUEST,
            '"PACS" at 10.2.0.9 called "SIJ", but this node is "SIJNODE". Set the AE title of this '
            "node there to SIJNODE.",
        ),
        (
            CALLING_TITLE_UNKNOWN,
            STRANGER,
            '"CT 1" at 10.2.0.9 is not a configured peer; configured: PACS. If it may send, add to '
            'config.toml: [[peer]] ae_title = "CT 1", networks = ["10.2.0.9"], host = "10.2.0.9", '
            "port = 104",
        ),
        (
            ADDRESS_NOT_ALLOWED,
            REQUEST,
            '"PACS" called from 10.2.0.9, but networks of [[peer]] PACS allows only 10.1.0.0/16. '
            'If this is PACS, add "10.2.0.9" to networks.',
        ),
        (
            CERTIFICATE_NOT_OF_PEER,
            REQUEST,
            'the certificate of "PACS" at 10.2.0.9 contains none of the certificate_names of '
            "[[peer]] PACS: pacs.example.",
        ),
        (
            TOO_MANY_ASSOCIATIONS,
            REQUEST,
            'maximum number of associations reached; "PACS" at 10.2.0.9 called "SIJ"',
        ),
    ],
)
def test_a_rejection_names_both_sides_and_what_to_change(rejection, request_, words):
    advice = rejection_advice(rejection, request_, "10.2.0.9", "SIJNODE", {"PACS": PACS})

    assert advice == words


def test_the_section_to_add_is_valid():
    advice = rejection_advice(CALLING_TITLE_UNKNOWN, STRANGER, "fe80::1", "SIJNODE", {})

    section = advice.partition("[[peer]] ")[2].replace(", ", "\n")
    assert PeerConfig.model_validate(tomllib.loads(section)).ae_title == "CT 1"


def refused(status: int, reason: str) -> Refusal:
    return Refusal(datetime.now(UTC), "PACS", "10.1.0.5", "", "", status, reason)


@pytest.mark.parametrize(
    ("refusal", "outcome", "explanation"),
    [
        (refused(0xA900, "UIDs differ: 1 and 2"), "0xA900", "UIDs differ: 1 and 2"),
        (
            refused(0, of_association(f"rejected {CALLED_TITLE_UNKNOWN}", "called: other")),
            "rejected 1,1,7",
            "called: other",
        ),
        (refused(0, of_association("aborted", "too slow")), "aborted", "too slow"),
        (refused(0, "SOP Instance UID already received"), "", "SOP Instance UID already received"),
    ],
)
def test_a_refusal_shows_its_status_or_how_the_association_ended(refusal, outcome, explanation):
    assert (refusal.outcome, refusal.explanation) == (outcome, explanation)
