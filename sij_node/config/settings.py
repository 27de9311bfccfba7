"""config.toml as typed, frozen sections; every problem is reported at once.

Unknown keys are errors, names end with their unit, and what a site must decide has no default.
"""

import tomllib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    Field,
    StringConstraints,
    ValidationError,
)

import models
from models.findings import Lesion, OperatingPoint
from models.scoring_choice import ScoringChoice
from sij_node.config.config_problems import did_you_mean, problems_of
from sij_node.config.profiles import MINIMAL, PRESETS, ObjectName, Profile, preset
from sij_node.config.renamed_keys import with_current_names
from sij_node.config.section import Section
from sij_node.config.user_roles import Role
from sij_node.config.value_types import (
    LOOPBACK,
    AETitle,
    Host,
    Hour,
    IssuerUrl,
    Keyword,
    MailAddress,
    Network,
    Port,
    Seconds,
    ServiceUrl,
    SyslogUrl,
    TimeZone,
    ViewerUrl,
    WebhookUrl,
    Weekday,
)
from sij_node.errors import ConfigurationInvalid, UnknownName, WeightsRefused, os_reason

AnySection = TypeVar("AnySection", bound=Section)


class NodeConfig(Section):
    """[node] Identity and data folder of this node."""

    ae_title: AETitle
    """AE title of this node, as the PACS must call it."""
    data_folder: Path
    """Spool, quarantine and, with SQLite, the database. Workers on other hosts must share it."""
    log_format: Literal["json", "terminal"] = "json"
    """json: one object per line. terminal: easier to read."""


class TlsConfig(Section):
    """[listener.tls] DICOM over TLS as in PS3.15 B.12 (BCP 195)."""

    certificate: Path
    """PEM, the node's certificate and its chain."""
    private_key: Path
    client_ca: Path | None = None
    """PEM. If set, peers must present a certificate signed by this CA (mutual TLS)."""
    crl: Path | None = None
    """PEM. Revocation list of `client_ca`; peers with a revoked certificate are refused, and all
    of them once it is out of date. All files are read again when they change."""

    def contradictions(self) -> Iterator[str]:
        """A revocation list needs the CA whose certificates it revokes."""
        if self.crl is not None and self.client_ca is None:
            yield "crl needs client_ca, whose certificates it revokes"


class ListenerConfig(Section):
    """[listener] The Storage SCP and its limits."""

    host: Host = "127.0.0.1"
    """Address to listen on; loopback unless configured otherwise."""
    port: Port = 11112
    tls: TlsConfig | None = None
    max_associations: Annotated[int, Field(ge=1, le=1000)] = 32
    max_connections_per_address: Annotated[int, Field(ge=1, le=1000)] = 16
    handshake_timeout_s: Seconds = 15
    """From TCP connect to the end of association negotiation, TLS included."""
    pdu_timeout_s: Seconds = 30
    """From the first to the last byte of a PDU."""
    idle_timeout_s: Seconds = 60
    """Idle associations are aborted after this time."""
    min_bytes_per_s: Annotated[float, Field(ge=0)] = 1000
    """A peer that sends an instance more slowly than this, measured after `idle_timeout_s`, is
    aborted; 0: never."""
    max_pdu_bytes: Annotated[int, Field(ge=4096, le=1 << 20)] = 131072
    max_instance_mb: Annotated[int, Field(ge=1, le=4096)] = 1024
    max_nesting: Annotated[int, Field(ge=1, le=64)] = 16
    """Depth of nested sequences; deeper instances are refused."""
    storage_commitment: bool = False
    """Answer peers that request storage commitment. What is committed is stored for [spool]
    retention_days from the answer and no longer: enable it only for senders that know this."""


