"""The configuration: what is valid, and that every problem is reported at once."""

import re
import tomllib
from pathlib import Path
from typing import get_args

import pytest
from pydantic import ValidationError

from sij_node.config.profiles import MINIMAL, Profile, SeriesKind, preset
from sij_node.config.renamed_keys import RENAMED_KEYS
from sij_node.config.settings import Config, DestinationConfig, load_config
from sij_node.errors import ConfigurationInvalid

PROFILE = re.compile(r"^# \[\[profile\]\].*?^$", re.MULTILINE | re.DOTALL)
"""The example of a profile within the shipped file."""
DESTINATION = re.compile(r"^# \[\[destination\]\].*?^$", re.MULTILINE | re.DOTALL)
"""The example of a destination within the shipped file."""
ALERTS = re.compile(r"^# \[alerts\.\w+\].*\n(?:# \S.*\n)+", re.MULTILINE)
"""The alert channels in the shipped file."""
OPENID = re.compile(r"^# \[web\.openid\].*?^$", re.MULTILINE | re.DOTALL)
"""The example of an identity provider."""
SHIPPED = Path(__file__).parents[3] / "config.toml"
SMALLEST = """
[node]
ae_title = "SIJNODE"
data_folder = "data"

[[peer]]
ae_title = "PACS"
networks = ["10.1.0.0/16"]
host = "10.1.0.5"
port = 104
"""


def config_from(text: str) -> Config:
    return Config.model_validate(tomllib.loads(text))


def written(folder: Path, text: str) -> Path:
    file = folder / "config.toml"
    file.write_text(text, encoding="utf-8")
    return file


def test_the_shipped_file_is_usable_as_it_is():
    assert load_config(SHIPPED).node.ae_title == "SIJNODE"


def test_defaults_in_the_shipped_configs_comments_are_true():
    text = re.sub(DESTINATION, "", SHIPPED.read_text(encoding="utf-8"))
    examples_left_out = re.sub(ALERTS, "", re.sub(OPENID, "", re.sub(PROFILE, "", text)))
    stated = re.sub(r"^# (?=[a-z_]+ += )", "", examples_left_out, flags=re.MULTILINE)
    stated = re.sub(
        r"^(weights_folder|client_ca|crl|ca|syslog_ca|token_file|\w*certificate|\w*private_key|\w*public_key).*\n",
        "",
        stated,
        flags=re.M,
    )
    stated = re.sub(r"^(keyword|contains|priority = 9|name|folder).*\n", "", stated, flags=re.M)

    assert stated != text
    assert config_from(stated) == config_from(text)


def test_every_setting_is_named_in_the_shipped_file():
    text = SHIPPED.read_text(encoding="utf-8")
    defaults = config_from(SMALLEST)
    keys = {key for name in Config.model_fields for key in _keys(getattr(defaults, name))}

    assert [key for key in sorted(keys) if not re.search(rf"^(# )?{key} ", text, re.M)] == []


def test_the_destination_in_the_shipped_file_is_usable_and_complete():
    block = re.search(DESTINATION, SHIPPED.read_text(encoding="utf-8"))[0]
    stated = re.sub(r"^# (?=\[|[a-z_]+ += )", "", block, flags=re.MULTILINE)
    either = re.sub(r"^token_file.*\n", "", stated, flags=re.MULTILINE)

    (found,) = config_from(SMALLEST + either).destination

    assert set(tomllib.loads(stated)["destination"][0]) == set(DestinationConfig.model_fields)
    assert (found.kind, found.peers, found.objects, found.shadow) == ("stow-rs", (), (), False)


WEB = """
[[destination]]
name = "WEB"
kind = "stow-rs"
url = "https://pacs.example/dicom-web"
"""


@pytest.mark.parametrize(
    ("added", "words"),
    [
        (WEB.replace("WEB", "PACS"), "the name PACS is already used"),
        (WEB.replace("WEB", "SIJNODE"), "the name SIJNODE is already used"),
        (WEB + WEB, "the name WEB is already used"),
        (WEB + 'peers = ["OTHER"]', "unknown peer OTHER; available: PACS"),
        (WEB + 'user = "node"', "user and password_file must be set together"),
        (WEB + 'private_key = "key.pem"', "certificate and private_key must be set together"),
        (
            WEB + 'user = "node"\npassword_file = "p"\ntoken_file = "t"',
            "either user and password_file, or token_file",
        ),
        (
            WEB.replace("https", "http") + 'token_file = "t"',
            "authentication and certificates need https",
        ),
        (WEB.replace("https://", "https://node:secret@"), "url"),
        (WEB.replace("dicom-web", "dicom-web?token=secret"), "url"),
        (WEB.replace("stow-rs", "ftp"), "kind"),
    ],
)
def test_a_destination_that_cannot_work_is_refused(added: str, words: str):
    with pytest.raises(ValidationError) as refused:
        config_from(SMALLEST + added)

    assert words in str(refused.value)


