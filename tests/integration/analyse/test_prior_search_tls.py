"""Results of prior studies are queried and retrieved over TLS, from authenticated peers only."""

import ssl
from dataclasses import dataclass
from pathlib import Path

import pytest

from sij_node.analyse.prior_search import PriorSearch
from sij_node.config.settings import TlsConfig
from sij_node.domain.prior_comparison import Priors
from sij_node.network.scu import AssociationRequestor
from tests.integration.analyse.test_prior_search import dates, node_with_priors
from tests.support.certificates import IssuedCertificate, authority, signed_by
from tests.support.prior_reports import earlier_report
from tests.support.query_archive import QueryArchive
from tests.support.unrecorded_events import no_events


@dataclass(frozen=True)
class Identities:
    """The certificates of a hospital, and one that a stranger has made."""

    hospital: IssuedCertificate
    node: IssuedCertificate
    archive: IssuedCertificate
    stranger: IssuedCertificate


@pytest.fixture(scope="module")
def identities(tmp_path_factory: pytest.TempPathFactory) -> Identities:
    folder = tmp_path_factory.mktemp("certificates")
    ours, other = authority(folder, "hospital"), authority(folder, "elsewhere")
    return Identities(
        ours,
        signed_by(ours, folder, "node"),
        signed_by(ours, folder, "archive"),
        signed_by(other, folder, "stranger"),
    )


def shown_by(who: IssuedCertificate, trusting: IssuedCertificate) -> ssl.SSLContext:
    """An archive that shows a certificate and asks its callers for theirs."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(who.certificate, who.private_key)
    context.load_verify_locations(trusting.certificate)
    context.verify_mode = ssl.CERT_REQUIRED
    return context


def found(
    folder: Path,
    archive: QueryArchive,
    identities: Identities,
    node: IssuedCertificate,
    tls: bool = True,
) -> Priors:
    """What a node with a certificate gets from an archive that is said to speak TLS."""
    shown = TlsConfig(certificate=node.certificate, private_key=node.private_key)
    with node_with_priors(folder, "get", archive.port) as here:
        (peer,) = here.config.peer
        encrypted = peer.model_copy(update={"tls": tls})
        trusting = here.config.delivery.model_copy(update={"ca": identities.hospital.certificate})
        caller = AssociationRequestor("SIJNODE", trusting, shown)
        search = PriorSearch(
            here.store.table,
            here.store.spool,
            caller,
            lambda title: encrypted if title == peer.ae_title else None,
            here.config.priors,
            no_events(),
        )
        return search.priors_for(here.job, here.images)


def test_earlier_reports_are_found_and_fetched_over_tls(tmp_path, identities):
    tls = shown_by(identities.archive, identities.hospital)
    with QueryArchive([earlier_report(), earlier_report("20190101")], tls=tls) as archive:
        priors = found(tmp_path, archive, identities, identities.node)

    assert dates(priors) == ["2019-01-01", "2023-03-01"]
    assert priors.problems == ()
    assert archive.asked.count("find STUDY") == 1
    assert archive.asked.count("get") == 2


# pynetdicom leaves the socket of a failed handshake to the garbage collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_an_archive_that_shows_another_certificate_is_asked_nothing(tmp_path, identities):
    tls = shown_by(identities.stranger, identities.hospital)
    with QueryArchive([earlier_report()], tls=tls) as archive:
        priors = found(tmp_path, archive, identities, identities.node)

    assert priors == Priors((), ("unreachable",))
    assert archive.asked == []


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_node_that_the_archive_does_not_know_gets_nothing(tmp_path, identities):
    tls = shown_by(identities.archive, identities.hospital)
    with QueryArchive([earlier_report()], tls=tls) as archive:
        priors = found(tmp_path, archive, identities, identities.stranger)

    assert priors.found == ()
    assert priors.problems != ()
    assert archive.asked == []


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_nothing_is_asked_in_the_clear_of_an_archive_that_speaks_tls(tmp_path, identities):
    tls = shown_by(identities.archive, identities.hospital)
    with QueryArchive([earlier_report()], tls=tls) as archive:
        priors = found(tmp_path, archive, identities, identities.node, tls=False)

    assert priors.found == ()
    assert archive.asked == []
