"""The application as the api-server mounts it, on a real store, with a caller who is let in."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from fastapi import FastAPI, HTTPException, Request
from fastapi.routing import APIRoute
from fastapi.testclient import TestClient

from leadcast.api.app import create_app
from leadcast.api.backend import Backend
from leadcast.api.caller import MAY_NOT_SEND, SAFE_METHODS, Caller, bearer_of, refuse_cookie_alone, token_of
from leadcast.api.links import MOUNT
from leadcast.api.trigger_guard import Asking
from leadcast.core.settings import Settings
from leadcast.store.database import Store

TOKEN = "a-token-of-the-tests"
BOT_TOKEN = "700:a-telegram-token-of-the-tests-0000"
BODY: dict[str, Any] = {
    "lead_id": 123,
    "lead": {"name": "Анна", "phone": "+79990000001"},
    "integrations": [{"type": "telegram"}, {"type": "email", "settings": {"template": "new_lead"}}],
    "credentials": {
        "telegram": {"bot_token": BOT_TOKEN, "chat_id": "@notifications"},
        "email": {"emails": ["admin@example.com"]},
    },
}


@dataclass
class Bell:
    """Remembers who rang for which run, in whose name."""

    rung: list[tuple[str, str]] = field(default_factory=list)

    async def ring(self, run_id: str, *, token: str) -> bool:
        self.rung.append((run_id, token))
        return True


def admit(request: Request) -> None:
    """Stands for Airflow's users: the token's owner may do everything, nobody else anything. A test names others in
    `X-Test-User`: `viewer` looks on, whose name begins with `sender` has rights on what he has sent."""
    if token_of(request) != TOKEN:
        raise HTTPException(401, "Not authenticated")
    refuse_cookie_alone(request)
    user = request.headers.get("X-Test-User", "tester")
    request.state.leadcast_caller = Caller(
        id=user,
        name=user,
        token=bearer_of(request),
        may_write=lambda: user != "viewer",
        may=lambda right: user not in ("viewer",) and not user.startswith("sender"),
    )
    if user == "viewer" and request.method not in SAFE_METHODS:
        raise HTTPException(403, MAY_NOT_SEND)


@dataclass(frozen=True)
class User:
    """A user of Airflow."""

    name: str = "tester"

    def get_name(self) -> str:
        return self.name


async def user_of(request: Request) -> User:
    """Stands for Airflow's users, where the guard asks for them."""
    if token_of(request) != TOKEN:
        raise HTTPException(401, "Not authenticated")
    return User(request.headers.get("X-Test-User", "tester"))


def refuse_who_may_not_trigger(request: Request, user: User) -> None:
    if user.name == "viewer":
        raise HTTPException(403, MAY_NOT_SEND)


ASKING = Asking(user_of, refuse_who_may_not_trigger)


@pytest.fixture
def bell() -> Bell:
    return Bell()


@pytest.fixture
def serve(bell: Bell) -> Iterator[Callable[..., TestClient]]:
    """Serves the application on whatever store it is given."""
    opened: list[TestClient] = []

    def serve(
        open_store: Callable[[], Store],
        *,
        missing_pools: Callable[[], list[str]] = list,
        paused_dags: Callable[[], list[str]] = list,
    ) -> TestClient:
        backend = Backend(
            store=open_store,
            settings=Settings,
            ring=bell.ring,
            missing_pools=missing_pools,
            paused_dags=paused_dags,
        )
        server = FastAPI()
        server.mount(MOUNT, create_app(backend, admit=admit))
        client = TestClient(server, raise_server_exceptions=False, base_url=f"http://testserver{MOUNT}")
        client.__enter__()
        opened.append(client)
        return client

    yield serve
    for client in opened:
        client.__exit__()


@pytest.fixture
def anonymous(serve: Callable[..., TestClient], store: Store) -> TestClient:
    return serve(lambda: store)


@pytest.fixture
def client(anonymous: TestClient) -> TestClient:
    """Signed in with a token."""
    anonymous.headers["Authorization"] = f"Bearer {TOKEN}"
    return anonymous


ROUTES = [
    (method, route.path)
    for route in create_app(admit=admit).routes
    if isinstance(route, APIRoute)
    for method in sorted(route.methods)
]
"""Each call of the API that wants a token, and its method."""