class PeerConfig(Section):
    """[[peer]] A system that may send studies and receives their results."""

    ae_title: AETitle
    networks: tuple[Network, ...] = Field(min_length=1)
    """Source addresses it may connect from, as CIDR or single addresses. Never empty."""
    host: Host
    """Results are sent to this address."""
    port: Port
    priority: Annotated[int, Field(ge=0, le=9)] = 5
    """0 to 9; studies of peers with a higher priority are analysed first."""
    tls: bool = False
    """Send results over TLS, with the certificate of [listener.tls] and the CA of [delivery]."""
    certificate_names: tuple[str, ...] = ()
    """Its certificate must contain one of these names (DNS name, IP address, URI or common name);
    empty: any certificate signed by [listener.tls] client_ca."""
    profile: str = "minimal"
    """Output profile: minimal, ohif, orthanc, everything, or the name of a [[profile]]."""
    priors: Literal["off", "store", "get", "move"] = "store"
    """Where results of prior studies come from. store: the node's own store; get, move: also this
    archive, by C-FIND and C-GET or C-MOVE to the node; off: no comparison."""
    missing_images: Literal["wait", "query", "move"] = "wait"
    """Whether this archive is asked for missing images of its studies. wait: no; query: ask by
    C-FIND how many images each MR series has, and wait for them; move: also have missing images and
    series sent to the node by C-MOVE. [priors] timeout_s limits it."""
    rejection_notes: bool = False
    """Mark results that were sent under a patient or study that was corrected later by a rejection
    note (IHE IOCM). For archives that support it; others list the note as key images."""
    storage_commitment: Literal["off", "request", "find"] = "off"
    """Whether a delivered job is confirmed by the destination. request: it is asked to commit to
    storing the results (Storage Commitment, N-ACTION), and by C-FIND if it cannot or does not
    answer; find: it is asked by C-FIND only; off: its C-STORE responses suffice."""
    shadow: bool = False
    """Shadow mode: receive and analyse its studies, but withhold the results."""
    stow_user: str = ""
    """User whose API tokens this peer stores studies with, by STOW-RS; empty: by C-STORE only."""
    send_results: bool = True
    """Send the results of its studies back to it; false: only to every [[destination]]."""

    @property
    def title(self) -> str:
        """Its name as a destination."""
        return self.ae_title


class DestinationConfig(Section):
    """[[destination]] A system that receives results and sends no studies."""

    name: AETitle
    """Unique among destinations and peers."""
    kind: Literal["stow-rs", "fhir", "hl7"]
    """stow-rs: DICOM files by DICOMweb (PS3.18 10.5); fhir: the report as FHIR R4 resources; hl7:
    the report as HL7 v2.5.1 ORU^R01 over MLLP."""
    url: ServiceUrl
    """Root of the service: https for stow-rs, without the final /studies, and for fhir;
    mllp://host:port or, with TLS, mllps://host:port for hl7."""
    peers: tuple[AETitle, ...] = ()
    """It receives the results of studies from these peers; empty: of all."""
    objects: tuple[ObjectName, ...] = ()
    """stow-rs: which results it receives, in this order; empty: those of the sender's profile."""
    patient_system: str = ""
    """fhir: URI of the system that issues patient IDs, for their identifiers."""
    receiving_application: str = ""
    """hl7: MSH-5."""
    receiving_facility: str = ""
    """hl7: MSH-6."""
    user: str = ""
    """For basic authentication, with `password_file`."""
    password_file: Path | None = None
    token_file: Path | None = None
    """File with a bearer token; read again for every attempt."""
    certificate: Path | None = None
    """PEM. Client certificate and its chain, for mutual TLS."""
    private_key: Path | None = None
    ca: Path | None = None
    """PEM. CA of the server's certificate; if unset, the system's trust store."""
    rejection_notes: bool = False
    """As for a [[peer]]."""
    shadow: bool = False
    """Withhold results from it until a user requests them."""

    def contradictions(self) -> Iterator[str]:
        """URL and kind must agree, authentication be complete, and secrets be encrypted."""
        yield from self._url_and_kind()
        yield from self._authentication()

    def _url_and_kind(self) -> Iterator[str]:
        is_mllp = self.url.startswith("mllp")
        if is_mllp is not (self.kind == "hl7"):
            yield "url: mllp or mllps for kind hl7, http or https for all others"
        elif is_mllp and (self.port == 0 or urlsplit(self.url).path.strip("/")):
            yield "url: kind hl7 needs mllp://host:port"
        if is_mllp and (self.user or self.token_file):
            yield "kind hl7 has no passwords or tokens; use mllps with a certificate"
        if self.kind != "stow-rs" and (self.objects or self.rejection_notes):
            yield "objects and rejection_notes are for kind stow-rs only"

    def _authentication(self) -> Iterator[str]:
        if bool(self.user) is not (self.password_file is not None):
            yield "user and password_file must be set together"
        if self.user and self.token_file is not None:
            yield "set either user and password_file, or token_file"
        if (self.certificate is None) is not (self.private_key is None):
            yield "certificate and private_key must be set together"
        has_secret = self.user or self.token_file or self.certificate or self.ca
        if has_secret and self.url.startswith(("http:", "mllp:")) and self.host not in LOOPBACK:
            yield "authentication and certificates need https or mllps; without only on loopback"

    @property
    def title(self) -> str:
        """Its name as a destination."""
        return self.name

    @property
    def host(self) -> str:
        """Host in the URL."""
        return urlsplit(self.url).hostname or ""

    @property
    def port(self) -> int:
        """Port in the URL; 0 if it has none."""
        with suppress(ValueError):
            return urlsplit(self.url).port or 0
        return 0


