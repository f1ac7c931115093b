"""One Bitrix24 portal over REST: its address, its token, and what its answers mean (vendors.md 2.1 to 2.4, 2.9)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NoReturn
from urllib.parse import urlencode, urlsplit

from pydantic import SecretStr

from leadcast.core.errors import (
    Blocked,
    CredentialsError,
    DeliveryError,
    RateLimited,
    RejectedError,
    TransientError,
    UnknownOutcome,
)
from leadcast.core.model import Lead
from leadcast.core.redact import one_line, scrub, secrets_in
from leadcast.integrations.answer import Answer, pause_s
from leadcast.integrations.base import Account, Call, TokenPair
from leadcast.integrations.bitrix24_codes import ABOUT_US, NOT_KNOWN_AFTER
from leadcast.integrations.deadline import Deadline
from leadcast.integrations.oauth import AccessToken, account_name
from leadcast.integrations.remarks import personal_data

if TYPE_CHECKING:
    from leadcast.integrations.bitrix24 import Bitrix24Credentials

CALL_TIMEOUT_S = 65.0
"""The portal itself cuts a request after 60 s (vendors.md 2.4)."""
OAUTH_SERVER = "https://oauth.bitrix24.tech"
QUERY_LIMIT_PAUSE_S = 2.0
"""The bucket drains two requests a second (vendors.md 2.4)."""
OPERATION_LIMIT_PAUSE_S = 600.0
# The zones of Bitrix24's cloud portals: each portal is a name under one of them.
_ZONES = (
    *(".bitrix24.ru", ".bitrix24.com", ".bitrix24.by", ".bitrix24.kz", ".bitrix24.ua", ".bitrix24.eu", ".bitrix24.de"),
    *(".bitrix24.fr", ".bitrix24.it", ".bitrix24.es", ".bitrix24.pl", ".bitrix24.in", ".bitrix24.cn", ".bitrix24.jp"),
    *(".bitrix24.vn", ".bitrix24.id", ".bitrix24.com.br", ".bitrix24.com.tr"),
)


def is_vendors_host(host: str) -> bool:
    """Whether this is a portal in Bitrix24's cloud."""
    return host.lower().endswith(_ZONES)


