"""amoCRM: a token that has expired is renewed once, stored, and used by all."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from pydantic import SecretStr

from leadcast.core.errors import CredentialsError, RateLimited, StoreError, TransientError
from leadcast.core.model import Lead
from leadcast.core.tokens import TokenPair
from leadcast.sandbox import Sandbox
from tests.contract.amocrm_deliveries import MakeCall, calls, deliver, stored_lead
from tests.contract.conftest import MemoryVault

TOKENS: dict[str, Any] = {"access_token": "expired-access", "refresh_token": "refresh-0"}


def test_an_expired_token_is_renewed_once_and_kept(
    sandbox: Sandbox, make_call: MakeCall, lead: Lead, vault: Any
) -> None:
    sandbox.configure("amocrm", accept_unknown_tokens=False)

    deliver(lead, sandbox, make_call(), **TOKENS)

    stored_lead(sandbox)
    assert calls(sandbox) == [
        ("GET", "/api/v4/contacts", 401),
        ("POST", "/oauth2/access_token", 200),
        ("GET", "/api/v4/contacts", 204),
        ("GET", "/api/v4/contacts", 204),
        ("POST", "/api/v4/leads/complex", 200),
        ("POST", f"/api/v4/leads/{stored_lead(sandbox)['id']}/notes", 200),
    ]
    [(name, pair)] = vault.stored.items()
    assert pair.refresh.get_secret_value() != "refresh-0"
    for part in ("example", "0a0a-1111", "client-s3cret"):
        assert part not in name


def test_the_stored_token_is_used_before_the_requests(sandbox: Sandbox, make_call: MakeCall, lead: Lead) -> None:
    sandbox.configure("amocrm", accept_unknown_tokens=False)
    deliver(lead, sandbox, make_call(), **TOKENS)
    before = len(calls(sandbox))

    deliver(lead, sandbox, make_call(key="another-1"), **TOKENS)

    assert [path for _, path, _ in calls(sandbox)[before:]][:1] == ["/api/v4/contacts"]
    assert all(status == 200 for _, _, status in calls(sandbox)[before:])


def test_a_stored_token_serves_nobody_who_does_not_know_the_clients_secret(
    sandbox: Sandbox, make_call: MakeCall, lead: Lead
) -> None:
    sandbox.configure("amocrm", accept_unknown_tokens=False, clients={"0a0a-1111": "client-s3cret"})
    deliver(lead, sandbox, make_call(), **TOKENS)

    with pytest.raises(CredentialsError):
        deliver(lead, sandbox, make_call(), **TOKENS | {"client_secret": "guessed"})
    stored_lead(sandbox)


def test_a_used_up_refresh_token_asks_for_a_new_connection(sandbox: Sandbox, make_call: MakeCall, lead: Lead) -> None:
    with pytest.raises(CredentialsError, match="Connect the integration again") as refused:
        deliver(lead, sandbox, make_call(), access_token="expired-a", refresh_token="revoked-r")

    assert refused.value.code == "401"
    assert "Token has been revoked" in refused.value.detail
    assert sandbox.stored("amocrm")["leads"] == []


def test_a_fresh_pair_in_the_request_mends_a_broken_chain(
    sandbox: Sandbox, make_call: MakeCall, lead: Lead, vault: Any
) -> None:
    deliver(lead, sandbox, make_call(), **TOKENS)
    [name] = vault.stored
    vault.stored[name] = TokenPair(access=SecretStr("expired-b"), refresh=SecretStr("revoked-b"))

    receipt = deliver(lead, sandbox, make_call(key="another-1"), access_token="expired-c", refresh_token="refresh-new")

    assert receipt.external_id
    assert vault.stored[name].refresh.get_secret_value() not in ("revoked-b", "refresh-new")


@pytest.mark.parametrize("fault", [{"kind": "status", "status": 503}, {"kind": "hang_up_before"}])
def test_a_renewal_that_fails_has_not_sent_the_lead(
    sandbox: Sandbox, make_call: MakeCall, lead: Lead, fault: dict[str, Any]
) -> None:
    sandbox.fault(service="amocrm", match="/oauth2/", **fault)

    with pytest.raises(TransientError):
        deliver(lead, sandbox, make_call(), **TOKENS)
    assert sandbox.stored("amocrm")["leads"] == []


def test_a_long_lived_token_that_is_refused_is_not_renewed(sandbox: Sandbox, make_call: MakeCall, lead: Lead) -> None:
    with pytest.raises(CredentialsError, match="access token"):
        deliver(lead, sandbox, make_call(), access_token="revoked-token")

    assert len(calls(sandbox)) == 1


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ({"kind": "rate_limit", "retry_after": 300}, RateLimited),
        ({"kind": "non_json", "status": 429}, RateLimited),
        ({"kind": "non_json", "status": 403, "text": "403 Forbidden"}, TransientError),
        ({"kind": "status", "status": 302}, TransientError),
        ({"kind": "status", "status": 400}, CredentialsError),
        ({"kind": "non_json", "status": 502}, TransientError),
        ({"kind": "non_json", "status": 200}, TransientError),
        ({"kind": "hang_up_after"}, TransientError),
    ],
)
def test_a_renewal_is_final_on_a_refusal_and_passes_on_anything_else(
    sandbox: Sandbox, make_call: MakeCall, lead: Lead, fault: dict[str, Any], error: type[Exception]
) -> None:
    sandbox.fault(service="amocrm", match="/oauth2/", **fault)

    with pytest.raises(error) as failed:
        deliver(lead, sandbox, make_call(), **TOKENS)
    assert type(failed.value) is error
    assert sandbox.stored("amocrm")["leads"] == []


@pytest.mark.parametrize("form", ["interim", "packed"])
def test_a_new_pair_is_kept_in_whatever_form_it_comes(
    sandbox: Sandbox, make_call: MakeCall, lead: Lead, vault: Any, form: str
) -> None:
    sandbox.configure("amocrm", accept_unknown_tokens=False)
    sandbox.fault(service="amocrm", match="/oauth2/", kind=form)

    deliver(lead, sandbox, make_call(), **TOKENS)

    stored_lead(sandbox)
    [pair] = vault.stored.values()
    assert pair.refresh.get_secret_value() != "refresh-0"


def test_a_lost_answer_is_made_good_with_the_old_token_where_amocrm_takes_it(
    sandbox: Sandbox, make_call: MakeCall, lead: Lead
) -> None:
    sandbox.configure("amocrm", refresh_mode="grace")
    sandbox.fault(service="amocrm", match="/oauth2/", kind="hang_up_after")
    with pytest.raises(TransientError):
        deliver(lead, sandbox, make_call(), **TOKENS)

    assert deliver(lead, sandbox, make_call(attempt=2), **TOKENS).external_id


class FailingVault(MemoryVault):
    """A store that fails so many times: before the exchange, or after it, when the pair is to be stored."""

    def __init__(self, *, before: int = 0, after: int = 0, reads: bool = True) -> None:
        super().__init__()
        self.before, self.after, self.reads = before, after, reads

    def current(self, account: str) -> TokenPair | None:
        if not self.reads:
            raise StoreError("The store could not be used: OperationalError")
        return super().current(account)

    def renew(self, account: str, *, stale: str, exchange: Callable[[TokenPair | None], TokenPair]) -> TokenPair:
        if self.before:
            self.before -= 1
            raise StoreError("The store could not be used: LockNotAvailable")
        if self.after:
            self.after -= 1
            exchange(self.stored.get(account))
            raise StoreError("The store could not be used: OperationalError")
        return super().renew(account, stale=stale, exchange=exchange)


@pytest.mark.parametrize("vault", [FailingVault(before=1), FailingVault(reads=False), FailingVault(after=2)])
def test_a_store_that_fails_leaves_nothing_unknown(
    sandbox: Sandbox, make_call: MakeCall, lead: Lead, vault: FailingVault
) -> None:
    with pytest.raises(TransientError) as failed:
        deliver(lead, sandbox, make_call(tokens=vault), **TOKENS)

    assert failed.value.code == "store"
    assert sandbox.stored("amocrm")["leads"] == []


def test_a_pair_that_was_given_and_not_stored_is_stored_once_more(
    sandbox: Sandbox, make_call: MakeCall, lead: Lead
) -> None:
    vault = FailingVault(after=1)

    assert deliver(lead, sandbox, make_call(tokens=vault), **TOKENS).external_id
    assert [path for _, path, _ in calls(sandbox)].count("/oauth2/access_token") == 1
    assert len(vault.stored) == 1


def test_the_limit_is_asked_before_every_call_the_renewal_too(
    sandbox: Sandbox, make_call: MakeCall, lead: Lead
) -> None:
    paced: list[int] = []

    deliver(lead, sandbox, make_call(pace=lambda: paced.append(len(calls(sandbox)))), **TOKENS)

    assert paced == list(range(len(calls(sandbox))))
    assert len(paced) == 6


class LockedVault(MemoryVault):
    """Knows whether a renewal is on its way."""

    is_locked = False

    def renew(self, account: str, *, stale: str, exchange: Callable[[TokenPair | None], TokenPair]) -> TokenPair:
        self.is_locked = True
        try:
            return super().renew(account, stale=stale, exchange=exchange)
        finally:
            self.is_locked = False


def test_a_renewal_waits_for_its_turn_before_it_holds_up_the_others(
    sandbox: Sandbox, make_call: MakeCall, lead: Lead
) -> None:
    vault, turns = LockedVault(), list[bool]()
    call = make_call(tokens=vault, pace=lambda: turns.append(vault.is_locked))
    sandbox.configure("amocrm", accept_unknown_tokens=False)

    deliver(lead, sandbox, call, **TOKENS)

    assert len(turns) == len(calls(sandbox))
    assert not any(turns)
