"""One amoCRM account over HTTP: its token, and what its answers mean (vendors.md 1.1 to 1.4, 1.9)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

from pydantic import SecretStr

from leadcast.core.errors import (
    CredentialsError,
    DeliveryError,
    RateLimited,
    RejectedError,
    TransientError,
    UnknownOutcome,
)
from leadcast.core.model import Lead
from leadcast.core.redact import secrets_in
from leadcast.core.tokens import TokenPair
from leadcast.integrations.amocrm.problems import account_problem, numbers_as_text, problems_in, told
from leadcast.integrations.amocrm.settings import AmoCrmCredentials
from leadcast.integrations.base import Account, Call
from leadcast.integrations.http.address import is_vendors
from leadcast.integrations.http.answer import Answer, pause_s
from leadcast.integrations.http.deadline import Deadline
from leadcast.integrations.http.oauth import AccessToken, account_name
from leadcast.integrations.text.fit_to_show import fit_to_show
from leadcast.integrations.text.personal_data import personal_data

PUBLIC_HOSTS = (".amocrm.ru", ".amocrm.com", ".kommo.com")
CALL_TIMEOUT_S = 30.0
"""For one call. amoCRM's own library waits 20 s (vendors.md 1.1); a gateway's 504 comes later than that."""
RATE_LIMIT_PAUSE_S = 60.0
"""When a 429 does not say how long (vendors.md 1.3)."""
MAX_ANSWER_BYTES = 8 * 1024 * 1024
"""A page of 250 leads with all their fields."""


def base_url_of_account(account: Account[AmoCrmCredentials]) -> str:
    """Where the account is: the operator's address, or the account's own host at amoCRM (vendors.md 1.1)."""
    own = account.credentials
    return account.base_url.rstrip("/") or f"https://{own.subdomain}.{own.domain}".lower()


class AmoCrmClient:
    """Calls of one delivery, or without a lead of a probe. Each is made once, and once more after a renewal of the
    token; a probe renews none."""

    def __init__(self, account: Account[AmoCrmCredentials], *, call: Call, lead: Lead | None) -> None:
        own = account.credentials
        self._credentials = own
        self._base_url = base_url_of_account(account)
        self._egress = call.egress
        self._is_operators = not is_vendors(self._base_url, PUBLIC_HOSTS)
        self._pace = call.pace
        self._deadline = Deadline(call.timeout_s)
        self._secrets = [
            *secrets_in(own.model_dump()),
            *(personal_data(lead, region=call.settings.phone_region) if lead else ()),
        ]
        self._may_renew = lead is not None
        secret = own.client_secret.get_secret_value()
        self._token = AccessToken(
            TokenPair(access=own.access_token, refresh=own.refresh_token),
            account=account_name("amocrm", self._base_url, own.client_id, secret),
            vault=call.tokens,
            exchange=self._exchange,
        )

    def read(self, path: str, query: Mapping[str, str | int]) -> dict[str, Any] | None:
        """The answer's JSON object; None for an empty list, which amoCRM says with 204 (vendors.md 1.1)."""
        try:
            answer = self._called("GET", f"{path}?{urlencode(query)}")
        except UnknownOutcome as error:
            raise TransientError(error.message, code=error.code) from None
        if answer.status == 204:
            return None
        self._check(answer)
        body = answer.json()
        if not isinstance(body, dict):  # not None: what cannot be read must not pass for "nothing found"
            raise TransientError(f"amoCRM's answer cannot be read ({answer.status}).", code="not_json")
        return body

    def write(self, path: str, body: Any) -> Any:
        """Posts; the answer's JSON, or None when it is no JSON.

        A number that amoCRM wants as text is sent once more, as text: what is refused is not executed.
        """
        answer = self._called("POST", path, json=body)
        mended = numbers_as_text(body, problems_in(answer.json())) if answer.status == 400 else None
        if mended is not None:
            body, answer = mended, self._called("POST", path, json=mended)
        self._check(answer, sent=body)
        return answer.json()

    def _called(self, method: str, way: str, *, json: Any = None) -> Answer:
        token = self._token.newest()
        answer = self._once(method, way, token=token, json=json)
        is_refused = json is None or _is_own_refusal(answer)
        if answer.status == 401 and is_refused and self._may_renew and self._token.can_be_renewed:
            self._pace()  # for the renewal; here and not in _exchange: nobody sleeps under the vault's lock
            answer = self._once(method, way, token=self._token.renewed(token), json=json)
        return answer

    def _once(self, method: str, way: str, *, token: str, json: Any) -> Answer:
        self._pace()
        return self._egress.send(
            method,
            self._base_url + way,
            headers={"Authorization": f"Bearer {token}"},
            json=json,
            timeout_s=self._deadline.left_s(CALL_TIMEOUT_S),
            max_answer_bytes=MAX_ANSWER_BYTES,
            public_only=self._is_operators,
            operators=self._is_operators,
        )

    def _exchange(self, refresh: str) -> TokenPair:
        """A new pair. A client error in amoCRM's own words is final here, except 429 (vendors.md 1.2)."""
        own = self._credentials
        body = {
            "client_id": own.client_id,
            "client_secret": own.client_secret.get_secret_value(),
            "grant_type": "refresh_token",
            "refresh_token": refresh,
        }
        if own.redirect_uri:
            body["redirect_uri"] = own.redirect_uri
        timeout_s = self._deadline.left_s(CALL_TIMEOUT_S)
        try:
            answer = self._egress.send(
                "POST",
                f"{self._base_url}/oauth2/access_token",
                json=body,
                timeout_s=timeout_s,
                public_only=self._is_operators,
                operators=self._is_operators,
            )
        except UnknownOutcome as error:
            raise TransientError(f"The token was not renewed: {error.message}", code=error.code) from None
        code = str(answer.status)
        given = _mapping(answer.json())
        if answer.status == 429:
            raise _rate_limited(answer)
        if answer.status >= 500:
            raise TransientError(f"amoCRM could not renew the token ({code}).", code=code)
        access, refresh_next = given.get("access_token"), given.get("refresh_token")
        if answer.status == 200 and isinstance(access, str) and isinstance(refresh_next, str):
            self._secrets += [access, refresh_next]
            return TokenPair(access=SecretStr(access), refresh=SecretStr(refresh_next))
        if answer.status == 200 or answer.broke_off:
            # as good as a lost answer: the old refresh token may still count (vendors.md 1.2)
            raise TransientError("amoCRM's answer to the renewal of the token cannot be read.", code="not_json")
        if not _is_own_refusal(answer):
            raise TransientError(
                f"Something other than amoCRM answered to the renewal of the token ({code}).", code=code
            )
        raise CredentialsError(
            f"amoCRM did not renew the access token ({code}). Connect the integration again and store its new tokens; "
            "if the account was renamed, its new address, too.",
            code=code,
            detail=self._words_of(given),
            for_all=True,
        )

    def _check(self, answer: Answer, *, sent: Any = None) -> None:
        """Raises what the answer means, if it is not a success. `sent`: what was to be written; only what amoCRM itself
        refuses in plain words has not been."""
        status, code = answer.status, str(answer.status)
        if 200 <= status < 300:
            return
        body = _mapping(answer.json())
        detail = self._words_of(body)
        if status == 429:
            raise _rate_limited(answer)
        if status >= 500:
            kind: type[DeliveryError] = TransientError if sent is None else UnknownOutcome
            raise kind(f"amoCRM failed ({code}).", code=code, detail=detail)
        if sent is not None and answer.broke_off:
            raise UnknownOutcome(f"amoCRM's answer ({code}) broke off; the lead may have been filed.", code=code)
        if sent is not None and not _is_own_refusal(answer):
            raise UnknownOutcome(
                f"Something other than amoCRM answered ({code}); the lead may have been filed.", code=code
            )
        if status in _ABOUT_US:
            raise CredentialsError(f"amoCRM {_ABOUT_US[status]} ({code}).", code=code, detail=detail, for_all=True)
        if 300 <= status < 400:
            raise RejectedError(f"amoCRM redirects ({code}): check the account's address.", code=code)
        if status == 404:
            raise RejectedError("amoCRM has nothing at this address (404): check it.", code=code, detail=detail)
        if not _is_own_refusal(answer):
            raise TransientError(f"Something other than amoCRM answered ({code}).", code=code)
        about_account = account_problem(body)
        if about_account is not None:
            number, words = about_account
            raise CredentialsError(
                f"amoCRM refuses the account: {words} ({number}).", code=number, detail=detail, for_all=True
            )
        problems = self._fit_to_show(told(problems_in(body), sent=sent))
        raise RejectedError(f"amoCRM refused the lead ({code}): {problems}.", code=code, detail=detail)

    def _words_of(self, body: Mapping[str, Any]) -> str:
        words = [str(body[name]) for name in ("title", "detail", "hint") if isinstance(body.get(name), str)]
        return self._fit_to_show(": ".join(words))

    def _fit_to_show(self, text: str) -> str:
        return fit_to_show(text, secrets=self._secrets)


