"""A node set up for trying it on one machine: a configuration in a folder, and free ports."""

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
    """Where a node on trial keeps its things, and how it is reached.

    Parameters
    ----------
    config
        The configuration, to be given to ``sij-node --config``.
    peer
        The node, as the archive sees it.
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
    """Write the configuration of a node that knows one archive on this machine.

    Parameters
    ----------
    folder
        Created where it is missing.
    archive
        AE title of the one system that may send and gets the results.
    port
        Where the node listens; 0 takes a free port.
    profile
        What the archive gets.
    priors_from
        Where earlier results come from, as in a [[peer]].
    sections
        Further sections of config.toml, for instance ``study={"stable_age_without_pair_s": 5}``.
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
        },
        "[web]": {"enabled": False},
        **{f"[{name}]": content for name, content in sections.items()},
    }
    config = folder / "config.toml"
    config.write_text("\n".join(starmap(_section, written.items())), encoding="utf-8")
    return TrialNode(folder, config, peer)


def _section(title: str, content: Mapping[str, object]) -> str:
    """A section of TOML; its strings, numbers and lists are written as JSON writes them."""
    return "\n".join(
        [title, *(f"{key} = {json.dumps(value)}" for key, value in content.items()), ""]
    )


def prefer_programs_of_the_system() -> None:
    """Look for other programs behind the virtual environment in PATH.

    pynetdicom puts namesakes of DCMTK's storescp and storescu there.
    """
    own = str(Path(sys.executable).parent)
    others = [folder for folder in os.environ.get("PATH", "").split(os.pathsep) if folder != own]
    os.environ["PATH"] = os.pathsep.join([*others, "/usr/sbin", own])


_untried = random.sample(range(20_000, 32_000), 12_000)


def keep_to_share(number: int, shares: int) -> None:
    """Give out free ports of one share only, so that programs side by side never meet at one."""
    _untried[:] = [port for port in _untried if port % shares == number]


def free_port() -> int:
    """A TCP port on loopback that nobody listens on, and that was not given out before.

    It lies below those that the system gives to outgoing connections (from 32768), of which one
    could take it before the program that it is meant for does.
    """
    while True:
        port = _untried.pop()
        with socket.socket() as probe:
            try:
                probe.bind((LOOPBACK, port))
            except OSError:
                continue
        return port
