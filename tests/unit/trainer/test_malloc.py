import subprocess
import sys

import pytest

from trainer.malloc import keep_freed_memory

STEPS = """
import resource
import sys
import torch
from trainer.malloc import keep_freed_memory

weights = torch.rand(10_000_000, requires_grad=True)

def step():
    ((weights.exp() - weights).square() * weights).mean().backward()
    weights.grad = None

if sys.argv[1] == "keep":
    assert keep_freed_memory()
for _ in range(6):
    step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(3):
    step()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def pages_fetched(choice):
    ended = subprocess.run(
        [sys.executable, "-c", STEPS, choice], capture_output=True, text=True, check=True
    )
    return int(ended.stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="only the GNU C library offers the choice")
def test_a_training_uses_the_memory_of_one_step_in_the_next():
    assert pages_fetched("keep") < pages_fetched("give back") / 5


def test_without_the_option_training_is_unchanged(monkeypatch):
    monkeypatch.setattr("ctypes.CDLL", lambda _: object())

    assert keep_freed_memory() is False