_ABOUT_US = {
    401: "does not accept the access token: create a new one, and store it",
    402: "wants to be paid: the account's trial or subscription is over",
    403: "refuses the account: no rights, a closed IP address, or blocked after too many requests",
}
_REFUSES_WITH = frozenset({400, 401, 402, 403, 404, 405, 422, 429})
"""The client errors that amoCRM documents (vendors.md 1.4)."""
_OWN_WORDS = ("hint", "validation-errors")
_NO_TYPE = "about:blank"
"""RFC 9457 4.2.1: a problem that is no more than its status, as any gateway says it."""


def _rate_limited(answer: Answer) -> RateLimited:
    """The pause is in the body; a header is not documented, and the body may be no JSON (vendors.md 1.3)."""
    asked_s = pause_s(_mapping(answer.json()).get("retry_after"))
    if asked_s is None:
        asked_s = answer.retry_after_s()
    seconds = RATE_LIMIT_PAUSE_S if asked_s is None else asked_s
    return RateLimited(f"amoCRM asks to wait {seconds:g} s (429).", retry_after_s=seconds)


def _is_own_refusal(answer: Answer) -> bool:
    """Whether amoCRM itself says no: with a status that it gives, in its own form (vendors.md 1.2, 1.4). What others
    say may hide any outcome; some say it in a form that is nearly the same, but amoCRM's problems are of a named type.
    """
    body = _mapping(answer.json())
    has_type = body.get("type", _NO_TYPE) != _NO_TYPE and ("title" in body or "detail" in body)
    is_own = has_type or any(name in body for name in _OWN_WORDS) or account_problem(body) is not None
    return is_own and answer.status in _REFUSES_WITH


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