AnyDestination = PeerConfig | DestinationConfig
"""Where results are sent: to a peer by C-STORE, or to a [[destination]] by its kind."""


class PriorityRule(Section):
    """[[priority_rule]] Priority of studies whose first image contains a text in an attribute."""

    keyword: Keyword
    """DICOM keyword, for instance RequestedProcedurePriority."""
    contains: Annotated[str, StringConstraints(min_length=1)]
    priority: Annotated[int, Field(ge=0, le=9)]


class StudyConfig(Section):
    """[study] When a study counts as complete."""

    stable_age_s: Seconds = 10
    """T1 and STIR received, and no new instance for this long."""
    stable_age_without_pair_s: Seconds = 120
    """T1 or STIR missing, and no new instance for this long: analysed as it is, or rejected."""
    corrections: Literal["apply", "hold"] = "apply"
    """When a study is sent again under a corrected patient or study. apply: reanalyse it under the
    new identity once all images have arrived; hold: wait until an administrator accepts it."""


class DatabaseConfig(Section):
    """[database] Database of jobs, deliveries and users."""

    url: str = ""
    """Empty: SQLite in the data folder; otherwise postgresql+psycopg://user@host/name."""


class WorkerConfig(Section):
    """[worker] The processes that analyse and deliver."""

    processes: Annotated[int, Field(ge=0, le=64)] = 1
    """Number of workers that `sij-node run` starts."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """auto: GPU if available."""
    weights_folder: Path | None = None
    """Contains the folders contour and lesion; if unset, the weights that ship with the node."""
    weights_public_key: Path | None = None
    """PEM, Ed25519. Networks that are not signed with its private key are refused, those that ship
    with the node as well; if unset, no signature is required."""
    threads: Annotated[int, Field(ge=0, le=256)] = 0
    """CPU threads of the networks; 0: one per core."""
    mixed_precision: bool | Literal["auto"] = "auto"
    """The networks compute in bfloat16 (GPU: float16), about twice as fast; auto: on CPUs with
    bfloat16 instructions."""
    lease_s: Seconds = 20
    """A job is taken from a worker that sends no heartbeat for this long."""
    analysis_timeout_s: Seconds = 600
    """A longer analysis is stopped and counts as a failed attempt."""
    memory_limit_mb: Annotated[int, Field(ge=1024)] = 6144
    """Memory limit of an analysis (not enforced with a GPU)."""


class LesionConfig(Section):
    """[lesions.NAME] One lesion, where it differs from the others."""

    operating_point: OperatingPoint | None = None
    """Unset: that of [lesions]."""
    prevalence: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Share of quadrants, or of joints for sclerosis and ankylosis, that show the lesion among your
    patients. Probabilities are moved accordingly; the lesions called present stay the same."""


