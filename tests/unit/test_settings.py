"""Settings: the defaults of the Laravel system, overrides per integration, and one clear line for what is wrong."""

from __future__ import annotations

import base64
from datetime import UTC, datetime
from typing import Any

import pytest
from pydantic import SecretStr

from leadcast.core.delivering import Delivering
from leadcast.core.errors import SettingsError
from leadcast.core.setting_choices import Occasion
from leadcast.core.setting_fields import is_secret, unit_of
from leadcast.core.settings import Settings
from leadcast.engine.settings.provider import get_provider_info
from leadcast.engine.settings.read_settings import check, from_environment
from leadcast.integrations.webhook.message import signed_headers

KEY = "whsec_" + base64.b64encode(b"k" * 32).decode()


def test_the_defaults_are_those_of_the_laravel_systems_horizon() -> None:
    rules = Settings().delivering("amocrm")
    assert (rules.tries, rules.timeout_s, rules.slots) == (3, 300, 10)


def test_one_integration_may_have_other_rules() -> None:
    settings = Settings.of({"tries": "4", "overrides": '{"amocrm": {"tries": 7, "slots": 2}}'})
    assert (settings.delivering("amocrm").tries, settings.delivering("amocrm").slots) == (7, 2)
    assert (settings.delivering("email").tries, settings.delivering("email").slots) == (4, 10)


def test_lists_are_written_with_commas() -> None:
    settings = Settings.of({"notify_on": "failed, critical", "notify_emails": "a@b.c,d@e.f", "allowed_networks": ""})
    assert settings.notify_on == (Occasion.FAILED, Occasion.CRITICAL)
    assert settings.notify_emails == ("a@b.c", "d@e.f")
    assert settings.allowed_networks == ()


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"tries": "many"}, r"tries: .* \(you gave many\)"),
        ({"tries": ""}, r"tries: .* \(you gave nothing\)"),
        ({"language": "klingon"}, r"language: .* \(you gave klingon\)"),
        ({"allowed_networks": "10.0.0.0/33"}, r"allowed_networks.0: .* \(you gave 10.0.0.0/33\)"),
        ({"overrides": "{not json"}, r"overrides: not JSON: .* \(you gave \{not json\)"),
        ({"overrides": '{"amocrm": 5}'}, "overrides.amocrm: Input should be an object"),
        ({"triez": "3"}, r"triez: there is no such setting. Is tries meant\?$"),
    ],
)
def test_a_wrong_value_or_key_is_named(values: dict[str, str], named: str) -> None:
    with pytest.raises(SettingsError, match=named):
        Settings.of(values)


def test_a_wrong_override_names_its_type() -> None:
    with pytest.raises(SettingsError, match=r"'amocrm'.*tries"):
        Settings.of({"overrides": '{"amocrm": {"tries": 0}}'}).delivering("amocrm")


def test_secrets_are_not_shown() -> None:
    secret = {name: "s3cret" for name, field in Settings.model_fields.items() if is_secret(field)}
    assert secret.keys() == {"store_url", "fernet_key", "callback_secret", "notifier_kwargs", "proxy_url", "proxies"}
    whole = {"notifier_kwargs": '{"token": "s3cret"}', "proxies": '{"telegram": "s3cret"}'}
    whole["callback_secret"] = "s3cret" * 8
    settings = Settings.of(secret | whole)
    assert settings.notifier_kwargs.get_secret_value() == {"token": "s3cret"}
    assert "s3cret" not in repr(settings)
    assert "s3cret" not in str(settings)


@pytest.mark.parametrize("value", ["s3cret", '["s3cret"]', '{"s3cret'])
def test_a_secret_that_is_wrong_is_not_repeated(value: str) -> None:
    with pytest.raises(SettingsError, match=r"^\[leadcast\] notifier_kwargs: ") as caught:
        Settings.of({"notifier_kwargs": value})
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    "wrong",
    [
        "мой секрет!",
        "mysecret",
        "whsec_",
        "whsec_s3cret",
        "whsec_" + "s3cr" * 9 + "-_==",
        KEY[:30],
        "whsec_" + "s3cr" * 22,
    ],
)
def test_a_callback_secret_that_would_not_sign_is_refused_when_settings_are_read(wrong: str) -> None:
    with pytest.raises(
        SettingsError, match=r"^\[leadcast\] callback_secret: must be whsec_ and the base64 of"
    ) as caught:
        Settings.of({"callback_secret": wrong})
    assert wrong.removeprefix("whsec_") not in str(caught.value) or wrong == "whsec_"


@pytest.mark.parametrize("written", [KEY, f" {KEY}\n", KEY.removeprefix("whsec_"), KEY.rstrip("=")])
def test_a_callback_secret_signs_alike_with_and_without_its_prefix_and_padding(written: str) -> None:
    secret = Settings.of({"callback_secret": written}).callback_secret
    at = datetime(2026, 11, 30, tzinfo=UTC)
    signed = signed_headers(b"{}", message_id="msg_1", secret=secret, at=at)
    assert signed == signed_headers(b"{}", message_id="msg_1", secret=SecretStr(KEY), at=at)


def test_without_a_callback_secret_nothing_is_signed() -> None:
    assert Settings.of({"callback_secret": " "}).callback_secret.get_secret_value() == ""


