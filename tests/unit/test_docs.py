"""The documentation holds what it says: links lead somewhere, tables are complete, examples run."""

from __future__ import annotations

import ast
import importlib.util
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType
from typing import Any, cast

import pytest
from standardwebhooks import Webhook

from leadcast.core.settings import Settings
from leadcast.engine.tell import hooks
from leadcast.flow.request import validate
from leadcast.integrations import registry
from leadcast.sandbox.faults import KINDS, Fault
from leadcast.sandbox.ports import ServiceName

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = [
    *(ROOT / f"{name}.md" for name in ("README", "CHANGELOG", "CONTRIBUTING", "SECURITY")),
    *sorted(DOCS.rglob("*.md")),
]


DECISIONS = [page for page in sorted((DOCS / "decisions").glob("*.md")) if page.name != "README.md"]


def text_of(page: str) -> str:
    return (DOCS / page).read_text(encoding="utf-8")


def blocks(text: str, language: str) -> list[str]:
    """The fenced code blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)


def all_blocks(language: str) -> Iterator[tuple[str, str]]:
    for path in PAGES:
        for block in blocks(path.read_text(encoding="utf-8"), language):
            yield path.name, block


def section(text: str, heading: str) -> str:
    """What stands under a heading of the second level."""
    return text.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_every_relative_link_leads_to_a_file(path: Path) -> None:
    # what stands in a comment is a place that is kept
    text = re.sub(r"<!--.*?-->", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
    links = re.findall(r"\]\(([^)\s]+)\)", text)
    missing = [link for link in links if "://" not in link and not (path.parent / link.partition("#")[0]).exists()]
    assert not missing


def test_every_page_is_linked_from_the_readme() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    pages = [page for page in DOCS.rglob("*.md") if page not in DECISIONS]
    assert not [page for page in pages if f"({page.relative_to(ROOT)})" not in readme]


def test_every_decision_is_in_the_index() -> None:
    indexed = re.findall(r"^\| \[(.+\.md)\]\(\1\) \|", text_of("decisions/README.md"), flags=re.MULTILINE)
    assert sorted(indexed) == sorted(page.name for page in DECISIONS)
    assert len(DECISIONS) >= 7


@pytest.mark.parametrize("page", DECISIONS, ids=lambda page: page.name)
def test_a_decision_names_files_that_are_there(page: Path) -> None:
    named = re.findall(r"`([\w.-]+(?:/[\w.*-]+)+)/?`", page.read_text(encoding="utf-8"))
    missing = [path for path in named if not any(any(base.glob(path)) for base in (ROOT, ROOT / "include/leadcast"))]
    assert named
    assert not missing


def test_the_page_of_settings_is_what_the_settings_say() -> None:
    generator = load("leadcast_docs_generator", (DOCS / "generate_settings.py").read_text(encoding="utf-8"), DOCS)
    assert text_of("settings.md") == generator.page(), "stale: run `make docs`"


def test_every_setting_is_on_its_page() -> None:
    page = text_of("settings.md")
    assert not [name for name in Settings.model_fields if f"| `{name}` |" not in page]


def test_every_json_example_can_be_read() -> None:
    found = [(name, json.loads(block)) for name, block in all_blocks("json")]
    assert len(found) >= 6


def test_every_request_in_the_documentation_is_accepted() -> None:
    page = text_of("api.md")
    bodies = [body for body in map(json.loads, blocks(page, "json")) if "integrations" in body]
    bodies += [json.loads(text)["conf"] for text in re.findall(r"-d '(\{.*\"conf\".*\})'", page)]
    assert len(bodies) == 3
    for body in bodies:
        validate(body)


def test_python_examples_are_python_and_shell_examples_are_shell() -> None:
    for _, block in all_blocks("python"):
        ast.parse(block)
    for name, block in all_blocks("bash"):
        done = subprocess.run(["bash", "-n"], input=block, text=True, capture_output=True, check=False)
        assert not done.stderr, f"{name}: {done.stderr}"


def test_every_command_in_the_documentation_exists() -> None:
    from leadcast.cli import app

    there = {str(command.name or cast(Any, command.callback).__name__) for command in app.registered_commands}
    used = {
        word
        for path in PAGES
        for code in re.findall(r"```bash\n.*?^```|`[^`\n]+`", path.read_text(encoding="utf-8"), flags=re.M | re.S)
        for word in re.findall(r"(?:^|[\s(`/])leadcast ([a-z]+(?:-[a-z]+)*)\b", code)
    }
    assert len(used) > 8
    assert used <= there


def test_every_make_target_in_the_documentation_exists() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z]+):", makefile, flags=re.MULTILINE))
    used = {word for _, block in all_blocks("bash") for word in re.findall(r"^make ([a-z]+)", block, flags=re.M)}
    assert used
    assert used <= targets


def test_every_call_of_the_api_is_described() -> None:
    from leadcast.api import batches, leads

    page = text_of("api.md")
    routes = [route for router in (batches.router, leads.router) for route in router.routes]
    paths = {str(getattr(route, "path", "")) for route in routes}
    assert paths
    assert not [path for path in paths if path.partition("/{")[0] not in page]
    called = {"/" + name for name in re.findall(r"/api/integrations/([a-z-]+)", page)}
    assert called <= {path.partition("/{")[0] for path in paths} | {"/health", "/docs", "/openapi.json", "/openapi"}


@pytest.mark.parametrize(
    ("kind", "heading"),
    [
        ("amocrm", "amoCRM (Kommo)"),
        ("bitrix24", "Bitrix24"),
        ("telegram", "Telegram"),
        ("email", "E-mail"),
        ("webhook", "Webhook"),
    ],
)
def test_every_field_of_an_integration_is_described(kind: str, heading: str) -> None:
    page = text_of("integrations.md")
    described = section(page, heading)
    integration = registry.get(kind)
    fields = [*integration.settings_model.model_fields, *integration.credentials_model.model_fields]
    assert not [name for name in fields if not re.search(rf"[`.]{name}`", described)]
    assert f"| `{kind}` | `{integration.queue_name()}` | `{integration.conn_id()}` |" in page


def test_every_fault_of_the_sandbox_is_described_and_the_examples_are_taken() -> None:
    page = text_of("sandbox.md")
    kinds = {kind.value for kinds in KINDS.values() for kind in kinds}
    assert not [kind for kind in kinds if f"`{kind}`" not in page]
    examples = re.findall(r"^fault '(.*)'$", page, flags=re.MULTILINE)
    assert {Fault.model_validate_json(example).service for example in examples} == set(ServiceName)


def test_the_hooks_file_of_the_documentation_is_found(tmp_path: Path) -> None:
    file = tmp_path / "hooks.py"
    file.write_text(blocks(text_of("callbacks.md"), "python")[0], encoding="utf-8")
    for moment in ("then", "catch", "finally"):
        assert len(list(hooks.registered(moment, hooks_file=str(file)))) == 1


def test_the_receiver_of_the_documentation_knows_our_signature() -> None:
    secret = "whsec_AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcY"
    receiver = load("leadcast_docs_receiver", blocks(text_of("callbacks.md"), "python")[1])
    body = blocks(text_of("callbacks.md"), "json")[0]
    now = datetime.now(UTC)
    headers = {
        "webhook-id": "msg_1",
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": Webhook(secret).sign("msg_1", now, body),
    }
    assert receiver.receive(headers, body.encode(), secret)["type"] == "batch.partial"
    with pytest.raises(Exception, match="signature"):
        receiver.receive(headers, body.encode() + b" ", secret)


def test_the_arguments_of_the_notifier_are_a_setting() -> None:
    (value,) = re.findall(r"NOTIFIER_KWARGS='(.*)'", text_of("callbacks.md"))
    assert "{subject}" in Settings.of({"notifier_kwargs": value}).notifier_kwargs.get_secret_value()["text"]


def load(name: str, source: str, folder: Path | None = None) -> ModuleType:
    """A module made of this source."""
    spec = importlib.util.spec_from_loader(name, loader=None)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    module.__file__ = str((folder or ROOT) / f"{name}.py")
    sys.modules[name] = module
    exec(compile(source, module.__file__, "exec", dont_inherit=True), vars(module))
    return module