class LesionsConfig(Section):
    """[lesions] For which purpose lesions are called present."""

    operating_point: OperatingPoint = OperatingPoint.BALANCED
    """Thresholds of the model card. balanced: highest balanced accuracy; sensitive: few lesions
    missed; specific: few false alarms."""
    oedema: LesionConfig = LesionConfig()
    erosion: LesionConfig = LesionConfig()
    fatty_lesion: LesionConfig = LesionConfig()
    sclerosis: LesionConfig = LesionConfig()
    ankylosis: LesionConfig = LesionConfig()

    @property
    def choice(self) -> ScoringChoice:
        """What is configured, by lesion."""
        each: dict[Lesion, LesionConfig] = {one: getattr(self, one.name.lower()) for one in Lesion}
        return ScoringChoice(
            {one: of.operating_point or self.operating_point for one, of in each.items()},
            {one: of.prevalence for one, of in each.items() if of.prevalence is not None},
        )


class WeightsConfig(Section):
    """[[weights]] Further weights for reanalysis and comparison."""

    name: Annotated[str, StringConstraints(min_length=1, max_length=64, strip_whitespace=True)]
    folder: Path
    """Contains the folders contour and lesion."""


class RetryConfig(Section):
    """[retry] Attempts and delays; analysis and delivery count separately."""

    analysis_attempts: Annotated[int, Field(ge=1, le=100)] = 3
    delivery_attempts: Annotated[int, Field(ge=1)] = 2000
    """2000 attempts take about one week at the longest delay."""
    initial_delay_s: Seconds = 5
    """Delay after the first failed attempt; doubled after each further one."""
    max_delay_s: Seconds = 300


class DeliveryConfig(Section):
    """[delivery] Timeouts of the Storage SCU."""

    timeout_s: Seconds = 900
    """A delivery attempt that takes longer is stopped; the next one sends what is left."""

    connect_timeout_s: Seconds = 10
    response_timeout_s: Seconds = 60
    ca: Path | None = None
    """PEM. CA of the certificates of peers that results are sent to over TLS; if unset, the
    system's trust store."""
    commitment_timeout_s: Seconds = 3600
    """A destination that has not answered a request for storage commitment for this long is asked
    by C-FIND whether it has the results."""


class PriorsConfig(Section):
    """[priors] Limits on query and retrieval of prior studies."""

    timeout_s: Annotated[float, Field(gt=0, le=300)] = 20
    """After this time the report says that prior studies were unavailable."""
    max_studies: Annotated[int, Field(ge=1, le=50)] = 5
    """Only the newest prior studies are considered; the newest with results is compared."""


class SpoolConfig(Section):
    """[spool] Retention of images and results, and disk space."""

    retention_days: Annotated[float, Field(gt=0)] = 14
    """Images and results of finished jobs are deleted after this time."""
    min_free_mb: Annotated[int, Field(ge=0)] = 1024
    """Associations are rejected when less disk space is free."""
    verify_days: Annotated[float, Field(ge=0)] = 7
    """Days between two checks of all stored files in the background; 0: never."""
    verify_mb_per_s: Annotated[float, Field(gt=0)] = 4
    """Files are read no faster than this in the background."""


class WebTlsConfig(Section):
    """[web.tls] HTTPS without a proxy."""

    certificate: Path
    """PEM, the certificate and its chain."""
    private_key: Path


class OpenIdConfig(Section):
    """[web.openid] Single sign-on (OpenID Connect)."""

    issuer: IssuerUrl
    """As in the provider's discovery document; http only on loopback."""
    client_id: Annotated[str, StringConstraints(min_length=1)]
    client_secret_file: Path | None = None
    """File with the client secret; if unset, the node is a public client with PKCE."""
    label: str = "Sign in with your hospital account"
    username_claim: str = "preferred_username"
    """Claim with the user name."""
    role_claim: str = "groups"
    """Claim with a string or a list of strings that `roles` maps to roles."""
    roles: dict[str, Role] = Field(min_length=1)
    """Role of each string; users without any of them cannot sign in."""


