"""The API conforms to its OpenAPI document: tested with schemathesis.

Source: https://schemathesis.readthedocs.io, OpenAPI 3.1.
"""

from collections.abc import Iterator

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    ignored_auth,
    response_schema_conformance,
    status_code_conformance,
)

from sij_node.config.user_roles import Role
from tests.support.job_tables import delivering, queued
from tests.support.running_web import RunningWeb, running_web

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
    ignored_auth,
]
TRIES = settings(
    max_examples=8,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningWeb]:
    with running_web(tmp_path_factory.mktemp("web")) as running:
        delivering(running.table, study_uid="1.2.3")
        for number in range(5):
            queued(running.table, f"1.2.4.{number}")
        yield running


@pytest.fixture(scope="module")
def program(web: RunningWeb) -> Iterator[httpx.Client]:
    with web.program(Role.OPERATOR) as client:
        yield client


def test_every_operation_answers_as_it_is_described(web: RunningWeb, program: httpx.Client):
    description = program.get("/api/v1/openapi.json").json()
    schema = schemathesis.openapi.from_dict(description)
    schema.config.update(base_url=web.url)
    headers = {"Authorization": program.headers["authorization"]}
    tried = []

    for operation in (found.ok() for found in schema.get_all_operations()):

        @TRIES
        @given(case=operation.as_strategy())
        def try_out(case: schemathesis.Case) -> None:
            case.call_and_validate(headers=headers, checks=CHECKS)

        try_out()
        tried.append(operation.label)

    assert len(tried) == sum(len(methods) for methods in description["paths"].values()) > 25
