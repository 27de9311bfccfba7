"""A trial node on one machine: a configuration in a folder of its own, and free ports."""

import json
import os
import random
import socket
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import starmap
from pathlib import Path

from sij_node.config.settings import PeerConfig

NODE = "SIJNODE"
LOOPBACK = "127.0.0.1"
Settings = Mapping[str, str | float]


@dataclass(frozen=True)
class TrialNode:
    """A trial node's folder, configuration and network address.

    Parameters
    ----------
    config
        Configuration file for ``sij-node --config``.
    peer
        The node as a peer of the archive.
    """

    folder: Path
    config: Path
    peer: PeerConfig


def set_up(
    folder: Path,
    archive: str,
    archive_port: int,
    port: int = 0,
    profile: str = "minimal",
    priors_from: str = "store",
    **sections: Settings,
) -> TrialNode:
    """Write the configuration of a node with one archive on this machine as its peer.

    Parameters
    ----------
    folder
        Created if missing.
    archive
        AE title of the only peer, which sends images and receives the results.
    port
        The node's port; 0 for any free port.
    profile
        Output profile of the archive.
    priors_from
        Where prior results come from, as in a [[peer]].
    sections
        Further sections of config.toml, for example ``study={"stable_age_without_pair_s": 5}``.
    """
    folder.mkdir(parents=True, exist_ok=True)
    peer = PeerConfig(ae_title=NODE, networks=(LOOPBACK,), host=LOOPBACK, port=port or free_port())
    written = {
        "[node]": {"ae_title": NODE, "data_folder": "data"},
        "[listener]": {"port": peer.port},
        "[[peer]]": {
            "ae_title": archive,
            "networks": [LOOPBACK],
            "host": LOOPBACK,
            "port": archive_port,
            "profile": profile,
            "priors": priors_from,
            **sections.get("peer", {}),
        },
        "[web]": {"enabled": False},
        **{f"[{name}]": content for name, content in sections.items() if name != "peer"},
    }
    config = folder / "config.toml"
    config.write_text("\n".join(starmap(_section, written.items())), encoding="utf-8")
    return TrialNode(folder, config, peer)


def _section(title: str, content: Mapping[str, object]) -> str:
    """A TOML section; strings, numbers and lists are written as JSON, which TOML accepts."""
    return "\n".join(
        [title, *(f"{key} = {json.dumps(value)}" for key, value in content.items()), ""]
    )


def prefer_programs_of_the_system() -> None:
    """Move the virtual environment to the end of PATH.

    pynetdicom installs programs named storescp and storescu there, which hide DCMTK's.
    """
    own = str(Path(sys.executable).parent)
    others = [folder for folder in os.environ.get("PATH", "").split(os.pathsep) if folder != own]
    os.environ["PATH"] = os.pathsep.join([*others, "/usr/sbin", own])


_untried = random.sample(range(20_000, 32_000), 12_000)


def keep_to_share(number: int, shares: int) -> None:
    """Use only this share of the free ports, so that parallel test processes never collide."""
    _untried[:] = [port for port in _untried if port % shares == number]


def free_port() -> int:
    """A free TCP port on loopback that was not returned before.

    It lies below the range of outgoing connections (from 32768), so that none of those can take it
    before the intended program does.
    """
    while True:
        port = _untried.pop()
        with socket.socket() as probe:
            try:
                probe.bind((LOOPBACK, port))
            except OSError:
                continue
        return port
