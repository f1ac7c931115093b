"""Calls that schemathesis makes from the OpenAPI document of a real api-server, as admin, user, viewer and nobody.

The calls are the same in every run. None of them leaves the machine: no scheduler runs, so nothing is delivered.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import Case, GenerationMode, Response
from schemathesis.core.result import Ok
from schemathesis.schemas import BaseSchema
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from sqlalchemy import func, select

from leadcast.api.links import MOUNT
from leadcast.store.database import Store
from leadcast.store.schema import attempts
from tests.hostile.ended import ENDS, end_partially
from tests.hostile.leaves_the_machine import record_in
from tests.hostile.rights import BATCH, CALLS, Call
from tests.support.api_server import ApiServer

pytestmark = [pytest.mark.system, pytest.mark.store]

EXAMPLES = 15
"""Of each kind, fit and unfit, for each call and user."""
TIMEOUT_S = 30
WHO = {"nobody": "nobody", "viewer": "viewer", "user": "sender-own", "admin": "operator"}
"""User of the api-server → how the table of rights calls him."""
NEEDLES = {"user": "Ann Needle", "other": "Bo Needle"}
"""Sender → the person of his leads. What services have said holds `needle` besides."""
CONFORMS = [
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
BOUNDED = settings(
    max_examples=EXAMPLES,
    derandomize=True,
    database=None,
    deadline=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)


@dataclass
class Target:
    """The api-server, what it says of itself, and the file of hosts that it has asked for."""

    server: ApiServer
    document: BaseSchema
    asked_for: Path


@pytest.fixture(scope="module")
def target(server: ApiServer, asked_for: Path) -> Target:
    served = server.call("GET", f"{MOUNT}/openapi.json", user="viewer").json()
    document = schemathesis.openapi.from_dict(served, config=schemathesis.Config())
    # who calls is ours to say
    document.config.generation.update(with_security_parameters=False)
    return Target(server, document, asked_for)


@dataclass
class Known:
    """What is there when a call is tried: for each sender a batch that waits, one that has ended, and their leads."""

    ids: dict[str, list[str]]

    @classmethod
    def sent(cls, server: ApiServer, store: Store) -> Known:
        ids: dict[str, list[str]] = {"batch_id": [], "lead_id": []}
        for sender, person in NEEDLES.items():
            for lead_id in (f"{sender}-waits", f"{sender}-ended"):
                body = BATCH | {"lead_id": lead_id, "lead": BATCH["lead"] | {"name": person}}
                answer = server.call("POST", f"{MOUNT}/send-batch", user=sender, json=body)
                assert answer.status_code == 202, answer.text
                ids["batch_id"].append(answer.json()["batch_id"])
                ids["lead_id"].append(lead_id)
            end_partially(store, ids["batch_id"][-1])
        return cls(ids)


def operations(document: BaseSchema) -> set[tuple[str, str]]:
    found = (result.ok() for result in document.get_all_operations() if isinstance(result, Ok))
    return {(operation.method.upper(), operation.path) for operation in found}


def test_a_host_beyond_this_machine_is_written_down(tmp_path: Path) -> None:
    asked_for = record_in(tmp_path / "site")
    ask = "import socket\ntry: socket.getaddrinfo('leads.invalid', 443)\nexcept OSError: pass"
    for host in ("leads.invalid", "127.0.0.1"):
        command = [sys.executable, "-c", ask.replace("leads.invalid", host)]
        subprocess.run(command, env=os.environ | {"PYTHONPATH": str(tmp_path / "site")}, check=True, timeout=TIMEOUT_S)
    assert asked_for.read_text() == "leads.invalid\n"


FUZZED = [call for call in CALLS if not call.path.startswith(("/ui", "/docs", "/openapi"))]


def test_every_call_of_the_document_is_tried(target: Target) -> None:
    assert operations(target.document) == {(call.method, call.path) for call in FUZZED}


@pytest.mark.parametrize("user", WHO)
@pytest.mark.parametrize("call", FUZZED, ids=lambda call: f"{call.method} {call.path}")
def test_answers_are_what_the_document_says(target: Target, store: Store, call: Call, user: str) -> None:
    server, known, seen = target.server, Known.sent(target.server, store), Counter[int]()
    is_of_erased = call.path.endswith("/erasure")
    for lead_id in known.ids["lead_id"] if is_of_erased else ():
        server.call("DELETE", f"{MOUNT}/leads/{lead_id}", user="admin")
    begun = count_of_attempts(store)
    assert begun == len(ENDS) * len(NEEDLES)
    operation = target.document[call.path][call.method]
    tried, texts = count(), list[str]()
    headers = {} if user == "nobody" else {"Authorization": f"Bearer {server.tokens[user]}"}

    def try_one(case: Case[Any]) -> None:
        # every second call is about something that is there, so that it gets further than "not found"
        number, is_known = divmod(next(tried), 2)
        if is_known:
            for name in case.path_parameters or {}:
                case.path_parameters[name] = known.ids[name][number % len(known.ids[name])]
            if call.body is not None:
                case.body = call.body
        response = case.call(base_url=server.url + MOUNT, headers=headers, timeout=TIMEOUT_S)
        judge(case, response, call, user)
        seen[response.status_code] += 1
        texts.append(response.text)

    for mode in GenerationMode:
        made = operation.as_strategy(generation_mode=mode)
        try:
            BOUNDED(given(case=made)(try_one))()
        except Unsatisfiable:
            # an id is any text, and /health takes nothing: nothing can be wrong with these
            assert mode is GenerationMode.NEGATIVE
            assert not operation.query
            assert not operation.body
    assert call.expected[WHO[user]] in seen
    if call.method == "GET" and user == "admin" and not is_of_erased:
        # what is hidden from others is there to be seen
        assert any(NEEDLES["other"] in text for text in texts) == call.path.startswith("/leads")
        assert any("needle" in text for text in texts) == (call.path != "/health")
    assert count_of_attempts(store) == begun
    assert target.asked_for.read_text() == ""


def count_of_attempts(store: Store) -> int:
    with store.begin() as connection:
        return connection.execute(select(func.count()).select_from(attempts)).scalar_one()


def judge(case: Case[Any], response: Response, call: Call, user: str) -> None:
    """Whatever fails here is a fault of ours, in the code or in the document."""
    told = f"{response.request.method} {response.request.url}: {response.status_code} {response.text[:500]}"
    assert response.status_code < 500 or call.path == "/health", told
    if "\n" in path_of(response):
        # Airflow's application hands on to ours only what stands on one line, and says so itself
        assert (response.status_code, response.text) == (404, '{"detail":"Not Found"}'), told
        return
    # what a slash in an id leads to is no call of ours
    if leads_elsewhere(response, call):
        assert response.status_code in (404, 405), told
    else:
        expected = call.expected[WHO[user]]
        # who may read is told of an id that cannot be one before it is asked whose the lead is
        refusals = {expected, 422} if (expected, call.method) == (403, "GET") else {expected}
        assert expected not in (401, 403) or response.status_code in refusals, told
        case.validate_response(response, checks=CONFORMS)
    for words in hidden_from(user):
        assert words not in response.text, told
    assert response.headers["x-content-type-options"] == ["nosniff"], told
    assert response.headers["cache-control"] == ["no-store"], told


def path_of(response: Response) -> str:
    return unquote(urlsplit(response.request.url or "").path).removeprefix(MOUNT)


def leads_elsewhere(response: Response, call: Call) -> bool:
    path = path_of(response)
    return len(path.split("/")) != len(call.path.split("/")) or not all(path.split("/")[1:])


def hidden_from(user: str) -> list[str]:
    """Personal data of those whose leads this user may not see."""
    return {"admin": [], "user": [NEEDLES["other"]]}.get(user, [*NEEDLES.values(), "needle"])