@pytest.mark.parametrize("model", [Settings, Delivering])
def test_every_number_has_a_unit_and_nothing_else_has(model: type[Settings] | type[Delivering]) -> None:
    fields = model.model_fields
    numbers = {name for name, field in fields.items() if field.annotation in (int, float, float | None)}
    assert numbers
    assert {name for name, field in fields.items() if unit_of(field)} == numbers
    assert {name for name in numbers if name.endswith("_s") and not name.endswith("_per_s")} == {
        name for name, field in fields.items() if unit_of(field) == "seconds"
    }


def options() -> dict[str, Any]:
    """Section [leadcast] as `airflow config list` knows it."""
    found: dict[str, Any] = get_provider_info()["config"]["leadcast"]["options"]
    return found


def test_airflow_knows_every_setting_as_the_model_has_it() -> None:
    assert list(options()) == list(Settings.model_fields)
    for name, field in Settings.model_fields.items():
        option = options()[name]
        assert field.description in option["description"]
        assert unit_of(field) in option["description"]
        assert option["sensitive"] == is_secret(field)
        types: dict[Any, str] = {int: "integer", float: "float", bool: "boolean"}
        assert option["type"] == types.get(field.annotation or str, "string")


def test_the_defaults_that_airflow_writes_into_its_file_mean_what_the_model_means() -> None:
    written = {name: option["default"] for name, option in options().items() if option["default"] is not None}
    assert Settings.of(written) == Settings()


def test_every_example_is_one_that_is_taken() -> None:
    examples = {name: option["example"] for name, option in options().items() if option["example"]}
    assert len(examples) >= 6
    check(Settings.of({"leads_conn_id": "crm", "leads_table": "leads", "status_column": "status"} | examples))


@pytest.mark.parametrize(
    ("value", "named"),
    [
        ('{"amokrm": {}}', "there is no integration 'amokrm'. There are: "),
        ('{"amocrm": {"tagz": ["a"]}}', r"'amocrm': tagz: there is no such setting. Is tags meant\?"),
        ('{"amocrm": {"price": -5}}', "'amocrm': price: Input should be greater"),
        ('{"webhook": {"fields": {"city": "{{ lead.town }}"}}}', "'webhook': fields: 'city': no 'lead.town'"),
    ],
)
def test_what_an_integration_would_not_take_is_told_when_a_server_starts(value: str, named: str) -> None:
    settings = Settings.of({"integration_settings": value})
    with pytest.raises(SettingsError, match=rf"integration_settings.*{named}"):
        check(settings)


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"proxy_url": "socks4://u:s3cret@proxy.example:1080"}, "proxy_url: must begin with http://"),
        ({"proxy_url": "http://u:s3cret@proxy.example:99999"}, "proxy_url: must be like"),
        ({"proxies": '{"telegram": "u:s3cret@proxy.example"}'}, "proxies, 'telegram': must begin with http://"),
        ({"telegram_base_url": "api.telegram.org"}, "telegram_base_url: .* does not begin with http"),
        ({"amocrm_base_url": "https://u:s3cret@example.com"}, "amocrm_base_url: .* user name or password"),
        ({"bitrix24_base_url": "https://example.com:99999"}, "bitrix24_base_url: .* possible host and port"),
    ],
)
def test_an_address_outside_that_can_never_be_called_is_told_when_a_server_starts(
    values: dict[str, str], named: str
) -> None:
    with pytest.raises(SettingsError, match=named) as wrong:
        check(Settings.of(values))
    assert "s3cret" not in str(wrong.value)


def test_addresses_outside_that_can_be_called_are_taken() -> None:
    check(
        Settings.of({"proxy_url": "env", "proxies": '{"bitrix24": "", "webhook": "http://a:b@c:1", "amocrm": "env"}'})
    )
    check(Settings.of({"bitrix24_base_url": "https://портал.рф/", "telegram_base_url": "HTTP://127.0.0.1:8081"}))


def test_a_proxy_for_an_integration_that_is_not_there_is_told() -> None:
    with pytest.raises(SettingsError, match=r"proxies: there is no integration 'telegramm'"):
        from_environment({"AIRFLOW__LEADCAST__PROXIES": '{"telegramm": "http://proxy.example:3128"}'})


def test_every_integration_may_have_settings_that_its_deliveries_start_from() -> None:
    value = '{"amocrm": {"tags": ["site"]}, "webhook": {"event": "lead.new", "fields": {"name": "{lead_name}"}}}'
    settings = Settings.of({"integration_settings": value})
    check(settings)
    assert settings.integration_settings["amocrm"] == {"tags": ["site"]}


def test_the_environment_alone_is_read_for_commands_that_do_without_airflow() -> None:
    found = from_environment({"AIRFLOW__LEADCAST__TRIES": "4", "AIRFLOW__CORE__FERNET_KEY": "k", "PATH": "/bin"})
    assert (found.tries, found.fernet_key.get_secret_value()) == (4, "k")
    with pytest.raises(SettingsError, match=r"AIRFLOW__LEADCAST__TRIEZ"):
        from_environment({"AIRFLOW__LEADCAST__TRIEZ": "4"})