class WebConfig(Section):
    """[web] Web pages and HTTP API."""

    enabled: bool = True
    """Whether `sij-node run` starts the web server."""
    host: Host = "127.0.0.1"
    """Address to listen on. Any other than loopback needs [web.tls] or trusted_proxies."""
    port: Port = 8570
    host_names: tuple[str, ...] = ()
    """Host names in browsers' URLs, besides localhost and the address itself."""
    trusted_proxies: tuple[Network, ...] = ()
    """Proxies whose X-Forwarded-For and X-Forwarded-Proto are trusted, as CIDR or addresses."""
    tls: WebTlsConfig | None = None
    openid: OpenIdConfig | None = None
    idle_timeout_minutes: Annotated[float, Field(gt=0)] = 30
    """Idle sessions end after this time."""
    max_session_hours: Annotated[float, Field(gt=0)] = 12
    """All sessions end after this time."""
    max_upload_mb: Annotated[int, Field(ge=1, le=1024)] = 64
    """Largest DICOM file that the rule tester accepts."""
    max_stow_mb: Annotated[int, Field(ge=1, le=65536)] = 2048
    """Largest request that STOW-RS accepts, with all its instances."""
    viewer_url: ViewerUrl = ""
    """URL of a study in a viewer, with {study_uid}; pages link to it."""

    def contradictions(self) -> Iterator[str]:
        """Passwords must be encrypted on the network."""
        if self.host not in LOOPBACK and self.tls is None and not self.trusted_proxies:
            yield (
                "passwords must not cross the network unencrypted: set [web.tls], or set "
                "trusted_proxies to the address of a proxy that terminates TLS"
            )

    @property
    def url(self) -> str:
        """URL of the pages, by the first of `host_names` or by the address."""
        if self.trusted_proxies and self.host_names:
            return f"https://{self.host_names[0]}"
        name = self.host_names[0] if self.host_names and self.host not in LOOPBACK else self.host
        host = f"[{name}]" if ":" in name else name
        return f"{'https' if self.tls else 'http'}://{host}:{self.port}"

    def viewer_of(self, study_uid: str) -> str:
        """URL of a study in the viewer; empty if none is configured."""
        return self.viewer_url.replace("{study_uid}", study_uid)

    def invitation_url(self, secret: str) -> str:
        """URL at which an invited user sets a password."""
        return f"{self.url}/welcome/{secret}"


class HealthConfig(Section):
    """[health] Thresholds for health page, metrics and alerts."""

    heartbeat_timeout_s: Seconds = 30
    """A process without a heartbeat for this long is down; they send one every 5 s."""
    max_queue_minutes: Annotated[float, Field(gt=0)] = 30
    """A queued study may wait this long for a worker."""
    destination_down_minutes: Annotated[float, Field(gt=0)] = 10
    """A destination without a successful delivery for this long is down."""
    low_disk_mb: Annotated[int, Field(ge=0)] = 5120
    """Warn below this free space, before [spool] min_free_mb is reached."""


class MetricsConfig(Section):
    """[metrics] For Prometheus, at /metrics of the web server."""

    networks: tuple[Network, ...] = ("127.0.0.1/32", "::1/128")
    """Addresses that may read the metrics without a token."""
    token_file: Path | None = None
    """File with the bearer token for all other addresses."""
    cache_s: Seconds = 5
    """A response is reused for this long."""


class EmailConfig(Section):
    """[alerts.email] Recipients and SMTP server."""

    host: Host
    port: Port = 587
    security: Literal["starttls", "tls", "none"] = "starttls"
    """none: only for a server on this host or on an isolated network."""
    user: str = ""
    password_file: Path | None = None
    """File with the password of `user`."""
    sender: MailAddress
    to: tuple[MailAddress, ...] = Field(min_length=1)
    ca: Path | None = None
    """PEM. CA of the server's certificate; if unset, the system's trust store."""

    def contradictions(self) -> Iterator[str]:
        """A password belongs to a user and must be encrypted."""
        if self.user and self.security == "none":
            yield 'a password needs security = "starttls" or "tls"'
        if bool(self.user) is not (self.password_file is not None):
            yield "user and password_file must be set together"