def test_results_that_would_go_nowhere_are_refused():
    nowhere = f"{SMALLEST}send_results = false\n"

    with pytest.raises(ValidationError, match="send_results = false for PACS"):
        config_from(nowhere)
    assert config_from(nowhere + WEB).destination_titles == ("WEB",)


def _keys(section: object) -> set[str]:
    if isinstance(section, tuple):
        return {key for part in section for key in _keys(part)}
    return set(type(section).model_fields) - {"tls", "openid", "email", "webhook"}


def test_the_shipped_config_shows_the_minimal_profiles_defaults():
    block = re.search(PROFILE, SHIPPED.read_text(encoding="utf-8"))[0]
    stated = tomllib.loads(re.sub(r"^# ", "", block, flags=re.MULTILINE))["profile"][0]
    example = {"name", "series_numbers", "series_descriptions"}
    defaults = {key: value for key, value in stated.items() if key not in example}

    profile = Profile.model_validate({"name": "x", **defaults})

    assert profile.model_dump(exclude=example) == MINIMAL.model_dump(exclude=example)
    assert set(stated) == set(Profile.model_fields)
    assert Profile.model_validate(stated).number_of("pdf") == 9800


def test_a_profile_inherits_what_it_does_not_set():
    config = config_from(
        SMALLEST
        + 'profile = "ward"\n[[profile]]\nname = "ward"\nbased_on = "ohif"\nlanguage = "de"\n'
    )

    profile = config.profile_for(config.peer[0].ae_title)

    assert (profile.language, profile.objects) == ("de", preset("ohif").objects)
    assert config.profile_for("NOBODY") == MINIMAL


@pytest.mark.parametrize(
    ("added", "problem"),
    [
        ('profile = "ward"\n', "unknown profile ward"),
        ('[[profile]]\nname = "ohif"\n', "ohif is configured more than once"),
        ('[[profile]]\nname = "w"\nobjects = ["seg", "seg"]\n', "each result once"),
        ('[[profile]]\nname = "w"\nobjects = []\n', "must not be empty"),
        ('[[profile]]\nname = "w"\nbased_on = "ward"\n', r"\[\[profile\]\] w based_on"),
    ],
)
def test_a_profile_that_cannot_be_used_is_refused(added: str, problem: str, tmp_path: Path):
    with pytest.raises(ConfigurationInvalid, match=problem):
        load_config(written(tmp_path, SMALLEST + added))


def test_every_result_has_a_series_number_of_its_own():
    kinds = [kind for kind in get_args(SeriesKind) if kind != "not analysed"]

    assert len({MINIMAL.number_of(kind) for kind in kinds}) == len(kinds)


def test_what_is_sent_changes_no_uid_and_how_it_is_written_does():
    assert preset("everything").digest == MINIMAL.digest
    assert MINIMAL.model_copy(update={"language": "de"}).digest != MINIMAL.digest


def test_every_problem_is_named_at_once(tmp_path: Path):
    bad = SMALLEST.replace("SIJNODE", "a title that is far too long").replace("104", "0")
    bad += "[listener]\nprot = 4242\n"

    with pytest.raises(ConfigurationInvalid, match="3 problems") as raised:
        load_config(written(tmp_path, bad))

    message = str(raised.value)
    assert all(
        place in message for place in ("[node] ae_title", "[[peer]] PACS port", "[listener] prot")
    )


@pytest.mark.parametrize(("old", "new"), RENAMED_KEYS.items())
def test_a_renamed_key_is_refused_with_its_new_name(old: str, new: str, tmp_path: Path):
    *sections, key = old.split(".")
    section = ".".join(sections)
    header = "[[profile]]" if section == "profile" else f"[{section or key}]"

    with pytest.raises(ConfigurationInvalid) as raised:
        load_config(written(tmp_path, f"{SMALLEST}{header}\n{key} = 1\n"))

    assert f"{old}: {key} has been renamed to {new}" in str(raised.value)


def test_renamed_keys_are_reported_together_with_all_other_problems(tmp_path: Path):
    bad = SMALLEST.replace("104", "0") + "[alarms]\nsettle_minutes = -1\nprot = 1\n"

    with pytest.raises(ConfigurationInvalid, match="5 problems") as raised:
        load_config(written(tmp_path, bad))

    named = (
        "alarms: ",
        "alarms.settle_minutes",
        "[[peer]] PACS port",
        "[alerts] debounce_minutes: ",
        " prot ",
    )
    assert all(one in str(raised.value) for one in named)


