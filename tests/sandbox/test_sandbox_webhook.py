"""The sandbox's webhook receiver: what it keeps, and the signatures it checks."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
import requests
from standardwebhooks.webhooks import Webhook

from leadcast.sandbox import Sandbox

SECRET = "whsec_AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcY"
OTHER_SECRET = "whsec_GBcWFRQTEhEQDw4NDAsKCQgHBgUEAwIB"
BODY = '{"type":"lead.created","data":{"name":"Анна"}}'


def signed(secret: str, body: str = BODY, webhook_id: str = "msg_1") -> dict[str, str]:
    now = datetime.now(UTC)
    signature = Webhook(secret).sign(webhook_id, now, body)
    return {"webhook-id": webhook_id, "webhook-timestamp": str(int(now.timestamp())), "webhook-signature": signature}


def post(sandbox: Sandbox, headers: dict[str, str], body: str = BODY) -> requests.Response:
    url = f"{sandbox.webhook_url}/some/path?token=in-the-query"
    return requests.post(url, data=body.encode(), headers=headers, timeout=5, allow_redirects=False)


def test_path_headers_and_raw_body_are_kept(sandbox: Sandbox) -> None:
    assert post(sandbox, {"X-Source": "leadcast"}).status_code == 200

    (entry,) = sandbox.received("webhook")
    assert (entry["path"], entry["body"], entry["headers"]["x-source"]) == ("/some/path", BODY, "leadcast")
    assert entry["verified"] is None


def test_a_body_that_is_not_text_is_kept_too(sandbox: Sandbox) -> None:
    requests.post(f"{sandbox.webhook_url}/x", data=b"\xff\x00", timeout=5)
    (entry,) = sandbox.received("webhook")
    assert (entry["body"], entry["body_base64"]) == (None, "/wA=")


@pytest.mark.parametrize(
    ("secret", "other", "body", "verified"),
    [
        (SECRET, {}, BODY, True),
        (OTHER_SECRET, {}, BODY, False),
        (SECRET, {}, BODY + " ", False),
        (None, {}, BODY, False),
        (SECRET, {"webhook-signature": "malformed"}, BODY, False),
        (SECRET, {"webhook-timestamp": "1767225600"}, BODY, False),
    ],
)
def test_signatures_are_checked_once_a_secret_is_set(
    sandbox: Sandbox, secret: str | None, other: dict[str, str], body: str, verified: bool
) -> None:
    # signed now: a signature is good for five minutes only
    headers = signed(secret) | other if secret else {}
    sandbox.configure("webhook", secrets=[SECRET])
    assert post(sandbox, headers, body).status_code == 200
    assert sandbox.received("webhook")[-1]["verified"] is verified


def test_while_a_secret_is_being_replaced_either_signature_is_good(sandbox: Sandbox) -> None:
    sandbox.configure("webhook", secrets=[OTHER_SECRET])
    old, new = signed(SECRET), signed(OTHER_SECRET)
    both = {**old, "webhook-signature": f"{old['webhook-signature']} {new['webhook-signature']}"}
    post(sandbox, both)
    assert sandbox.received("webhook")[-1]["verified"] is True


def test_an_id_seen_before_is_marked_as_a_repeat(sandbox: Sandbox) -> None:
    for _ in range(2):
        post(sandbox, signed(SECRET))
    assert [entry["repeat"] for entry in sandbox.received("webhook")] == [False, True]
    assert sandbox.stored("webhook")["events"] == [{"webhook_id": "msg_1", "times": 2}]


def test_gone_redirect_and_rate_limit_have_their_own_answers(sandbox: Sandbox) -> None:
    sandbox.fault(service="webhook", kind="gone", times=1)
    sandbox.fault(service="webhook", kind="redirect", location="https://elsewhere.example/x")
    sandbox.fault(service="webhook", kind="rate_limit", retry_after=7)
    gone, redirect, limited = (post(sandbox, {}) for _ in range(3))

    assert gone.status_code == 410
    assert (redirect.status_code, redirect.headers["Location"]) == (302, "https://elsewhere.example/x")
    assert (limited.status_code, limited.headers["Retry-After"]) == (429, "7")
    assert [entry["executed"] for entry in sandbox.received("webhook")] == [False, False, False]


def test_other_methods_are_not_taken(sandbox: Sandbox) -> None:
    assert requests.get(f"{sandbox.webhook_url}/x", timeout=5).status_code == 405


def test_secrets_of_headers_and_query_are_not_readable_afterwards(sandbox: Sandbox) -> None:
    sandbox.configure("webhook", secrets=[SECRET])
    post(sandbox, {"Authorization": "Bearer topsecret1", "X-Api-Key": "topsecret2", "Cookie": "s=topsecret3"})

    kept = str(sandbox.received("webhook"))
    for path in ("/page", "/settings"):
        kept += requests.get(f"{sandbox.control_url}{path}", headers=sandbox.authorization, timeout=5).text
    for secret in ("topsecret", "in-the-query", SECRET.removeprefix("whsec_")):
        assert secret not in kept
