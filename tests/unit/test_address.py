"""What a URL is taken for, by the door and by the call alike, and which URLs nothing can be sent to."""

from __future__ import annotations

import pytest
from pydantic import SecretStr, ValidationError

from leadcast.core.errors import Blocked
from leadcast.core.field_words import words_of
from leadcast.core.refusals import check
from leadcast.core.request_errors import InvalidRequest
from leadcast.flow.request import SendBatch
from leadcast.integrations.base import Account
from leadcast.integrations.http.address import Target, callable_url
from leadcast.integrations.webhook.integration import Webhook
from leadcast.integrations.webhook.settings import WebhookCredentials

BODY = {"lead_id": "1", "integrations": [{"type": "telegram"}]}
UNFIT = {
    "https://user:pa55word@example.com/": "user name or password",
    "https://user@example.com/": "user name or password",
    "https://example.com:99999/": "possible host and port",
    "https://example.com:0/": "impossible port",
    "https://example.com:٣/": "possible host and port",
    "http://?x": "names no host",
    "http:///path": "names no host",
    "http://#top": "names no host",
    "http://": "names no host",
    "https://[zz]/": "possible host and port",
    "https://[::1/": "possible host and port",
    "http://a..b/": "impossible host name",
    "https://256.1.1.1/": "impossible host name",
    "https://1.2.3.4.5/": "impossible host name",
    "https://1.2.3.4./": "impossible host name",
    "https://example.123/": "impossible host name",
    "https://example.0x7f/": "impossible host name",
    "https://0x1ffffffff/": "impossible host name",
    "https://09.1.1.1/": "impossible host name",
    "https://[fe80::1%25eth0]/": "impossible host name",
    "https://[fe80::1%eth0]/": "impossible host name",
    "https://[2606:2800:220:1::1%251]/": "impossible host name",
    "https://заявки。。рф/": "impossible host name",
    "https://заявки。.рф/": "impossible host name",
    "http://.example.com/": "impossible host name",
    "https://.": "impossible host name",
    "https://exa!mple.com/": "impossible host name",
    "https://ex%00ample.com/": "possible host and port",
    f"https://{'a' * 64}.com/": "impossible host name",
    f"https://{'a.' * 127}com/": "impossible host name",
    f"https://{'я' * 64}.рф/": "possible host and port",
    "http://\\evil.com/": "backslash",
    "http://example.com\\@evil.com/": "backslash",
    "https://exa\u200bmple.com/": "cannot be seen",
    "https://exa\u00admple.com/": "cannot be seen",
    "https://exa\u202emple.com/": "cannot be seen",
    "https://exa\u200dmple.com/": "possible host and port",
    "https://exa mple.com/": "blank",
    "https://exa\u00a0mple.com/": "blank",
    "https://example.com/a b": "blank",
    "https://example.com/a\r\nX-Evil: 1": "cannot be seen",
    "https://example.com/\x00a": "cannot be seen",
    "https://ｅxample.com/": "possible host and port",
    "ftp://example.com/": "http:// or https://",
    "javascript:alert(1)": "http:// or https://",
    "example.com/path": "http:// or https://",
    f"https://example.com/{'a' * 2048}": "at most 2048 characters",
}
FIT = {
    "https://заявки.рф/": ("https", "xn--80aengj8j.xn--p1ai", 443, "/"),
    "https://ЗАЯВКИ.рф:8443/путь?x=ы": (
        "https", "xn--80aengj8j.xn--p1ai", 8443, "/%D0%BF%D1%83%D1%82%D1%8C?x=%D1%8B"
    ),
    "https://мои\u0306.рф": ("https", "xn--i1afg.xn--p1ai", 443, "/"),
    "https://заявки。рф/": ("https", "xn--80aengj8j.xn--p1ai", 443, "/"),
    "https://заявки．рф｡:8443/a。b": ("https", "xn--80aengj8j.xn--p1ai.", 8443, "/a%E3%80%82b"),
    "https://example。com/": ("https", "example.com", 443, "/"),
    "https://straße.de/": ("https", "xn--strae-oqa.de", 443, "/"),
    "https://xn--80aengj8j.xn--p1ai/": ("https", "xn--80aengj8j.xn--p1ai", 443, "/"),
    "https://نامه\u200cای.com/": ("https", "xn--mgba3gch31f060k.com", 443, "/"),
    "HTTPS://E.com/A": ("https", "e.com", 443, "/A"),
    "http://e.com:80?x=1#top": ("http", "e.com", 80, "/?x=1"),
    "http://e.com./": ("http", "e.com.", 80, "/"),
    "http://my_service:8000/%D0%BF": ("http", "my_service", 8000, "/%D0%BF"),
    "http://[2606:2800:220:1::1]:8080/": ("http", "2606:2800:220:1::1", 8080, "/"),
    "http://93.184.216.34/": ("http", "93.184.216.34", 80, "/"),
    "http://0x5d.184.55330/": ("http", "0x5d.184.55330", 80, "/"),
    "http://1572395042/": ("http", "1572395042", 80, "/"),
    "http://123.example/": ("http", "123.example", 80, "/"),
}  # fmt: skip


def refusals(url: str) -> list[str]:
    """What each door that takes a URL says of it."""
    with pytest.raises(InvalidRequest) as callback:
        check(SendBatch, BODY | {"callback_url": url})
    with pytest.raises(ValidationError) as webhook:
        WebhookCredentials.model_validate({"url": url})
    assert [error.loc for error in callback.value.errors] == [("callback_url",)]
    return [callback.value.errors[0].msg, words_of(webhook.value.errors()[0])]


@pytest.mark.parametrize(("url", "why"), UNFIT.items(), ids=ascii)
def test_what_can_never_be_called_is_refused_by_every_door_and_by_the_call(url: str, why: str) -> None:
    first, second = refusals(url)
    assert first == second
    assert why in first
    assert "pa55word" not in first
    if len(url) < 2048:
        with pytest.raises(Blocked, match="nothing was sent"):
            Target.of(url)


def test_no_url_is_none_that_can_be_called() -> None:
    with pytest.raises(ValueError, match="http:// or https://"):
        callable_url("")


@pytest.mark.parametrize(("url", "parts"), FIT.items(), ids=ascii)
def test_what_can_be_called_is_taken_by_every_door_as_it_will_be_read(
    url: str, parts: tuple[str, str, int, str]
) -> None:
    target = Target.of(url)
    assert (target.scheme, target.host, target.port, target.path) == parts
    assert check(SendBatch, BODY | {"callback_url": url}).callback_url == url
    account = Account(credentials=WebhookCredentials(url=SecretStr(url)))
    assert account.credentials.url.get_secret_value() == url
    assert Webhook().label(account) == target.netloc


@pytest.mark.parametrize("around", ["  ", "\t\r\n", "\u200b", "\ufeff", "\u00a0 ", "\u200d"], ids=ascii)
def test_what_is_pasted_with_blanks_around_it_is_taken_without_them(around: str) -> None:
    url = around + "https://example.com/leads" + around
    assert callable_url(url) == "https://example.com/leads"
    assert check(SendBatch, BODY | {"callback_url": url}).callback_url == "https://example.com/leads"


def test_only_the_origin_is_shown_of_a_target() -> None:
    target = Target.of("https://example.com:8443/s3cret?s3cret")
    assert target.origin == "https://example.com:8443"
    assert "s3cret" not in repr(target)
