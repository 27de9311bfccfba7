"""config.toml as typed, frozen sections; every problem named at once.

Unknown keys are errors, units end the name, and what a site must decide has no default.
"""

import ipaddress
import tomllib
from pathlib import Path
from typing import Annotated, Literal, Self, TypeVar, get_args
from urllib.parse import urlsplit
from zoneinfo import available_timezones

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    field_validator,
    model_validator,
)
from pydicom.datadict import tag_for_keyword

import models
from sij_node.config.profiles import MINIMAL, PRESETS, Profile, preset
from sij_node.config.roles import Role
from sij_node.errors import ConfigurationInvalid, UnknownName, WeightsRefused


def _printable_ascii(title: str) -> str:
    if not all(" " <= character <= "~" and character != "\\" for character in title):
        raise ValueError("an AE title is printable ASCII without backslash (PS3.5 6.2)")
    return title


AETitle = Annotated[
    str,
    StringConstraints(min_length=1, max_length=16, strip_whitespace=True),
    AfterValidator(_printable_ascii),
]
Port = Annotated[int, Field(ge=1, le=65535)]
Seconds = Annotated[float, Field(gt=0)]
Hour = Annotated[float, Field(ge=0, le=24)]
MailAddress = Annotated[str, StringConstraints(pattern=r"^[^@\s<>,]+@[^@\s<>,]+$")]
Weekday = Literal["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"]
WEEKDAYS: tuple[Weekday, ...] = get_args(Weekday)


def _network(text: str) -> str:
    ipaddress.ip_network(text, strict=False)
    return text


Network = Annotated[str, AfterValidator(_network)]


def _known_keyword(keyword: str) -> str:
    if tag_for_keyword(keyword) is None:
        raise ValueError(f"{keyword} is no keyword of the DICOM dictionary (PS3.6)")
    return keyword


Keyword = Annotated[str, AfterValidator(_known_keyword)]


class Section(BaseModel):
    """A part of config.toml: frozen, and a key that is not known is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)


AnySection = TypeVar("AnySection", bound=Section)


class NodeConfig(Section):
    """[node] Who this node is and where it keeps things."""

    ae_title: AETitle
    """The title a PACS must call."""
    data_folder: Path
    """Spool, quarantine and, with SQLite, the database. Shared when workers run elsewhere."""
    log_format: Literal["json", "terminal"] = "json"
    """json: one object a line. terminal: for reading while trying things."""


class TlsConfig(Section):
    """[listener.tls] DICOM over TLS as in PS3.15 B.12 (BCP 195)."""

    certificate: Path
    """PEM, the node's own certificate and its chain."""
    private_key: Path
    client_ca: Path | None = None
    """PEM. When set, peers must show a certificate signed by it (mutual TLS)."""


class ListenerConfig(Section):
    """[listener] How studies come in, and the limits of one peer."""

    host: str = "127.0.0.1"
    """Address to listen on. Loopback unless a site decides otherwise."""
    port: Port = 11112
    tls: TlsConfig | None = None
    max_associations: Annotated[int, Field(ge=1, le=1000)] = 32
    max_connections_per_address: Annotated[int, Field(ge=1, le=1000)] = 16
    handshake_timeout_s: Seconds = 15
    """From the TCP connection to the end of the association request, TLS included."""
    pdu_timeout_s: Seconds = 30
    """A PDU that has begun must be complete within this time."""
    idle_timeout_s: Seconds = 60
    """An association on which nothing begins for this long is aborted."""
    max_pdu_bytes: Annotated[int, Field(ge=4096, le=1 << 20)] = 131072
    max_instance_mb: Annotated[int, Field(ge=1, le=4096)] = 1024
    max_nesting: Annotated[int, Field(ge=1, le=64)] = 16
    """Depth of sequences within sequences; deeper objects are refused."""


class PeerConfig(Section):
    """[[peer]] A system that may send studies, and where its results go."""

    ae_title: AETitle
    networks: tuple[Network, ...] = Field(min_length=1)
    """Addresses it may call from, as CIDR or single addresses. Never empty."""
    host: str
    """Where results are sent back to."""
    port: Port
    priority: Annotated[int, Field(ge=0, le=9)] = 5
    """Studies of a peer with a higher number are analysed first."""
    tls: bool = False
    """Send results over TLS, with the certificates of [listener.tls]."""
    profile: str = "minimal"
    """What is sent: minimal, ohif, orthanc, everything, or the name of a [[profile]]."""
    priors: Literal["off", "store", "get", "move"] = "store"
    """Where earlier results of a patient come from. store: what the node still has itself; get,
    move: else what this archive has, by C-FIND and C-GET or C-MOVE to the node; off: nowhere."""
    shadow: bool = False
    """Receive and analyse its studies, send nothing; what was made is kept until asked for."""