def test_a_renamed_key_with_a_good_value_is_refused_all_the_same(tmp_path: Path):
    with pytest.raises(ConfigurationInvalid, match="1 problem:"):
        load_config(written(tmp_path, f"{SMALLEST}[study]\nquiet_s = 60\n"))


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (('networks = ["10.1.0.0/16"]', "networks = []"), "networks"),
        (("10.1.0.0/16", "anywhere"), "networks"),
        (('"PACS"', '"SIJNODE"'), "own AE title"),
        (('"PACS"', '"PA\\\\CS"'), "ae_title"),
        (("port = 104", "port = 104\ntls = true"), r"listener\.tls"),
    ],
)
def test_what_would_open_a_door_or_close_it_for_good_is_refused(
    tmp_path: Path, change: tuple[str, str], named: str
):
    with pytest.raises(ConfigurationInvalid, match=named):
        load_config(written(tmp_path, SMALLEST.replace(*change)))


def test_a_node_without_peers_is_refused(tmp_path: Path):
    with pytest.raises(ConfigurationInvalid, match="peer"):
        load_config(written(tmp_path, SMALLEST.partition("[[peer]]")[0]))


def test_the_same_peer_twice_is_refused(tmp_path: Path):
    twice = SMALLEST + SMALLEST[SMALLEST.index("[[peer]]") :]

    with pytest.raises(ConfigurationInvalid, match="more than once"):
        load_config(written(tmp_path, twice))


def test_a_rule_on_an_unknown_keyword_is_refused(tmp_path: Path):
    rule = '[[priority_rule]]\nkeyword = "Urgency"\ncontains = "STAT"\npriority = 9\n'

    with pytest.raises(ConfigurationInvalid, match="Urgency"):
        load_config(written(tmp_path, SMALLEST + rule))


def test_a_missing_file_and_broken_toml_are_one_clear_line_each(tmp_path: Path):
    with pytest.raises(ConfigurationInvalid, match="cannot be read"):
        load_config(tmp_path / "none.toml")
    with pytest.raises(ConfigurationInvalid, match="not valid TOML"):
        load_config(written(tmp_path, "[node"))


def test_folders_are_relative_to_the_file(tmp_path: Path):
    config = load_config(written(tmp_path, SMALLEST))

    assert config.node.data_folder == tmp_path / "data"
    assert config.database_url == f"sqlite:///{tmp_path / 'data' / 'jobs.sqlite'}"


def test_the_node_listens_on_loopback_by_default():
    assert config_from(SMALLEST).listener.host == "127.0.0.1"


def test_the_alert_channels_of_the_shipped_file_are_valid():
    blocks = "\n".join(re.findall(ALERTS, SHIPPED.read_text(encoding="utf-8")))
    alerts = config_from(SMALLEST + re.sub(r"^# ", "", blocks, flags=re.MULTILINE)).alerts

    assert alerts.email.to == ("pacs@hospital.example",)
    assert alerts.webhook.url.startswith("https://")


@pytest.mark.parametrize(
    "section",
    [
        'alerts.email]\nhost = "m"\nsender = "a@b"\nto = ["c@d"]\nuser = "u"',
        'alerts.email]\nhost = "m"\nsender = "a@b"\nto = []',
        'alerts.email]\nhost = "m"\nsender = "a@b\\nBcc: x@y"\nto = ["c@d"]',
        'alerts.webhook]\nurl = "file:///etc/passwd"\nsecret_file = "s"',
        "alerts]\nworking_hours = [18, 8]",
        'alerts]\ntime_zone = "Middle/Earth"',
        'audit]\nsyslog = "http://host:514"',
        'audit]\nsyslog = "tls://host"',
    ],
)
def test_alerts_and_audit_that_cannot_work_are_refused(section):
    with pytest.raises(ValidationError):
        config_from(f"{SMALLEST}[{section}\n")


@pytest.mark.parametrize(
    "host", ["pacs..hospital.example", "-pacs", "http://pacs", "p a", "", "x" * 64]
)
def test_a_host_that_cannot_exist_is_refused(host: str):
    with pytest.raises(ValidationError, match="neither a host name nor an IP address"):
        config_from(SMALLEST.replace("10.1.0.5", host))


