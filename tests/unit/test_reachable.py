"""Which addresses a stranger's URL may reach."""

from __future__ import annotations

from ipaddress import ip_network

import pytest

from leadcast.integrations.http.reachable import may_reach


@pytest.mark.parametrize(
    ("text", "is_public"),
    [
        ("93.184.216.34", True),
        ("2606:2800:220:1::1", True),
        ("0.1.2.3", False),
        ("10.1.2.3", False),
        ("100.64.0.1", False),
        ("127.0.0.1", False),
        ("169.254.1.1", False),
        ("172.16.0.1", False),
        ("192.168.1.1", False),
        ("198.18.0.1", False),
        ("224.0.0.1", False),
        ("239.1.1.1", False),
        ("240.0.0.1", False),
        ("255.255.255.255", False),
        ("::", False),
        ("::1", False),
        ("::127.0.0.1", False),
        ("::ffff:93.184.216.34", False),
        ("64:ff9b::5db8:d822", True),
        ("64:ff9b::a00:1", False),
        ("64:ff9b::7f00:1", False),
        ("64:ff9b::a9fe:a9fe", False),
        ("64:ff9b::", False),
        ("64:ff9b::1:5db8:d822", False),
        ("64:ff9b:1::5db8:d822", True),
        ("64:ff9b:1:abcd::5db8:d822", True),
        ("64:ff9b:1:5db8:d8:2200::", True),
        ("64:ff9b:1:5d:b8:d822::", True),
        ("64:ff9b:1:0:5d:b8d8:2200:0", True),
        ("64:ff9b:1:a00:0:100::", False),
        ("64:ff9b:1:a00:0:100:5db8:d822", False),
        ("64:ff9b:1:7f:0:1::", False),
        ("64:ff9b:1:0:a:1:200:0", False),
        ("64:ff9b:1::a00:1", False),
        ("64:ff9b:1::1", False),
        ("64:ff9b:2::5db8:d822", False),
        ("2001::1", False),
        ("2002:7f00:1::", False),
        ("fc00::1", False),
        ("fe80::1", False),
        ("fe80::1%eth0", False),
        ("fec0::1", False),
        ("ff02::1", False),
    ],
)
def test_an_address_is_public_only_when_nothing_private_is_in_it(text: str, is_public: bool) -> None:
    assert may_reach(text, allowed_networks=()) is is_public


def test_an_opened_network_opens_nothing_else() -> None:
    opened = [ip_network("10.1.0.0/16")]
    assert may_reach("10.1.2.3", allowed_networks=opened)
    assert not may_reach("10.2.2.3", allowed_networks=opened)
    assert not may_reach("::ffff:10.1.2.3", allowed_networks=opened)
    assert may_reach("64:ff9b::10.1.2.3", allowed_networks=opened)
    assert not may_reach("64:ff9b::10.2.2.3", allowed_networks=opened)