class PriorityRule(Section):
    """[[priority_rule]] A study whose tag holds a text gets a priority of its own."""

    keyword: Keyword
    """A DICOM keyword of the first image, for instance RequestedProcedurePriority."""
    contains: Annotated[str, StringConstraints(min_length=1)]
    priority: Annotated[int, Field(ge=0, le=9)]


class StudyConfig(Section):
    """[study] When a study counts as complete."""

    pair_quiet_s: Seconds = 10
    """With a T1 and a STIR series there, this long without a new instance."""
    quiet_s: Seconds = 120
    """Without such a pair, this long; then it is analysed as it is, or rejected."""


class DatabaseConfig(Section):
    """[database] Where the job table lives."""

    url: str = ""
    """Empty: SQLite in the data folder. Else postgresql+psycopg://user@host/name."""


class WorkerConfig(Section):
    """[worker] The processes that analyse."""

    processes: Annotated[int, Field(ge=0, le=64)] = 1
    """Workers that `sij-node run` starts."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """auto: a GPU when there is one."""
    weights_folder: Path | None = None
    """Holds the folders contour and lesion; without it, the weights that come with the node."""
    threads: Annotated[int, Field(ge=0, le=256)] = 0
    """CPU threads of the networks; 0: one for every core."""
    mixed_precision: bool = False
    """Lets the lesion network compute in half precision: faster on a GPU."""
    lease_s: Seconds = 20
    """A worker that gives no sign of life for this long has lost its job."""
    study_limit_s: Seconds = 600
    """An analysis that takes longer is ended and counts as a failed attempt."""
    memory_limit_mb: Annotated[int, Field(ge=1024)] = 6144
    """Data an analysis may hold in memory (not enforced with a GPU)."""


class WeightsConfig(Section):
    """[[weights]] Further networks, with which a person may have a study analysed again."""

    name: Annotated[str, StringConstraints(min_length=1, max_length=64, strip_whitespace=True)]
    folder: Path
    """Holds the folders contour and lesion."""


class RetryConfig(Section):
    """[retry] What happens after a failed attempt; analysis and delivery count separately."""

    analysis_attempts: Annotated[int, Field(ge=1, le=100)] = 3
    delivery_attempts: Annotated[int, Field(ge=1)] = 2000
    """With waits of at most max_wait_s, 2000 is about a week."""
    first_wait_s: Seconds = 5
    """Doubled after each failure."""
    max_wait_s: Seconds = 300


class DeliveryConfig(Section):
    """[delivery] How results are sent."""

    connect_timeout_s: Seconds = 10
    response_timeout_s: Seconds = 60


class PriorsConfig(Section):
    """[priors] How long an archive is asked for earlier results."""

    limit_s: Annotated[float, Field(gt=0, le=300)] = 20
    """A study does not wait longer for them; its report then says so."""
    most_studies: Annotated[int, Field(ge=1, le=50)] = 5
    """The newest so many are looked at; the newest with results is compared."""


class SpoolConfig(Section):
    """[spool] What is kept, and for how long."""

    keep_days: Annotated[float, Field(gt=0)] = 14
    """Instances and results of finished jobs are removed after this time."""
    min_free_mb: Annotated[int, Field(ge=0)] = 1024
    """Below this much free disk new associations are refused."""


class WebTlsConfig(Section):
    """[web.tls] The page over https by a certificate of its own."""

    certificate: Path
    """PEM, the certificate and its chain."""
    private_key: Path


class OpenIdConfig(Section):
    """[web.openid] Signing in at an identity provider of the hospital (OpenID Connect)."""

    issuer: Annotated[str, StringConstraints(pattern=r"^https?://\S+$")]
    """As in the provider's discovery document; http on loopback only."""
    client_id: Annotated[str, StringConstraints(min_length=1)]
    client_secret_file: Path | None = None
    """Holds the secret alone; without it the node is a public client with PKCE."""
    label: str = "Sign in with the hospital's account"
    name_claim: str = "preferred_username"
    """The claim that names the user here."""
    role_claim: str = "groups"
    """The claim that holds a text or a list of texts, each of which may give a role."""
    roles: dict[str, Role] = Field(min_length=1)
    """Which text gives which role; who has none of them is not let in."""

    @field_validator("issuer")
    @classmethod
    def _encrypted_or_local(cls, issuer: str) -> str:
        host = urlsplit(issuer).hostname
        if issuer.startswith("http:") and host not in LOOPBACK:
            raise ValueError("the provider must be reached by https; http is for loopback only")
        return issuer.rstrip("/")


