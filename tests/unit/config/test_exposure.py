"""What other users could read is named, with what to do about it."""

from pathlib import Path

import pytest

from sij_node.config.exposure import exposed
from sij_node.config.settings import Config, load_config

TEXT = """
[node]
ae_title = "SIJNODE"
data_folder = "data"
[[peer]]
ae_title = "PACS"
networks = ["10.1.0.0/16"]
host = "10.1.0.5"
port = 104
[alerts.webhook]
url = "https://chat.example/hook"
secret_file = "secret"
"""


def problems(folder: Path, text: str = TEXT, mode: int = 0o600) -> list[str]:
    file = folder / "config.toml"
    file.write_text(text)
    file.chmod(mode)
    config: Config = load_config(file)
    return list(exposed(config, file))


def test_a_private_installation_has_no_problem(tmp_path):
    (tmp_path / "data").mkdir(mode=0o700)
    (tmp_path / "secret").touch(0o600)

    assert problems(tmp_path, mode=0o644) == []


@pytest.mark.parametrize("folder", ["data", "data/spool", "data/audit"])
def test_an_open_folder_is_named_with_the_command_that_closes_it(tmp_path, folder):
    for name in sorted({"data", folder}):
        (tmp_path / name).mkdir(mode=0o700)
    (tmp_path / folder).chmod(0o755)

    (problem,) = problems(tmp_path)

    assert "(mode 0755)" in problem
    assert problem.endswith(f"Run `chmod 700 {tmp_path / folder}`.")


def test_a_secret_that_anybody_can_read_is_named(tmp_path):
    (tmp_path / "secret").touch()
    (tmp_path / "secret").chmod(0o644)

    (problem,) = problems(tmp_path)

    assert problem.startswith("alerts.webhook.secret_file: ")


@pytest.mark.parametrize("mode", [0o600, 0o644])
def test_a_password_in_an_url_is_named_but_not_shown(tmp_path, mode):
    text = TEXT + '[database]\nurl = "postgresql+psycopg://sij:geheim@db/sij"\n'

    (problem,) = problems(tmp_path, text, mode)

    assert "database.url contains a password" in problem
    assert "geheim" not in problem
    assert ("Any user can read that file" in problem) is (mode == 0o644)
