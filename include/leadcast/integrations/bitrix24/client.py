"""One Bitrix24 portal over REST: its calls, its token, and what its answers hold (vendors.md 2.1 to 2.4, 2.9)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from json import dumps
from typing import TYPE_CHECKING, Any, NoReturn
from urllib.parse import urlencode, urlsplit

from pydantic import SecretStr

from leadcast.core.errors import LEASE_OVER, CredentialsError, RejectedError, TransientError, UnknownOutcome
from leadcast.core.model import Lead
from leadcast.core.redact import one_line, scrub, secrets_in
from leadcast.core.tokens import TokenPair
from leadcast.integrations.base import Account, Call
from leadcast.integrations.bitrix24.codes import NOBODY_OF_OURS, code_of, error_of, has_error, says
from leadcast.integrations.bitrix24.operating import Operating
from leadcast.integrations.bitrix24.portal import ZONES, Portal
from leadcast.integrations.http.address import is_vendors
from leadcast.integrations.http.answer import Answer
from leadcast.integrations.http.deadline import Deadline
from leadcast.integrations.http.oauth import AccessToken, account_name
from leadcast.integrations.text.personal_data import personal_data, telling

if TYPE_CHECKING:
    from leadcast.integrations.bitrix24.settings import Bitrix24Credentials

CALL_TIMEOUT_S = 65.0
"""The portal itself cuts a request after 60 s (vendors.md 2.4)."""
MOVED = frozenset({301, 302, 307, 308})
"""A renamed portal says 302. One's own may have a server in front of it that leads from http to https with another."""
OAUTH_SERVER = "https://oauth.bitrix24.tech"