LOOPBACK = ("localhost", "127.0.0.1", "::1")


class WebConfig(Section):
    """[web] The page and the HTTP API."""

    enabled: bool = True
    """Whether `sij-node run` starts it."""
    host: str = "127.0.0.1"
    """Address to listen on. Others than loopback need [web.tls] or trusted_proxies."""
    port: Port = 8570
    names: tuple[str, ...] = ()
    """Host names under which browsers call it, besides localhost and the address itself."""
    trusted_proxies: tuple[Network, ...] = ()
    """Whose X-Forwarded-For and X-Forwarded-Proto are believed, as CIDR or single addresses."""
    tls: WebTlsConfig | None = None
    openid: OpenIdConfig | None = None
    idle_minutes: Annotated[float, Field(gt=0)] = 30
    """A session that is not used for this long ends."""
    session_hours: Annotated[float, Field(gt=0)] = 12
    """A session ends after this time in any case."""
    max_upload_mb: Annotated[int, Field(ge=1, le=1024)] = 64
    """The largest DICOM file that may be dropped on the page."""

    @model_validator(mode="after")
    def _passwords_are_encrypted(self) -> Self:
        if self.host not in LOOPBACK and self.tls is None and not self.trusted_proxies:
            raise ValueError(
                "passwords must not cross the network in the clear: set [web.tls], or "
                "trusted_proxies to the address of the proxy that encrypts"
            )
        return self

    @property
    def url(self) -> str:
        """Where a browser on this machine or behind the first of `names` finds the page."""
        if self.trusted_proxies and self.names:
            return f"https://{self.names[0]}"
        name = self.names[0] if self.names and self.host not in LOOPBACK else self.host
        host = f"[{name}]" if ":" in name else name
        return f"{'https' if self.tls else 'http'}://{host}:{self.port}"


class HealthConfig(Section):
    """[health] From when on something counts as wrong, on the page and for alarms alike."""

    silent_s: Seconds = 30
    """A process that gives no sign of life for this long; they beat every 5 s."""
    queue_minutes: Annotated[float, Field(gt=0)] = 30
    """A queued study may wait this long for a worker."""
    destination_minutes: Annotated[float, Field(gt=0)] = 10
    """A destination that takes nothing for this long is down."""
    free_mb: Annotated[int, Field(ge=0)] = 5120
    """Less free disk than this is told, before [spool] min_free_mb closes the door."""


class MetricsConfig(Section):
    """[metrics] For Prometheus, at /metrics of the page."""

    networks: tuple[Network, ...] = ("127.0.0.1/32", "::1/128")
    """Addresses that may read them without a token."""
    token_file: Path | None = None
    """Holds a token that others must show as `Authorization: Bearer`."""
    keep_s: Seconds = 5
    """The same answer is given to everybody for this long."""


def _time_zone(name: str) -> str:
    if name not in available_timezones():
        raise ValueError(f"{name} is no time zone; write it as Europe/Berlin or UTC")
    return name


class EmailConfig(Section):
    """[alarms.email] Where mails go, and the server that takes them."""

    host: str
    port: Port = 587
    security: Literal["starttls", "tls", "none"] = "starttls"
    """none: only for a server on this machine or a closed network."""
    user: str = ""
    password_file: Path | None = None
    """Holds the password of `user`."""
    sender: MailAddress
    to: tuple[MailAddress, ...] = Field(min_length=1)
    ca: Path | None = None
    """PEM. Who signed the server's certificate; without it, whom the system trusts."""

    @model_validator(mode="after")
    def _passwords_are_not_sent_in_the_clear(self) -> Self:
        if self.user and self.security == "none":
            raise ValueError("a password needs security = starttls or tls")
        if bool(self.user) is not (self.password_file is not None):
            raise ValueError("user and password_file go together")
        return self


class WebhookConfig(Section):
    """[alarms.webhook] A program that is told by a signed POST."""

    url: Annotated[str, StringConstraints(pattern=r"^https?://[^/@\s]+(/\S*)?$")]
    secret_file: Path
    """Holds what the posts are signed with."""
    ca: Path | None = None
    """PEM. Who signed the program's certificate; without it, whom the system trusts."""


