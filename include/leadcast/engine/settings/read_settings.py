"""Section `[leadcast]` as Airflow's configuration holds it: variables, airflow.cfg, commands, the secrets backend."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from configparser import ConfigParser
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from leadcast.core.errors import SettingsError
from leadcast.core.redact import one_line
from leadcast.core.setting_fields import is_secret, no_such_setting, what_is_wrong
from leadcast.core.settings import RETIRED, Settings

SECTION = "leadcast"
_PREFIX = f"AIRFLOW__{SECTION.upper()}__"
_NO_KEY_YET = "{FERNET_KEY}"
_ELSEWHERE = ("_cmd", "_secret")
_BASE_URLS = ("amocrm_base_url", "bitrix24_base_url", "telegram_base_url")
_BESIDE_DAGS = {"templates_folder": "include/templates", "hooks_file": "include/hooks.py"}


def read(conf: ConfigParser) -> Settings:
    """The settings in Airflow's configuration.

    Empty paths are looked for beside the DAG folder, and an empty key is Airflow's own.

    Raises:
        SettingsError: a value is wrong, a key unknown, or a secret cannot be had from where it is said to be.
    """
    in_file = set(conf.options(SECTION)) - conf.defaults().keys() if conf.has_section(SECTION) else set()
    _refuse_unknown(dict.fromkeys(in_file, "airflow.cfg") | _names_in(os.environ))
    values = {}
    for key in Settings.model_fields:
        value = _value(conf, key, in_file)
        if value is not None:
            values[key] = value
    if not values.get("fernet_key"):
        key = conf.get("core", "fernet_key", fallback="")
        # before its first start has written airflow.cfg, Airflow has only the template of a key
        values["fernet_key"] = "" if key == _NO_KEY_YET else key
    for key, place in _BESIDE_DAGS.items():
        found = Path(conf.get("core", "dags_folder")).parent / place
        if not values.get(key) and found.exists():
            values[key] = str(found)
    return _of(values)


def from_environment(environment: Mapping[str, str]) -> Settings:
    """The settings among these variables alone, without Airflow: for commands that must be quick.

    Raises:
        SettingsError: a value is wrong or a name unknown.
    """
    _refuse_unknown(_names_in(environment))
    given = {key: environment[_variable(key)] for key in Settings.model_fields if _variable(key) in environment}
    return _of({"fernet_key": environment.get("AIRFLOW__CORE__FERNET_KEY", "")} | given)


def check(settings: Settings) -> None:
    """Looks at what the model cannot: the store's URL, the key, addresses outside, the integrations' settings. Opens
    nothing, and does not mind what is missing.

    Raises:
        SettingsError: one of them is wrong.
    """
    from leadcast.store.database import open_engine
    from leadcast.store.sealing import Sealer

    if settings.store_url.get_secret_value():
        open_engine(settings.store_url.get_secret_value()).dispose()
    if settings.fernet_key.get_secret_value():
        Sealer(settings.fernet_key.get_secret_value())
    _check_addresses(settings)
    for kind, given in settings.integration_settings.items():
        _check_integration(kind, given)


def _check_addresses(settings: Settings) -> None:
    from leadcast.integrations.http.address import callable_url
    from leadcast.integrations.http.proxy import check_setting

    checks: dict[str, tuple[Callable[[str], object], str]] = {
        key: (callable_url, str(getattr(settings, key))) for key in _BASE_URLS
    }
    checks["proxy_url"] = (check_setting, settings.proxy_url.get_secret_value())
    for kind, url in settings.proxies.get_secret_value().items():
        checks[f"proxies, {kind!r}"] = (check_setting, url)
    for where, (see, url) in checks.items():
        try:
            if url:
                see(url)
        except ValueError as wrong:  # which repeats nothing of it: a password may be in it
            raise SettingsError(f"[leadcast] {where}: {wrong}") from None


def _check_integration(kind: str, given: Mapping[str, Any]) -> None:
    from leadcast.integrations import registry

    if kind not in registry.types():
        raise SettingsError(f"[leadcast] integration_settings: {_no_integration(kind)}")
    integration = registry.get_if_sound(kind)
    if integration is None:  # one's own, and broken: the others go on without it, and leadcast doctor says why
        return
    model = integration.settings_model
    try:
        model.model_validate(given)
    except ValidationError as error:
        # what is missing comes with the request
        if all(item["type"] == "missing" for item in error.errors(include_url=False, include_input=False)):
            return
        wrong = what_is_wrong(error, model)
        raise SettingsError(f"[leadcast] integration_settings, {kind!r}: {wrong}") from None


def _no_integration(kind: str) -> str:
    from leadcast.integrations import registry

    return f"there is no integration {one_line(kind, limit=64)!r}. There are: {', '.join(registry.types())}."


def _of(values: Mapping[str, str]) -> Settings:
    from leadcast.integrations import registry

    settings = Settings.of(values)
    for key, kinds in {"overrides": settings.overrides, "proxies": settings.proxies.get_secret_value()}.items():
        for kind in kinds:
            if kind not in registry.SHIPPED and kind not in registry.types():
                raise SettingsError(f"[leadcast] {key}: {_no_integration(kind)}")
    return settings


def _value(conf: ConfigParser, key: str, in_file: set[str]) -> str | None:
    place = _elsewhere(key, in_file)
    try:
        value = conf.get(SECTION, key, fallback=None)
    except Exception as error:  # Airflow's and configparser's own, and whatever a command or a backend raises
        # never its text: a command's output may be in it
        cause = type(error.__context__ or error).__name__
        hint = f"{place} cannot be resolved" if place else "cannot be read (in airflow.cfg, % is written %%)"
        raise SettingsError(f"[leadcast] {key}: {hint} ({cause}).") from None
    # a command's output ends in a line break
    value = value.strip() if value is not None else None
    if place and not value:
        raise SettingsError(f"[leadcast] {key}: there is nothing where {place} points to.")
    return value


def _elsewhere(key: str, in_file: set[str]) -> str:
    """The variable or option that says where the value is; empty: it is given itself, or not at all."""
    if not is_secret(Settings.model_fields[key]) or _variable(key) in os.environ:
        return ""
    for name in (_variable(key + suffix) for suffix in _ELSEWHERE):
        if name in os.environ:
            return name
    if key in in_file:
        return ""
    return next((key + suffix for suffix in _ELSEWHERE if key + suffix in in_file), "")


def _refuse_unknown(given: Mapping[str, str]) -> None:
    # a key that we do not know is a typing mistake of somebody who believes it is set
    known = {*_known(), *RETIRED}
    for name, place in given.items():
        if name not in known:
            raise SettingsError(f"[leadcast] {no_such_setting(name, Settings.model_fields)} ({place})")


def _known() -> Iterator[str]:
    for key, field in Settings.model_fields.items():
        yield key
        if is_secret(field):
            yield from (key + suffix for suffix in _ELSEWHERE)


def _names_in(environment: Mapping[str, str]) -> dict[str, str]:
    return {name[len(_PREFIX) :].lower(): name for name in environment if name.startswith(_PREFIX)}


def _variable(key: str) -> str:
    return _PREFIX + key.upper()