@pytest.mark.parametrize(
    "host", ["pacs", "pacs_1.hospital.example.", "krankenhäuser.example", "::1"]
)
def test_a_possible_host_is_accepted(host: str):
    assert config_from(SMALLEST.replace("10.1.0.5", host)).peer[0].host == host


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[listener.tls]\ncertificate = "a"\nprivate_key = "b"\ncrl = "c"\n', "needs client_ca"),
        ('[listener.tls]\ncertificate = "a"\nprivate_key = "b"\n', "client_ca"),
    ],
)
def test_what_needs_client_certificates_says_so(text, said):
    bound = SMALLEST + ("" if "crl" in text else 'certificate_names = ["pacs"]\n')
    with pytest.raises(ValidationError, match=said):
        config_from(bound + text)


SECTION = "[[profile]]\nname = 'w'\n"
BROKEN = [
    (('ae_title = "SIJ', 'ae_titel = "SIJ'), "[node] ae_titel is unknown; did you mean ae_title?"),
    (("[node]", "[nod]"), "[nod] is unknown; did you mean node?"),
    (("[node]", "[[node]]"), "[node]: must be a section, not a list"),
    (("[[peer]]", "[peer]"), "[peer] must be written with two brackets: [[peer]]"),
    (("port = 104", "max_pdu_bytes = 9000"), "max_pdu_bytes is unknown; it belongs to [listener]"),
    (("port = 104", ""), "[[peer]] PACS port is missing"),
    (("104", '"dicom"'), '[[peer]] PACS port: must be a whole number, not "dicom"'),
    (("104", "104.5"), "must be a whole number, not 104.5"),
    (("104", "70000"), "must be at most 65535, not 70000"),
    (("104", "104\nshadow = 3"), "shadow: must be true or false, not 3"),
    (("104", "104\nport = 105"), "a key or section occurs twice (at line 11, column 11)"),
    (('"PACS"', "5"), 'ae_title: must be text in "quotes", not 5'),
    (('"PACS"', '"THE_PACS_OF_THE_HOSPITAL"'), "must have at most 16 characters"),
    (('"PACS"', '""'), "[[peer]] no. 1 ae_title: must not be empty"),
    (('["10.1.0.0/16"]', '"10.1.0.0/16"'), "networks: must be a list in [brackets]"),
    (("10.1.0.0/16", "10.1.0.300"), '"10.1.0.300" is neither an IP address'),
    (("10.1.0.5", "10.1.0.500"), '"10.1.0.500" is neither a host name nor an IP address'),
    (("104", '104\nprofile = "orthnac"'), "everything; did you mean orthanc?"),
    (("104", '104\npriors = "mvoe"'), 'not "mvoe"; did you mean move?'),
    (('"data"', "data"), "Text must be in quotes"),
    (('"data"', '"C:\\data"'), "Write paths with backslashes in 'single quotes'"),
    (("104", "104\n[alerts]\nworking_hours = [8]"), "working_hours: one more value is needed"),
    (("104", "104\n[spool]\nretention_days = -1"), "must be more than 0, not -1"),
    (("104", '104\n[web]\nviewer_url = "http://v"'), "viewer_url: must contain {study_uid}"),
    (("104", f"104\n{SECTION}series_numbers = {{pdff = 1}}"), "did you mean pdf?"),
]


@pytest.mark.parametrize(("change", "words"), BROKEN)
def test_each_mistake_is_named_in_an_administrator_s_words(
    tmp_path: Path, change: tuple[str, str], words: str
):
    with pytest.raises(ConfigurationInvalid) as refused:
        load_config(written(tmp_path, SMALLEST.replace(*change)))

    message = str(refused.value)
    assert words in message
    assert not re.search(r"pydantic|Errno|input_value|Value error|\[type=", message)


def test_contradictions_are_named_together_with_invalid_values(tmp_path: Path):
    bad = SMALLEST.replace("104", '0\nprofile = "ward"\ntls = true\nprot = 1')
    bad += '[web]\nhost = "0.0.0.0"\n[alerts.email]\nhost = "m"\nsender = "a"\nto = []\nuser = "u"'

    with pytest.raises(ConfigurationInvalid, match="8 problems") as refused:
        load_config(written(tmp_path, bad))

    for words in ("unknown profile ward", "[listener.tls]", "prot is", "[web]: passwords"):
        assert words in str(refused.value)
    assert "user and password_file must be set together" in str(refused.value)


def test_a_password_in_a_url_is_not_repeated(tmp_path: Path):
    bad = SMALLEST + WEB.replace("https://", "https://node:secret@")

    with pytest.raises(ConfigurationInvalid, match="user, password") as refused:
        load_config(written(tmp_path, bad))

    assert "secret" not in str(refused.value)