class WebhookConfig(Section):
    """[alerts.webhook] Receiver of signed POST requests."""

    url: WebhookUrl
    secret_file: Path
    """File with the secret that signs the requests."""
    ca: Path | None = None
    """PEM. CA of the receiver's certificate; if unset, the system's trust store."""


class AlertsConfig(Section):
    """[alerts] When alerts are sent, and to whom; [health] has the thresholds."""

    debounce_minutes: Annotated[float, Field(ge=0)] = 2
    """Problems shorter than this are not reported; resolved means absent for as long."""
    repeat_hours: Annotated[float, Field(gt=0)] = 24
    """Unresolved alerts are repeated after this time."""
    silent_sender_hours: Annotated[float, Field(ge=0)] = 0
    """Working hours without a study from a peer that has sent before; 0: never alert."""
    time_zone: TimeZone = "UTC"
    working_days: tuple[Weekday, ...] = ("Mon", "Tue", "Wed", "Thu", "Fri")
    working_hours: tuple[Hour, Hour] = (8, 18)
    drift: bool = True
    """Alert when the studies of a sender change."""
    patient_data: bool = False
    """Include patient and study in alerts about failed jobs."""
    email: EmailConfig | None = None
    webhook: WebhookConfig | None = None

    def contradictions(self) -> Iterator[str]:
        """Working hours must start before they end."""
        if not self.working_hours[0] < self.working_hours[1]:
            yield "working_hours: the start must be before the end"


class AuditConfig(Section):
    """[audit] Audit trail (PS3.15 A.5)."""

    file: bool = True
    """Write one file per day and host into the folder audit of the data folder."""
    retention_days: Annotated[int, Field(ge=0)] = 0
    """Older files are deleted; 0: never."""
    patient_ids: Literal["plain", "hashed"] = "plain"
    """plain: as in the standard. hashed: pseudonyms, keyed with the node's secret."""
    site: str = ""
    """AuditEnterpriseSiteID: hospital or department."""
    accepted_associations: bool = False
    """Also record accepted associations, not only rejected ones."""
    syslog: SyslogUrl = ""
    """Audit repository: udp://host:514, tcp://host:601 or tls://host:6514; empty: none."""
    syslog_ca: Path | None = None
    """PEM. CA of the repository's certificate; if unset, the system's trust store."""
    syslog_certificate: Path | None = None
    """PEM. Client certificate, if the repository requires one."""
    syslog_private_key: Path | None = None


def _at_least_one(peers: tuple[PeerConfig, ...]) -> tuple[PeerConfig, ...]:
    if not peers:
        raise ValueError("at least one [[peer]] is needed: only configured peers may connect")
    return peers


def _twice(names: Iterable[str]) -> tuple[str, ...]:
    """The names that occur more than once, sorted."""
    return tuple(sorted(name for name, times in Counter(names).items() if times > 1))


