"""Signs weights for nodes that require it: ``python -m trainer sign-weights``."""

from pathlib import Path
from typing import Annotated

import typer

from models.weights import CARD_NAME, WeightsInvalid
from models.weights_signature import sign_weights as signed


def sign_weights(
    weights: Annotated[Path, typer.Argument(help="Folder with the subfolders contour and lesion.")],
    key: Annotated[
        Path,
        typer.Option(help="Private key (PEM): openssl genpkey -algorithm ed25519 -out key.pem"),
    ],
) -> None:
    """Sign the networks of a folder with an Ed25519 key.

    A node with the public key in [worker] weights_public_key uses signed networks only.
    """
    folders = [card.parent for card in sorted(weights.glob(f"*/{CARD_NAME}"))]
    if not folders:
        raise WeightsInvalid(
            f"{weights} has no network; name the folder that holds contour, lesion"
        )
    for folder in folders:
        typer.echo(f"{signed(folder, key)} written")