class AlarmsConfig(Section):
    """[alarms] Who is told when something is wrong, and when; [health] says what is wrong."""

    settle_minutes: Annotated[float, Field(ge=0)] = 2
    """Only what lasts this long is told, and over is only what stays away as long."""
    remind_hours: Annotated[float, Field(gt=0)] = 24
    """What still stands is told again after this time."""
    silent_sender_hours: Annotated[float, Field(ge=0)] = 0
    """Working hours without a study from a sender that has sent before; 0 for never."""
    time_zone: Annotated[str, AfterValidator(_time_zone)] = "UTC"
    working_days: tuple[Weekday, ...] = ("Mon", "Tue", "Wed", "Thu", "Fri")
    working_hours: tuple[Hour, Hour] = (8, 18)
    drift: bool = True
    """Whether a sender whose studies have changed is told."""
    patient_data: bool = False
    """Whether notices of failed jobs name the patient and the study."""
    email: EmailConfig | None = None
    webhook: WebhookConfig | None = None

    @model_validator(mode="after")
    def _hours_are_in_order(self) -> Self:
        if not self.working_hours[0] < self.working_hours[1]:
            raise ValueError("working_hours: the first must be before the second")
        return self


def _syslog_address(url: str) -> str:
    parts = urlsplit(url)
    if url and (parts.scheme not in ("udp", "tcp", "tls") or not parts.hostname or not parts.port):
        raise ValueError("write it as udp://host:514, tcp://host:601 or tls://host:6514")
    return url


class AuditConfig(Section):
    """[audit] Who did what to which patient's images, as PS3.15 A.5 writes it."""

    file: bool = True
    """Into the folder audit of the data folder, one file for each day and machine."""
    keep_days: Annotated[int, Field(ge=0)] = 0
    """Files older than this are removed; 0 keeps them for ever."""
    patient_ids: Literal["plain", "hashed"] = "plain"
    """plain: as the standard has it. hashed: a pseudonym, by the node's secret key."""
    site: str = ""
    """AuditEnterpriseSiteID, the hospital or department."""
    accepted_associations: bool = False
    """Whether associations that were let in are recorded too, and not only those refused."""
    syslog: Annotated[str, AfterValidator(_syslog_address)] = ""
    """Audit repository: udp://host:514, tcp://host:601 or tls://host:6514; empty for none."""
    syslog_ca: Path | None = None
    """PEM. Who signed the repository's certificate; without it, whom the system trusts."""
    syslog_certificate: Path | None = None
    """PEM. The node's own, where the repository asks for one."""
    syslog_private_key: Path | None = None


def _somebody(peers: tuple[PeerConfig, ...]) -> tuple[PeerConfig, ...]:
    if not peers:
        raise ValueError("name at least one [[peer]]; there is no 'anybody'")
    return peers


