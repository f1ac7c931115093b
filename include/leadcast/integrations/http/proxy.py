"""The operator's way out: a proxy that calls go through, and which calls do."""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass, field
from ipaddress import ip_address
from urllib.parse import unquote

from pydantic import SecretStr

from leadcast.integrations.http.address import Target, UnfitUrlError

FROM_ENVIRONMENT = "env"
"""Setting: HTTPS_PROXY, HTTP_PROXY, ALL_PROXY and NO_PROXY decide."""
_DEFAULT_PORTS = {"http": 80, "https": 443, "socks5h": 1080}
_ALSO_CALLED = {"socks5": "socks5h", "socks": "socks5h"}
"""The usual names of the same. What else they say, that we look names up, does not hold here: the proxy does."""
_PORT = re.compile(r":[0-9]+/?\Z")
_LONGEST_LOGIN_BYTES = 255
"""Of name and password each, as SOCKS has it (RFC 1929)."""


@dataclass(frozen=True)
class Proxy:
    """A proxy that opens tunnels: by CONNECT (http, https: TLS to the proxy itself), or SOCKS 5 (socks5h)."""

    scheme: str
    host: str
    port: int
    user: str = ""
    password: SecretStr = field(default=SecretStr(""))

    @property
    def origin(self) -> str:
        """What of it may be shown."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}"

    @property
    def authorization(self) -> str:
        """What the header `Proxy-Authorization` says; empty: there is no login."""
        login = f"{self.user}:{self.password.get_secret_value()}"
        return f"Basic {base64.b64encode(login.encode()).decode()}" if self.user else ""

    @classmethod
    def of(cls, url: str) -> Proxy:
        """The proxy of a URL, with or without a login in it.

        Raises:
            ValueError: it is none; says why, and repeats nothing of it.
        """
        scheme, mark, rest = url.strip().partition("://")
        scheme = _ALSO_CALLED.get(scheme.lower(), scheme.lower())
        if not mark or scheme not in _DEFAULT_PORTS:
            raise ValueError("must begin with http://, https:// or socks5h://")
        login, at, place = rest.rpartition("@")
        user, _, password = login.partition(":")
        try:
            target = Target.parsed(f"http://{place}")
        except UnfitUrlError as unfit:
            raise ValueError(f"must be like http://user:password@proxy.example.com:3128; this one {unfit}") from None
        if target.path != "/" or "#" in place:
            raise ValueError("must end with its port: a proxy has no path (write / in a password as %2F)")
        user, password = unquote(user), unquote(password)
        if at and not user:
            raise ValueError("must name a user before its password")
        if max(len(user.encode()), len(password.encode())) > _LONGEST_LOGIN_BYTES:
            raise ValueError(f"must have a user name and a password of at most {_LONGEST_LOGIN_BYTES} bytes")
        port = target.port if _PORT.search(place) else _DEFAULT_PORTS[scheme]
        return cls(scheme=scheme, host=target.host, port=port, user=user, password=SecretStr(password))


def check_setting(setting: str) -> None:
    """Sees that this can stand in `proxy_url`.

    Raises:
        ValueError: it cannot; says why, and repeats nothing of it.
    """
    if setting not in ("", FROM_ENVIRONMENT):
        Proxy.of(setting)


def proxy_for(target: Target, setting: str) -> Proxy | None:
    """The proxy of the setting for calls to this target; None: it is called directly.

    This machine, and what is named by a private address, is not outside: it is called directly.

    Args:
        setting: a proxy's URL, `env`, or empty for none.

    Raises:
        ValueError: it is no proxy's URL.
    """
    if not setting or is_near(target.host):
        return None
    if setting != FROM_ENVIRONMENT:
        return Proxy.of(setting)
    url = _of_environment(target.origin)
    return Proxy.of(url if "://" in url else f"http://{url}") if url else None


def _of_environment(url: str) -> str:
    from requests.utils import get_environ_proxies, select_proxy  # heavy, and seldom wanted

    return select_proxy(url, get_environ_proxies(url)) or ""


def is_near(host: str) -> bool:
    """Whether this is a machine's name for itself, or an address that is not public."""
    try:
        return not ip_address(host).is_global
    except ValueError:
        name = host.removesuffix(".")
        return name == "localhost" or name.endswith(".localhost")
