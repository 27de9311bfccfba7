"""The phantom study that all acceptance tests send."""

import pytest

from tests.support.phantom_studies import small_case
from trainer.phantom.case import PhantomCase


@pytest.fixture(scope="session")
def case() -> PhantomCase:
    return small_case()