class Bitrix24Client:
    """Calls of one delivery, or without a lead of a probe. Each is made once, and once more where the first was not
    executed: after a renewal of the token, or after a move of the portal. A probe renews no token."""

    def __init__(self, account: Account[Bitrix24Credentials], *, call: Call, lead: Lead | None) -> None:
        own = account.credentials
        self._credentials = own
        self._portal = Portal(account, memory=call.memory)
        self._egress = call.egress
        self._pace = call.pace
        self._deadline = Deadline(call.timeout_s)
        self.operating = Operating(call.memory, clock=call.clock)
        webhook_code = self._portal.path.split("/")[3:]
        self._secrets = [
            *secrets_in(own.model_dump()),
            *webhook_code,
            *(personal_data(lead, region=call.settings.phone_region) if lead else ()),
        ]
        self._may_renew = lead is not None
        secret = own.client_secret.get_secret_value()
        self._token = AccessToken(
            TokenPair(access=own.access_token, refresh=own.refresh_token),
            account=account_name("bitrix24", self._portal.configured, own.domain, own.client_id, secret),
            vault=call.tokens,
            exchange=self._exchange,
        )

    def hide(self, texts: Iterable[str]) -> None:
        """No error repeats these, either, as far as they tell of somebody."""
        self._secrets += telling(texts)

    def read(self, method: str, params: Mapping[str, Any]) -> Mapping[str, Any]:
        """The `result` of a method that changes nothing."""
        try:
            answer = self._called(method, params)
            result = self.result_of(answer, method=method, changes=False)
        except UnknownOutcome as error:
            raise TransientError(error.message, code=error.code, detail=error.detail) from None
        if result is None:
            raise TransientError(f"Bitrix24's answer cannot be read ({answer.status}).", code="not_json")
        return result

    def read_all(self, method: str, many: Mapping[str, Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
        """The `result` of one method that changes nothing, for each of several parameters, by name.

        In one request: the portal counts it once, and its limit is what leads wait for most (vendors.md 2.4, 2.8).
        """
        if len(many) == 1:
            return {name: self.read(method, params) for name, params in many.items()}
        commands = {name: f"{method}?{_query(params)}" for name, params in many.items()}
        whole = self.read("batch", {"halt": 0, "cmd": commands})
        return {name: self._part(whole, name, method=method) for name in many}

    def _part(self, whole: Mapping[str, Any], name: str, *, method: str) -> Mapping[str, Any]:
        """One command's result, read as if it had come alone. Maps without entries come as lists."""
        results, errors, times = (
            part if isinstance(part := whole.get(kind), dict) else {}
            for kind in ("result", "result_error", "result_time")
        )
        wrong = errors.get(name)
        body = wrong or {"result": results.get(name), "time": times.get(name)}
        answer = Answer(status=400 if wrong else 200, headers={}, body=dumps(body).encode())
        result = self.result_of(answer, method=method, changes=False)
        if result is None:
            raise TransientError(f"Bitrix24's batch holds no answer to {name}.", code="not_json")
        return result

    def write(self, method: str, params: Mapping[str, Any]) -> Mapping[str, Any]:
        """The `result` of a method that creates something."""
        try:
            answer = self._called(method, params)
        except RejectedError as error:
            if type(error) is not RejectedError:
                raise
            raise UnknownOutcome(error.message, code=error.code) from None  # a redirect that leads elsewhere
        result = self.result_of(answer, method=method, changes=True)
        if result is None:
            raise UnknownOutcome(f"Bitrix24's answer cannot be read ({answer.status}).", code="not_json")
        return result

    def result_of(self, answer: Answer, *, method: str, changes: bool) -> Mapping[str, Any] | None:
        """The `result`, or None when there is none to be read. Errors come with HTTP 200, too (vendors.md 2.1)."""
        body = answer.json()
        is_error = isinstance(body, dict) and has_error(body)
        if is_error or not 200 <= answer.status < 300:
            self._raise(answer, body if isinstance(body, dict) else {}, method=method, changes=changes)
        if not isinstance(body, dict) or "result" not in body:
            return None
        if self._portal.has_moved:
            self._portal.remember()
        self.operating.note(method, body.get("time"))
        result = body["result"]
        if result == []:  # how PHP writes an empty object (vendors.md 2.7, 2.8)
            return {}
        return result if isinstance(result, dict) else None

    def _raise(self, answer: Answer, body: Mapping[str, Any], *, method: str, changes: bool) -> NoReturn:
        if code_of(answer) == "OPERATION_TIME_LIMIT":
            # not RateLimited: that would hold up all calls to the portal, and only this method is blocked
            wait_s = self.operating.blocked(method, body.get("time"))
            text = f"Bitrix24 blocks {method} for {wait_s:.0f} s: it has taken too much of its time."
            raise TransientError(text, retry_after_s=wait_s, counts=False, code="OPERATION_TIME_LIMIT")
        words = one_line(scrub(says(body), secrets=self._secrets), limit=300).rstrip(".")
        raise error_of(answer, words=words, changes=changes)

    def _called(self, method: str, params: Mapping[str, Any]) -> Answer:
        if not self._credentials.access_token.get_secret_value():
            return self._followed(method, params)
        token = self._token.newest()
        answer = self._followed(method, {**params, "auth": token})
        if code_of(answer) == "EXPIRED_TOKEN" and self._may_renew and self._token.can_be_renewed:
            if self._portal.chosen:  # else another server renews it, whose calls the portal does not count
                self._pace()  # here and not in _exchange: nobody sleeps under the vault's lock
            answer = self._followed(method, {**params, "auth": self._token.renewed(token)})
        return answer

    def _followed(self, method: str, params: Mapping[str, Any]) -> Answer:
        answer = self._where_it_was(method, params)
        if answer.status in MOVED:  # not executed (vendors.md 2.1)
            self._portal.follow(answer.headers.get("Location", ""))
            answer = self._sent(method, params)
        return answer

    def _where_it_was(self, method: str, params: Mapping[str, Any]) -> Answer:
        """Sent to where the portal was last. If it is not there any more, the call was not executed, and the
        configured address knows better."""
        if not self._portal.has_moved:
            return self._sent(method, params)
        try:
            answer = self._sent(method, params)
        except TransientError as error:  # nobody there; nothing was sent
            if error.code == LEASE_OVER:
                raise
        else:
            if code_of(answer) not in NOBODY_OF_OURS and answer.status != 404:
                return answer
        self._portal.come_back()
        return self._sent(method, params)

    def _sent(self, method: str, params: Mapping[str, Any]) -> Answer:
        self._pace()
        is_operators = _is_operators(self._portal.origin)
        return self._egress.send(
            "POST",
            f"{self._portal.origin}{self._portal.path}/{method}.json",
            json=params,
            timeout_s=self._deadline.left_s(CALL_TIMEOUT_S),
            max_answer_bytes=1024 * 1024,
            public_only=is_operators,
            operators=is_operators,
        )

    def _exchange(self, refresh: str) -> TokenPair:
        own = self._credentials
        query = {
            "grant_type": "refresh_token",
            "client_id": own.client_id,
            "client_secret": own.client_secret.get_secret_value(),
            "refresh_token": refresh,
        }
        server = self._portal.chosen or OAUTH_SERVER
        is_operators = _is_operators(server)
        timeout_s = self._deadline.left_s(CALL_TIMEOUT_S)
        try:
            url = f"{server}/oauth/token/?{urlencode(query)}"
            answer = self._egress.send(
                "GET", url, timeout_s=timeout_s, public_only=is_operators, operators=is_operators
            )
        except UnknownOutcome as error:
            raise TransientError(f"The token was not renewed: {error.message}", code=error.code) from None
        given = answer.json()
        if isinstance(given, dict):
            access, refresh_next = given.get("access_token"), given.get("refresh_token")
            if isinstance(access, str) and isinstance(refresh_next, str):
                self._secrets += [access, refresh_next]
                return TokenPair(access=SecretStr(access), refresh=SecretStr(refresh_next))
        code = code_of(answer) or str(answer.status)
        if answer.status == 429 or answer.status >= 500:
            raise TransientError(f"Bitrix24 could not renew the token ({answer.status}).", code=code)
        if (answer.status == 200 and not code_of(answer)) or answer.broke_off:
            # as good as a lost answer: whether the old refresh token still counts is not said (vendors.md 2.1)
            raise TransientError("Bitrix24's answer to the renewal of the token cannot be read.", code="not_json")
        if not isinstance(given, dict) or "error" not in given:
            text = f"Something other than Bitrix24 answered to the renewal of the token ({answer.status})."
            raise TransientError(text, code=code)
        raise CredentialsError(
            f"Bitrix24 did not renew the token ({code}). Install the application again and store its new tokens.",
            code=code,
        )


def _is_operators(origin: str) -> bool:
    """Whether this address is the operator's choice, and not the cloud's own."""
    return not is_vendors(origin, (*ZONES, urlsplit(OAUTH_SERVER).netloc))


def _query(params: Mapping[str, Any]) -> str:
    """Parameters as PHP reads them: `values[0]=…&values[1]=…`."""
    pairs: list[tuple[str, Any]] = []
    for name, value in params.items():
        several = isinstance(value, list)
        pairs += [(f"{name}[{at}]", one) for at, one in enumerate(value)] if several else [(name, value)]
    return urlencode(pairs)
