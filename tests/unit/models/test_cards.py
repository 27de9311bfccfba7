"""What the weights' cards say that they may be used for."""

import json
from pathlib import Path

import pytest

from sij_node.web.model_cards import UNKNOWN, intended_use


def card(folder: Path, network: str, content: str) -> None:
    (folder / network).mkdir()
    (folder / network / "card.json").write_text(content, encoding="utf-8")


def test_the_shipped_weights_are_not_for_clinical_use():
    assert "not for clinical use" in intended_use(None)


def test_each_statement_appears_once(tmp_path: Path):
    for network, use in (("contour", "Research only."), ("lesion", "Research only"), ("x", "No")):
        card(tmp_path, network, json.dumps({"intended_use": use}))

    assert intended_use(tmp_path) == "Research only. No"


@pytest.mark.parametrize("content", ["", "no json", "[]", '{"intended_use": 3}', "{}"])
def test_a_card_that_says_nothing_is_taken_for_the_strictest(tmp_path: Path, content: str):
    card(tmp_path, "contour", content)

    assert intended_use(tmp_path) == UNKNOWN