class Bitrix24Client:
    """Calls of one delivery, or without a lead of a probe. Each is made once, and once more after a renewal of the
    token or a move of the portal; a probe renews no token."""

    def __init__(self, account: Account[Bitrix24Credentials], *, call: Call, lead: Lead | None) -> None:
        own = account.credentials
        self._credentials = own
        self._chosen = account.base_url.rstrip("/")
        self._origin, self._path = self._address()
        self._egress = call.egress
        self._clock = call.clock
        self._deadline = Deadline(call.timeout_s)
        webhook_code = self._path.split("/")[3:]
        self._secrets = [*secrets_in(own.model_dump()), *webhook_code, *(personal_data(lead) if lead else ())]
        self._may_renew = lead is not None
        secret = own.client_secret.get_secret_value()
        self._token = AccessToken(
            TokenPair(access=own.access_token, refresh=own.refresh_token),
            account=account_name("bitrix24", self._origin, own.domain, own.client_id, secret),
            vault=call.tokens,
            exchange=self._exchange,
        )

    def read(self, method: str, params: Mapping[str, Any]) -> Mapping[str, Any]:
        """The `result` of a method that changes nothing."""
        try:
            answer = self._called(method, params)
            result = self.result_of(answer, changes=False)
        except UnknownOutcome as error:
            raise TransientError(error.message, code=error.code, detail=error.detail) from None
        if result is None:
            raise TransientError(f"Bitrix24's answer cannot be read ({answer.status}).", code="not_json")
        return result

    def write(self, method: str, params: Mapping[str, Any]) -> Mapping[str, Any]:
        """The `result` of a method that creates something."""
        answer = self._called(method, params)
        result = self.result_of(answer, changes=True)
        if result is None:
            raise UnknownOutcome(f"Bitrix24's answer cannot be read ({answer.status}).", code="not_json")
        return result

    def _called(self, method: str, params: Mapping[str, Any]) -> Answer:
        if not self._credentials.access_token.get_secret_value():
            return self._sent(method, params)
        token = self._token.newest()
        answer = self._sent(method, {**params, "auth": token})
        if _code_of(answer) == "EXPIRED_TOKEN" and self._may_renew and self._token.can_be_renewed:
            answer = self._sent(method, {**params, "auth": self._token.renewed(token)})
        return answer

    def _sent(self, method: str, params: Mapping[str, Any]) -> Answer:
        answer = self._once(method, params)
        if answer.status == 302:  # the portal moved; not executed (vendors.md 2.1)
            self._origin = self._moved_to(answer.headers.get("Location", ""))
            answer = self._once(method, params)
        return answer

    def _once(self, method: str, params: Mapping[str, Any]) -> Answer:
        return self._egress.send(
            "POST",
            f"{self._origin}{self._path}/{method}.json",
            json=params,
            timeout_s=self._deadline.left_s(CALL_TIMEOUT_S),
            max_answer_bytes=1024 * 1024,
        )

    def _address(self) -> tuple[str, str]:
        """Origin and path. A secret goes to the operator's address, or else only to the vendor's own hosts."""
        own = self._credentials
        url = urlsplit(own.webhook_url.get_secret_value().rstrip("/") or f"https://{own.domain}/rest")
        if self._chosen:
            return _origin(self._chosen), url.path
        if url.scheme != "https" or not is_vendors_host(url.hostname or ""):
            raise Blocked(
                "The portal is not one of Bitrix24's cloud (https://….bitrix24.ru and the like); nothing was sent. "
                "For a portal of your own use a connection, or set [leadcast] bitrix24_base_url.",
                code="host",
            )
        return _origin(url.geturl()), url.path

    def _moved_to(self, location: str) -> str:
        try:
            new = urlsplit(location)
            host, chosen = new.hostname or "", urlsplit(self._chosen)
            is_chosen = bool(host) and host == chosen.hostname and new.scheme in ("https", chosen.scheme)
            if is_chosen or (new.scheme == "https" and is_vendors_host(host)):
                return _origin(location)
        except ValueError:
            pass
        raise RejectedError(
            "Bitrix24 redirects to a host that is not its own (302); nothing was sent there. Check the address.",
            code="302",
        )

    def _exchange(self, refresh: str) -> TokenPair:
        own = self._credentials
        query = {
            "grant_type": "refresh_token",
            "client_id": own.client_id,
            "client_secret": own.client_secret.get_secret_value(),
            "refresh_token": refresh,
        }
        server = _origin(self._chosen) if self._chosen else OAUTH_SERVER
        timeout_s = self._deadline.left_s(CALL_TIMEOUT_S)
        try:
            answer = self._egress.send("GET", f"{server}/oauth/token/?{urlencode(query)}", timeout_s=timeout_s)
        except UnknownOutcome as error:
            raise TransientError(f"The token was not renewed: {error.message}", code=error.code) from None
        given = answer.json()
        if isinstance(given, dict):
            access, refresh_next = given.get("access_token"), given.get("refresh_token")
            if isinstance(access, str) and isinstance(refresh_next, str):
                self._secrets += [access, refresh_next]
                return TokenPair(access=SecretStr(access), refresh=SecretStr(refresh_next))
        code = _code_of(answer) or str(answer.status)
        if answer.status == 429 or answer.status >= 500:
            raise TransientError(f"Bitrix24 could not renew the token ({answer.status}).", code=code)
        raise CredentialsError(
            f"Bitrix24 did not renew the token ({code}). Install the application again and store its new tokens.",
            code=code,
        )

    def result_of(self, answer: Answer, *, changes: bool) -> Mapping[str, Any] | None:
        """The `result`, or None when there is none to be read. Errors come with HTTP 200, too (vendors.md 2.1)."""
        body = answer.json()
        has_error = isinstance(body, dict) and "error" in body
        if has_error or not 200 <= answer.status < 300:
            self._raise(answer, body if isinstance(body, dict) else {}, changes=changes)
        result = body.get("result") if isinstance(body, dict) else None
        return result if isinstance(result, dict) else None

    def _raise(self, answer: Answer, body: Mapping[str, Any], *, changes: bool) -> NoReturn:
        """The code decides, since the statuses conflict; without a code that is known, the status (vendors.md 2.3)."""
        status, known = answer.status, _code_of(answer)
        code = known or str(status)
        words = self._fit_to_show(str(body.get("error_description") or body.get("error") or ""))
        if known == "QUERY_LIMIT_EXCEEDED":
            raise RateLimited("Bitrix24 has had too many requests.", retry_after_s=QUERY_LIMIT_PAUSE_S, code=code)
        if known == "OPERATION_TIME_LIMIT" or status == 429:
            seconds = self._until_reset_s(body)
            raise RateLimited(f"Bitrix24 blocks this method for {seconds:g} s.", retry_after_s=seconds, code=code)
        if known == "EXPIRED_TOKEN":
            text = "Bitrix24's access token has expired, and nothing was given to renew it: bring a new one."
            raise CredentialsError(text, code=code)
        if known in ABOUT_US or (status in (401, 402, 403) and known not in NOT_KNOWN_AFTER):
            raise CredentialsError(f"Bitrix24 refuses us ({code}): {words or 'no reason given'}.", code=code)
        if known in NOT_KNOWN_AFTER or status >= 500:
            kind: type[DeliveryError] = UnknownOutcome if changes else TransientError
            raise kind(f"Bitrix24 failed ({code}).", code=code, detail=words)
        if 300 <= status < 400:
            raise RejectedError(f"Bitrix24 redirects ({status}): check the portal's address.", code=str(status))
        raise RejectedError(f"Bitrix24 refused the lead ({code}): {words or 'no reason given'}.", code=code)

    def _until_reset_s(self, body: Mapping[str, Any]) -> float:
        times = body.get("time")
        reset_at = times.get("operating_reset_at") if isinstance(times, dict) else None
        if isinstance(reset_at, (int, float)):
            return max(pause_s(reset_at - self._clock().timestamp()) or 0.0, 1.0)
        return OPERATION_LIMIT_PAUSE_S

    def _fit_to_show(self, text: str) -> str:
        return one_line(scrub(text, secrets=self._secrets), limit=300).rstrip(".")


def _code_of(answer: Answer) -> str:
    """The error's code, upper-cased since both cases occur; empty where it is none (vendors.md 2.2, 2.7)."""
    body = answer.json()
    code = str(body.get("error")) if isinstance(body, dict) else ""
    return code.upper() if re.fullmatch(r"\w{1,64}", code, re.ASCII) else ""


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"