class Config(Section):
    """The whole of config.toml."""

    node: NodeConfig
    listener: ListenerConfig = ListenerConfig()
    peer: Annotated[tuple[PeerConfig, ...], AfterValidator(_at_least_one)]
    destination: tuple[DestinationConfig, ...] = ()
    profile: tuple[Profile, ...] = ()
    priority_rule: tuple[PriorityRule, ...] = ()
    study: StudyConfig = StudyConfig()
    database: DatabaseConfig = DatabaseConfig()
    worker: WorkerConfig = WorkerConfig()
    lesions: LesionsConfig = LesionsConfig()
    weights: tuple[WeightsConfig, ...] = ()
    retry: RetryConfig = RetryConfig()
    delivery: DeliveryConfig = DeliveryConfig()
    priors: PriorsConfig = PriorsConfig()
    spool: SpoolConfig = SpoolConfig()
    web: WebConfig = WebConfig()
    health: HealthConfig = HealthConfig()
    alerts: AlertsConfig = AlertsConfig()
    audit: AuditConfig = AuditConfig()
    metrics: MetricsConfig = MetricsConfig()

    def contradictions(self) -> Iterator[str]:
        """Names must be unique and known, and what a setting needs must be configured."""
        yield from self._peers()
        yield from self._destinations()
        yield from self._tls_files()
        yield from self._profiles()
        for name in _twice(one.name for one in self.weights):
            yield f"[[weights]] {name} is configured more than once"

    def _peers(self) -> Iterator[str]:
        titles = [peer.ae_title for peer in self.peer]
        for title in _twice(titles):
            yield f"[[peer]] {title} is configured more than once; AE titles are unique"
        if self.node.ae_title in titles:
            yield f"[[peer]] {self.node.ae_title} has the node's own AE title"
        for user in _twice(peer.stow_user for peer in self.peer if peer.stow_user):
            yield f"[[peer]] stow_user {user} is set for more than one peer"

    def _destinations(self) -> Iterator[str]:
        titles = [peer.ae_title for peer in self.peer]
        known = {self.node.ae_title, *titles}
        names = [one.name for one in self.destination]
        for name in sorted({*_twice(names), *known.intersection(names)}):
            yield f"[[destination]] {name}: the name {name} is already used"
        for one in self.destination:
            for peer in sorted(set(one.peers) - set(titles)):
                available = f"available: {', '.join(titles)}"
                yield f"[[destination]] {one.name} peers: unknown peer {peer}; {available}"
        for source in self.peer:
            if source.send_results is False and not self.destinations_for(source.ae_title):
                yield (
                    f"[[peer]] {source.ae_title}: send_results = false for {source.ae_title}, and "
                    "no [[destination]] receives the results of its studies"
                )

    def _tls_files(self) -> Iterator[str]:
        tls = self.listener.tls
        for peer in self.peer:
            if tls is None and peer.tls is True:
                yield (
                    f"[[peer]] {peer.ae_title}: tls = true needs the certificates of [listener.tls]"
                )
            if peer.certificate_names and (tls is None or tls.client_ca is None):
                yield (
                    f"[[peer]] {peer.ae_title}: certificate_names needs [listener.tls] client_ca"
                )

    def _profiles(self) -> Iterator[str]:
        names = [*PRESETS, *(profile.name for profile in self.profile)]
        for name in _twice(names):
            yield f"[[profile]] {name} is configured more than once"
        for peer in self.peer:
            if peer.profile not in names:
                available = f"available: {', '.join(names)}{did_you_mean(peer.profile, names)}"
                yield f"[[peer]] {peer.ae_title}: unknown profile {peer.profile}; {available}"

    @property
    def shadow_titles(self) -> frozenset[str]:
        """Peers and destinations in shadow mode."""
        return frozenset(
            [peer.ae_title for peer in self.peer if peer.shadow]
            + [one.name for one in self.destination if one.shadow]
        )

    @property
    def confirming_titles(self) -> frozenset[str]:
        """Peers that are asked whether they have stored the results sent to them."""
        return frozenset(peer.ae_title for peer in self.peer if peer.storage_commitment != "off")

    @property
    def titles(self) -> tuple[str, ...]:
        """Every peer and every destination."""
        return (*(peer.ae_title for peer in self.peer), *(one.name for one in self.destination))

    @property
    def destination_titles(self) -> tuple[str, ...]:
        """Every peer that is sent results, and every destination."""
        peers = (peer.ae_title for peer in self.peer if peer.send_results)
        return (*peers, *(one.name for one in self.destination))

    def destinations_for(self, source_ae: str) -> tuple[DestinationConfig, ...]:
        """Every [[destination]] that receives the results of a peer's studies."""
        return tuple(one for one in self.destination if not one.peers or source_ae in one.peers)

    def peer_storing_as(self, user: str) -> PeerConfig | None:
        """The peer that stores studies by STOW-RS as a user."""
        return next((peer for peer in self.peer if peer.stow_user == user), None)

    def destination_titled(self, title: str) -> AnyDestination | None:
        """The peer or destination with this title, or None if it is not configured."""
        found = next((one for one in self.destination if one.name == title), None)
        return found or self.peer_titled(title)

    @property
    def database_url(self) -> str:
        """SQLAlchemy URL of the database."""
        return self.database.url or f"sqlite:///{self.node.data_folder.resolve() / 'jobs.sqlite'}"

    def networks_folder(self, name: str = "") -> Path:
        """Folder of the weights of [worker], or of the [[weights]] with this name.

        Raises
        ------
        WeightsRefused
            If no such weights are configured.
        """
        if not name:
            return self.worker.weights_folder or Path(models.__file__).parent / "weights"
        found = next((one.folder for one in self.weights if one.name == name), None)
        if found is None:
            raise WeightsRefused(
                f"config.toml no longer has [[weights]] named {name}. Add them again, or reanalyse "
                "with other weights."
            )
        return found

    def peer_titled(self, ae_title: str) -> PeerConfig | None:
        """The peer with this AE title, or None if it is not configured."""
        return next((peer for peer in self.peer if peer.ae_title == ae_title), None)

    def profile_for(self, ae_title: str) -> Profile:
        """Output profile of a peer; the minimal one if it is no longer configured."""
        peer = self.peer_titled(ae_title)
        return self.profile_named(peer.profile) if peer else MINIMAL

    def profile_named(self, name: str) -> Profile:
        """A [[profile]], or one of the presets.

        Raises
        ------
        UnknownName
            If there is no such profile.
        """
        known = {name: preset(name) for name in PRESETS} | {own.name: own for own in self.profile}
        if name not in known:
            raise UnknownName(f"There is no profile {name}; available: {', '.join(known)}.")
        return known[name]


