"""Types of single values in config.toml, with messages for those that cannot work."""

import ipaddress
import re
from collections.abc import Callable
from contextlib import suppress
from typing import Annotated, Literal, get_args
from urllib.parse import urlsplit
from zoneinfo import available_timezones

from pydantic import AfterValidator, Field, StringConstraints
from pydicom.datadict import tag_for_keyword

Port = Annotated[int, Field(ge=1, le=65535)]
Seconds = Annotated[float, Field(gt=0)]
Hour = Annotated[float, Field(ge=0, le=24)]
Weekday = Literal["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"]
WEEKDAYS: tuple[Weekday, ...] = get_args(Weekday)
LOOPBACK = ("localhost", "127.0.0.1", "::1")


def _printable_ascii(title: str) -> str:
    if not all(" " <= character <= "~" and character != "\\" for character in title):
        raise ValueError("an AE title is printable ASCII without backslash (PS3.5 6.2)")
    return title


AETitle = Annotated[
    str,
    StringConstraints(min_length=1, max_length=16, strip_whitespace=True),
    AfterValidator(_printable_ascii),
]


def _network(text: str) -> str:
    try:
        ipaddress.ip_network(text, strict=False)
    except ValueError as error:
        raise ValueError(
            f'"{text}" is neither an IP address, like "10.1.2.3", nor a network, like "10.1.0.0/16"'
        ) from error
    return text


Network = Annotated[str, AfterValidator(_network)]

_HOST_LABEL = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(?<!-)")


def _host(text: str) -> str:
    with suppress(ValueError):
        return str(ipaddress.ip_address(text))
    try:
        labels = text.removesuffix(".").encode("idna").decode("ascii").split(".")
    except UnicodeError:
        labels = [""]
    is_name = all(map(_HOST_LABEL.fullmatch, labels)) and not labels[-1].isdecimal()
    if len(text) > 253 or not is_name:
        raise ValueError(f'"{text}" is neither a host name nor an IP address')
    return text


Host = Annotated[str, AfterValidator(_host)]


def _keyword(keyword: str) -> str:
    if tag_for_keyword(keyword) is None:
        raise ValueError(f"{keyword} is not a keyword of the DICOM data dictionary (PS3.6)")
    return keyword


Keyword = Annotated[str, AfterValidator(_keyword)]


def _mail_address(text: str) -> str:
    if not re.fullmatch(r"[^@\s<>,]+@[^@\s<>,]+", text):
        raise ValueError('must be one address like "pacs@hospital.example", without a name')
    return text


MailAddress = Annotated[str, AfterValidator(_mail_address)]


def _time_zone(name: str) -> str:
    if name not in available_timezones():
        raise ValueError(f"{name} is not a time zone; examples: Europe/Berlin, UTC")
    return name


TimeZone = Annotated[str, AfterValidator(_time_zone)]


def _address_of(*schemes: str) -> Callable[[str], str]:
    """A check of URLs that never repeats them: they may contain a password."""

    def check(url: str) -> str:
        parts = urlsplit(url)
        with suppress(ValueError):
            if parts.scheme in schemes and parts.port != 0 and not re.search(r"\s", url):
                _host(parts.hostname or "")
                return url
        started = " or ".join(f"{one}://" for one in schemes)
        raise ValueError(f"must be a URL that starts with {started} and a host that can exist")

    return check


def _without_secret(url: str) -> str:
    if "@" in url or "?" in url or "#" in url:
        raise ValueError("the URL must not contain user, password, query or fragment")
    return url


ServiceUrl = Annotated[
    str,
    AfterValidator(_address_of("https", "http", "mllps", "mllp")),
    AfterValidator(_without_secret),
]


def _without_user(url: str) -> str:
    if "@" in urlsplit(url).netloc:
        raise ValueError("the URL must not contain user or password")
    return url


WebhookUrl = Annotated[
    str, AfterValidator(_address_of("https", "http")), AfterValidator(_without_user)
]


def _encrypted_or_local(url: str) -> str:
    if url.startswith("http:") and urlsplit(url).hostname not in LOOPBACK:
        raise ValueError("the provider needs https; http is allowed on loopback only")
    return url.rstrip("/")


IssuerUrl = Annotated[
    str, AfterValidator(_address_of("https", "http")), AfterValidator(_encrypted_or_local)
]


def _viewer_url(url: str) -> str:
    if not url:
        return url
    if "{study_uid}" not in url:
        raise ValueError("must contain {study_uid}, in whose place the Study Instance UID is put")
    return _address_of("https", "http")(url)


ViewerUrl = Annotated[str, AfterValidator(_viewer_url)]


def _syslog_address(url: str) -> str:
    parts = urlsplit(url)
    if url and (parts.scheme not in ("udp", "tcp", "tls") or not parts.hostname or not parts.port):
        raise ValueError("must be udp://host:514, tcp://host:601 or tls://host:6514")
    return url and _address_of("udp", "tcp", "tls")(url)


SyslogUrl = Annotated[str, AfterValidator(_syslog_address)]
