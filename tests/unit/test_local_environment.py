"""The environment of the local stack: what it sets, what it leaves alone, what it keeps to itself."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from leadcast.core.settings import Settings
from leadcast.local.environment import stack_environment
from leadcast.local.home import Home
from leadcast.local.keys import Keys
from leadcast.local.ports import Ports

PORTS = Ports(api=9100)
KEYS = Keys()


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(root=tmp_path / "home", project=tmp_path / "project")


def environment(home: Home, **inherited: str) -> dict[str, str]:
    return stack_environment(inherited, home=home, ports=PORTS, keys=KEYS)


def section(env: dict[str, str], name: str) -> dict[str, str]:
    prefix = f"AIRFLOW__{name.upper()}__"
    return {key.removeprefix(prefix).lower(): value for key, value in env.items() if key.startswith(prefix)}


def connections(env: dict[str, str]) -> dict[str, dict[str, object]]:
    prefix = "AIRFLOW_CONN_"
    return {key.removeprefix(prefix).lower(): json.loads(value) for key, value in env.items() if key.startswith(prefix)}


def test_leadcast_takes_every_setting_that_it_is_given(home: Home) -> None:
    settings = Settings.of(section(environment(home), "leadcast"))

    assert settings.api_url == "http://127.0.0.1:9100"
    assert settings.telegram_base_url == "http://127.0.0.1:9113"
    assert settings.store_url.get_secret_value().endswith("@127.0.0.1:9120/leadcast")


def test_airflow_and_leadcast_have_databases_of_their_own(home: Home) -> None:
    env = environment(home)

    assert section(env, "database")["sql_alchemy_conn"].endswith("/airflow")
    assert section(env, "leadcast")["store_url"].endswith("/leadcast")


def test_every_integration_finds_its_connection_at_the_sandbox(home: Home) -> None:
    found = connections(environment(home))

    assert found["leadcast_amocrm"]["host"] == "http://127.0.0.1:9111"
    assert found["leadcast_bitrix24"]["host"] == f"http://127.0.0.1:9112/rest/1/{KEYS.bitrix24.get_secret_value()}/"
    assert found["leadcast_telegram"]["password"] == KEYS.telegram.get_secret_value()
    assert found["leadcast_webhook"]["host"] == "http://127.0.0.1:9114"
    assert (found["smtp_default"]["host"], found["smtp_default"]["port"]) == ("127.0.0.1", 9115)


@pytest.mark.parametrize(
    "name",
    [
        "AIRFLOW__CORE__PARALLELISM",
        "AIRFLOW__LEADCAST__AMOCRM_BASE_URL",
        "AIRFLOW_CONN_LEADCAST_TELEGRAM",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN",
    ],
)
def test_what_the_users_environment_sets_stays(home: Home, name: str) -> None:
    assert environment(home, **{name: "mine"})[name] == "mine"


@pytest.mark.parametrize("suffix", ["_CMD", "_SECRET"])
def test_a_setting_that_comes_from_elsewhere_is_not_covered_up(home: Home, suffix: str) -> None:
    env = environment(home, **{f"AIRFLOW__CORE__FERNET_KEY{suffix}": "vault read key"})

    assert "AIRFLOW__CORE__FERNET_KEY" not in env


def test_another_airflow_of_the_user_is_left_out(home: Home) -> None:
    assert environment(home, AIRFLOW_HOME="/home/me/airflow")["AIRFLOW_HOME"] == str(home.airflow)


def test_the_users_own_modules_stay_importable(home: Home) -> None:
    include = str(home.project / "include")

    assert environment(home)["PYTHONPATH"] == include
    assert environment(home, PYTHONPATH="/mine")["PYTHONPATH"] == os.pathsep.join([include, "/mine"])
    assert environment(home, PYTHONPATH=include)["PYTHONPATH"] == include


def test_programs_may_keep_what_they_have_compiled(home: Home) -> None:
    assert "PYTHONDONTWRITEBYTECODE" not in environment(home, PYTHONDONTWRITEBYTECODE="1")


def test_the_rest_of_the_environment_passes_through_and_is_not_changed(home: Home) -> None:
    inherited = {"LANG": "ru_RU.UTF-8", "PYTHONDONTWRITEBYTECODE": "1"}

    assert stack_environment(inherited, home=home, ports=PORTS, keys=KEYS)["LANG"] == "ru_RU.UTF-8"
    assert inherited == {"LANG": "ru_RU.UTF-8", "PYTHONDONTWRITEBYTECODE": "1"}


def test_the_api_server_has_a_database_connection_for_each_of_its_threads(home: Home) -> None:
    database = section(environment(home), "database")

    assert int(database["sql_alchemy_pool_size"]) + int(database["sql_alchemy_max_overflow"]) >= 40