class Config(Section):
    """The whole of config.toml."""

    node: NodeConfig
    listener: ListenerConfig = ListenerConfig()
    peer: Annotated[tuple[PeerConfig, ...], AfterValidator(_somebody)]
    profile: tuple[Profile, ...] = ()
    priority_rule: tuple[PriorityRule, ...] = ()
    study: StudyConfig = StudyConfig()
    database: DatabaseConfig = DatabaseConfig()
    worker: WorkerConfig = WorkerConfig()
    weights: tuple[WeightsConfig, ...] = ()
    retry: RetryConfig = RetryConfig()
    delivery: DeliveryConfig = DeliveryConfig()
    priors: PriorsConfig = PriorsConfig()
    spool: SpoolConfig = SpoolConfig()
    web: WebConfig = WebConfig()
    health: HealthConfig = HealthConfig()
    alarms: AlarmsConfig = AlarmsConfig()
    audit: AuditConfig = AuditConfig()
    metrics: MetricsConfig = MetricsConfig()

    @model_validator(mode="after")
    def _peers_are_distinct(self) -> Self:
        titles = [peer.ae_title for peer in self.peer]
        twice = sorted({title for title in titles if titles.count(title) > 1})
        if twice:
            raise ValueError(
                f"peer: {', '.join(twice)} is there more than once; an AE title is unique"
            )
        if self.node.ae_title in titles:
            raise ValueError(f"peer: {self.node.ae_title} is the node's own title")
        return self

    @model_validator(mode="after")
    def _sending_over_tls_needs_certificates(self) -> Self:
        if self.listener.tls is None and any(peer.tls for peer in self.peer):
            raise ValueError("peer: tls = true needs the certificates of [listener.tls]")
        return self

    @model_validator(mode="after")
    def _profiles_are_known(self) -> Self:
        names = [*PRESETS, *(profile.name for profile in self.profile)]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"profile: {', '.join(twice)} is there more than once")
        unknown = sorted({peer.profile for peer in self.peer} - set(names))
        if unknown:
            raise ValueError(
                f"peer: there is no profile {', '.join(unknown)}; there are {', '.join(names)}"
            )
        return self

    @model_validator(mode="after")
    def _weights_are_distinct(self) -> Self:
        names = [one.name for one in self.weights]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"weights: {', '.join(twice)} is there more than once")
        return self

    @property
    def shadow_titles(self) -> frozenset[str]:
        """The peers that get nothing."""
        return frozenset(peer.ae_title for peer in self.peer if peer.shadow)

    @property
    def database_url(self) -> str:
        """SQLAlchemy URL of the job table."""
        return self.database.url or f"sqlite:///{self.node.data_folder.resolve() / 'jobs.sqlite'}"

    def networks_folder(self, name: str = "") -> Path:
        """Where the networks of [worker] lie, or those of the [[weights]] with a name.

        Raises
        ------
        WeightsRefused
            If there are none of that name.
        """
        if not name:
            return self.worker.weights_folder or Path(models.__file__).parent / "weights"
        found = next((one.folder for one in self.weights if one.name == name), None)
        if found is None:
            raise WeightsRefused(
                f"There are no [[weights]] named {name} in config.toml any more; add them again, "
                "or ask for an analysis with others."
            )
        return found

    def peer_titled(self, ae_title: str) -> PeerConfig | None:
        """The peer with this AE title, or None when it is not configured."""
        return next((peer for peer in self.peer if peer.ae_title == ae_title), None)

    def profile_for(self, ae_title: str) -> Profile:
        """What a peer gets; the smallest profile for one that is not configured any more."""
        peer = self.peer_titled(ae_title)
        return self.profile_named(peer.profile) if peer else MINIMAL

    def profile_named(self, name: str) -> Profile:
        """A [[profile]], or one of those that come with the node.

        Raises
        ------
        UnknownName
            If there is none of that name.
        """
        known = {name: preset(name) for name in PRESETS} | {own.name: own for own in self.profile}
        if name not in known:
            raise UnknownName(f"There is no profile {name}; there are {', '.join(known)}.")
        return known[name]


def load_config(path: Path) -> Config:
    """Read and check a configuration file.

    Relative folders are taken from the folder of the file.

    Raises
    ------
    ConfigurationInvalid
        Naming every problem at once.
    """
    try:
        settings = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationInvalid(
            f"{path} cannot be read: {error}. Name another with --config."
        ) from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationInvalid(f"{path} is not valid TOML: {error}.") from error
    try:
        config = Config.model_validate(settings)
    except ValidationError as error:
        raise ConfigurationInvalid(f"{path} has {_problems(error)}") from error
    return _with_absolute_paths(config, path.parent.resolve())


def _problems(error: ValidationError) -> str:
    found = error.errors()
    lines = [f"  {_place(problem['loc'])}: {problem['msg']}" for problem in found]
    return f"{len(found)} problem{'s' if len(found) > 1 else ''}:\n" + "\n".join(lines)


def _place(location: tuple[int | str, ...]) -> str:
    return ".".join(str(part) for part in location) or "the file as a whole"


def _with_absolute_paths(config: Config, base: Path) -> Config:
    node = config.node.model_copy(update={"data_folder": base / config.node.data_folder})
    worker = config.worker.model_copy(
        update={
            "weights_folder": config.worker.weights_folder and base / config.worker.weights_folder
        }
    )
    web = config.web.model_copy(
        update={
            "tls": config.web.tls and _below(base, config.web.tls),
            "openid": config.web.openid and _below(base, config.web.openid),
        }
    )
    listener, tls = config.listener, config.listener.tls
    if tls is not None:
        listener = listener.model_copy(update={"tls": _below(base, tls)})
    told = {
        "email": config.alarms.email and _below(base, config.alarms.email),
        "webhook": config.alarms.webhook and _below(base, config.alarms.webhook),
    }
    changed = {
        "node": node,
        "listener": listener,
        "worker": worker,
        "weights": tuple(_below(base, one) for one in config.weights),
        "web": web,
        "alarms": config.alarms.model_copy(update=told),
        "audit": _below(base, config.audit),
        "metrics": _below(base, config.metrics),
    }
    return config.model_copy(update=changed)


def _below(base: Path, section: AnySection) -> AnySection:
    """The section with its files taken from a folder."""
    files = {name: base / value for name, value in section if isinstance(value, Path)}
    return section.model_copy(update=files)
