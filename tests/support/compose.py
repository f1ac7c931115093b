"""docker-compose.yaml and .env as Compose reads them: what each service runs, with what environment, after what."""

from __future__ import annotations

import re
import secrets
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from io import StringIO
from pathlib import Path
from typing import Any

import yaml
from cryptography.fernet import Fernet
from dotenv import dotenv_values

ROOT = Path(__file__).parents[2]
FILE = ROOT / "docker-compose.yaml"
EXAMPLE = ROOT / ".env.example"
OWN_FILES = ("settings.env", "connections.env")
"""What a person writes beside .env, by copying an example each; the services name them in `env_file`."""

NOT_DESCRIBED = {("scheduler", "num_stuck_in_queued_retries")}
"""Options, by section, that Airflow 3.3.2 reads and does not describe."""

# https://docs.docker.com/reference/compose-file/interpolation/
_VARIABLE = re.compile(r"\$(?:(?P<dollar>\$)|\{(?P<name>\w+)(?:(?P<operator>:?[-?])(?P<text>[^}]*))?\})")


@dataclass(frozen=True, kw_only=True)
class Service:
    """One service, ready to run.

    depends_on: service → the condition that it must meet first. stop_grace_s: what it gets to end by itself.
    """

    name: str
    command: list[str]
    environment: dict[str, str] = field(repr=False)
    health_check: list[str]
    depends_on: dict[str, str]
    profiles: list[str]
    stop_grace_s: float

    @property
    def queues(self) -> list[str]:
        """The queues that it listens to; empty: it is no worker."""
        if self.command[:3] != ["airflow", "celery", "worker"]:
            return []
        return self.command[self.command.index("--queues") + 1].split(",")


def filled_in_example() -> str:
    """.env.example with something in every variable that must be set."""
    return re.sub(r"^([A-Z_]+)=$", r"\1=filled-in", EXAMPLE.read_text(encoding="utf-8"), flags=re.MULTILINE)


def with_secrets() -> str:
    """.env.example as a person fills it in: with new secrets."""
    written = EXAMPLE.read_text(encoding="utf-8")
    written = re.sub(r"^FERNET_KEY=$", f"FERNET_KEY={Fernet.generate_key().decode()}", written, flags=re.MULTILINE)
    required = r"^(\w+_(?:PASSWORD|SECRET|KEY))=$"
    return re.sub(required, lambda found: f"{found[1]}={secrets.token_hex(24)}", written, flags=re.MULTILINE)


def own_files(*, sandbox: bool = False) -> dict[str, str]:
    """The other files, each as its example is; with the lines for the sandbox."""
    files = {}
    for name in OWN_FILES:
        ours, heading, theirs = example_of(name).partition("# With the profile `sandbox`")
        files[name] = ours + heading + (theirs.replace("\n# AIRFLOW", "\nAIRFLOW") if sandbox else theirs)
    return files


def example_of(name: str) -> str:
    """The example that one of them is copied from."""
    return (ROOT / f"{name}.example").read_text(encoding="utf-8")


def read_env(text: str) -> dict[str, str]:
    """The variables of an .env file, its own ${…} filled in."""
    return {name: value or "" for name, value in dotenv_values(stream=StringIO(text)).items()}


def written() -> dict[str, dict[str, Any]]:
    """The services as the file has them, nothing filled in."""
    services: dict[str, dict[str, Any]] = yaml.safe_load(FILE.read_text(encoding="utf-8"))["services"]
    return services


def read(env: Mapping[str, str], files: Mapping[str, str] | None = None) -> dict[str, Service]:
    """The services.

    Args:
        env: the variables of .env, which are filled in; no service gets them otherwise.
        files: the text of what `env_file` names. Default: the examples.
    """
    filled = interpolate(written(), env)
    given = {name: read_env(text) for name, text in (own_files() if files is None else files).items()}
    return {name: _service(name, service, given) for name, service in filled.items()}


def scaled(services: Mapping[str, Service], **counts: int) -> dict[str, Service]:
    """As `docker compose up --scale worker=3`: the services, and what is more of one as `worker-2` and `worker-3`."""
    copies = {f"{name}-{number}": services[name] for name, count in counts.items() for number in range(2, count + 1)}
    return {**services, **{name: replace(service, name=name) for name, service in copies.items()}}


def interpolate(value: Any, env: Mapping[str, str]) -> Any:
    """Fills in ${NAME}, ${NAME:-default} and ${NAME:?what to do} in every text, and turns $$ into $.

    Raises:
        LookupError: a variable that must be set is not; says what the file says.
    """
    if isinstance(value, dict):
        return {key: interpolate(item, env) for key, item in value.items()}
    if isinstance(value, list):
        return [interpolate(item, env) for item in value]
    return _VARIABLE.sub(lambda found: _value(found, env), value) if isinstance(value, str) else value


def _value(found: re.Match[str], env: Mapping[str, str]) -> str:
    if found["dollar"]:
        return "$"
    value, operator = env.get(found["name"]), found["operator"] or ""
    if value or (value is not None and not operator.startswith(":")):
        return value
    if operator.endswith("-"):
        return str(found["text"])
    if operator.endswith("?"):
        raise LookupError(found["text"])
    # Compose would take an empty text, and warn
    raise LookupError(f"{found['name']} is not set and has no default")


def _service(name: str, written: Mapping[str, Any], files: Mapping[str, Mapping[str, str]]) -> Service:
    from_file = {key: value for file in written.get("env_file", []) for key, value in files[file].items()}
    return Service(
        name=name,
        command=[*words(written.get("entrypoint", [])), *words(written.get("command", []))],
        environment={**from_file, **written.get("environment", {})},
        health_check=_health_check(written.get("healthcheck", {}).get("test", [])),
        depends_on={other: rule["condition"] for other, rule in written.get("depends_on", {}).items()},
        profiles=written.get("profiles", []),
        stop_grace_s=float(written.get("stop_grace_period", "10s").removesuffix("s")),
    )


def words(command: str | list[str]) -> list[str]:
    """A command, written as one text or as a list, word by word."""
    return shlex.split(command) if isinstance(command, str) else command


def _health_check(test: list[str]) -> list[str]:
    if test[:1] == ["CMD-SHELL"]:
        return ["sh", "-c", test[1]]
    return test[1:]