def load_config(path: Path) -> Config:
    """Read and validate a configuration file.

    Relative paths start at the folder of the file.

    Raises
    ------
    ConfigurationInvalid
        Listing every problem, renamed keys included.
    """
    current, renamed = with_current_names(_read_toml(path))
    try:
        config = Config.model_validate(current)
    except ValidationError as error:
        found = (*renamed, *problems_of(Config, current, error))
        raise ConfigurationInvalid(listing(path, found)) from error
    if renamed:
        raise ConfigurationInvalid(listing(path, renamed))
    return _with_absolute_paths(config, path.parent.resolve())


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise ConfigurationInvalid(
            f"{path} cannot be read: it {os_reason(error)}. Use --config to name another file."
        ) from error
    except UnicodeDecodeError as error:
        raise ConfigurationInvalid(
            f"{path} cannot be read: byte {error.start + 1} is not UTF-8. Save the file as UTF-8."
        ) from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationInvalid(f"{path} is not valid TOML: {_in_plain_words(error)}") from error


def _in_plain_words(error: tomllib.TOMLDecodeError) -> str:
    said, _, place = str(error).partition(" (at ")
    place = f" (at {place}" if place else ""
    if said.startswith(("Cannot overwrite", "Cannot declare", "Cannot mutate")):
        return f"a key or section occurs twice{place}. Only [[peer]] and the like may be repeated."
    if said.startswith("Unescaped"):
        return f"a backslash in text{place}. Write paths with backslashes in 'single quotes'."
    if said.startswith("Invalid value"):
        return f"an invalid value{place}. Text must be in quotes, and true or false in lower case."
    return f"{said}{place}."


def listing(path: Path, problems: Sequence[str]) -> str:
    """All problems of a configuration file as one message."""
    if len(problems) == 1:
        return f"{path} has 1 problem: {problems[0]}"
    return "\n  ".join((f"{path} has {len(problems)} problems:", *problems))


def _with_absolute_paths(section: AnySection, base: Path) -> AnySection:
    """The section, and all sections in it, with relative paths below a folder."""
    return section.model_copy(update={name: _absolute(value, base) for name, value in section})


def _absolute(value: Any, base: Path) -> Any:
    if isinstance(value, Path):
        return base / value.expanduser()
    if isinstance(value, Section):
        return _with_absolute_paths(value, base)
    if isinstance(value, tuple):
        return tuple(_absolute(one, base) for one in value)
    return value
