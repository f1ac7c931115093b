"""Settings: defaults of the seed, overrides per integration, and one clear line for what is wrong."""

from __future__ import annotations

import pytest

from leadcast.core.errors import SettingsError
from leadcast.core.settings import Occasion, Settings


def test_the_defaults_are_those_of_the_seeds_horizon() -> None:
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
        ({"tries": "many"}, "tries"),
        ({"language": "klingon"}, "language"),
        ({"allowed_networks": "10.0.0.0/33"}, "allowed_networks"),
        ({"overrides": "{not json"}, "overrides"),
        ({"triez": "3"}, "triez"),
    ],
)
def test_a_wrong_value_or_key_is_named(values: dict[str, str], named: str) -> None:
    with pytest.raises(SettingsError, match=named):
        Settings.of(values)


def test_a_wrong_override_names_its_type() -> None:
    with pytest.raises(SettingsError, match=r"'amocrm'.*tries"):
        Settings.of({"overrides": '{"amocrm": {"tries": 0}}'}).delivering("amocrm")


def test_secrets_are_not_shown() -> None:
    settings = Settings.of(
        {"store_url": "postgresql://u:s3cret@h/d", "fernet_key": "s3cret", "callback_secret": "s3cret"}
    )
    assert "s3cret" not in repr(settings)
    assert "s3cret" not in str(settings)
