"""docs/moving-from-laravel.md names all that the Laravel system had, and its code is code."""

from __future__ import annotations

import json
import re
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import yaml
from standardwebhooks import Webhook

from leadcast.api import batches
from leadcast.core.request_errors import BodyTooSlow, OthersLead, RequestRejected
from leadcast.core.settings import Settings
from leadcast.flow.request import SendBatch
from tests.support.laravel import PAGE, ROOT, curl_blocks, needs_php, php_files, run_php

IN_THE_OLD_SYSTEM = """
SendLeadToMultipleIntegrationsJob BaseIntegrationJob EmailIntegrationJob AmoCrmIntegrationJob TelegramIntegrationJob
Bitrix24IntegrationJob WebhookIntegrationJob BatchNotificationJob Bus::batch allowFailures
integration-email integration-amocrm integration-telegram integration-bitrix24 integration-webhooks notifications
/api/integrations/send-batch lead_id integrations[].type settings.priority settings.template settings.chat_id
credentials.amocrm subdomain client_id client_secret access_token
credentials.email emails template subject {lead_name} credentials.telegram bot_token chat_id
SendLeadToMultipleIntegrationsJob::dispatch ->then( ->catch( ->finally( completed partial failed
Log::info batch_id jobs_count config/queue.php 'driver' 'redis' 'queue' queue:work
--queue=integration-email,integration-amocrm,integration-telegram,integration-bitrix24,integration-webhooks,notifications
config/horizon.php 'environments' 'production' 'supervisor-1' 'connection' 'balance' 'simple' 'processes' 'tries'
'timeout'
"""
"""What its documentation names."""
ASKED_FOR_DAILY = """
queue:retry queue:failed queue:restart queue:clear queue:forget queue:flush queue:monitor queue:prune-batches
queue:prune-failed queue:table horizon:pause horizon:continue horizon:terminate horizon:status horizon:snapshot
"""
SECRET = "whsec_AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcY"
BODY = '{"type": "batch.partial", "data": {"lead_id": "Анна"}}'


def test_every_name_of_the_old_system_stands_in_the_tables() -> None:
    tables = PAGE.partition("\n## What is what\n")[2].partition("\n## What was tried")[0]
    assert not [name for name in IN_THE_OLD_SYSTEM.split() if name not in tables]
    assert not [name for name in ASKED_FOR_DAILY.split() if name not in tables]


def test_workers_and_settings_that_the_page_names_are_there() -> None:
    services = yaml.safe_load((ROOT / "docker-compose.yaml").read_text(encoding="utf-8"))["services"]
    assert set(re.findall(r"`(worker-[a-z0-9]+)`", PAGE)) == {name for name in services if name.startswith("worker-")}
    settings = {name.lower() for name in re.findall(r"AIRFLOW__LEADCAST__([A-Z_]+)", PAGE)}
    assert len(settings) > 4
    assert settings <= set(Settings.model_fields)


def test_the_overrides_and_the_columns_of_the_page_are_settings() -> None:
    given = dict(re.findall(r"^AIRFLOW__LEADCAST__(\w+)='?(.*?)'?$", PAGE, flags=re.MULTILINE))
    settings = Settings.of({name.lower(): value for name, value in given.items()})
    assert settings.delivering("amocrm").slots == 4
    assert settings.lead_mapping() is not None


def test_php_and_curl_call_what_the_api_has() -> None:
    there = {"/api/integrations" + getattr(route, "path", "").partition("{")[0] for route in batches.router.routes}
    client = php_files()["app/Leadcast/Client.php"]
    called = {path for path in re.findall(r"'(/[a-z/-]+)'", client) if path != "/auth/token"}
    assert called == {"/api/integrations/send-batch", "/api/integrations/batches/"}
    assert called <= there
    by_curl = set(re.findall(r'"\$URL(/[a-z/-]+)', curl_blocks()[1]))
    assert by_curl == called | {"/auth/token"}


def test_the_php_job_sends_the_members_of_a_request() -> None:
    job = php_files()["app/Jobs/Integrations/SendLeadThroughLeadcast.php"]
    request = job.partition("$this->request = [")[2].partition("];")[0]
    sent = set(re.findall(r"^ {12}'(\w+)' =>", request, flags=re.MULTILINE))
    assert sent == {"lead_id", "integrations", "credentials"}
    assert sent <= set(SendBatch.model_fields)


def test_the_php_client_gives_up_only_on_what_leadcast_refuses_for_good() -> None:
    listed = re.findall(r"FOR_GOOD = \[(.*)\];", php_files()["app/Leadcast/Client.php"])
    for_good = {int(status) for status in listed[0].split(",")}
    rejections = [RequestRejected]
    for kind in rejections:
        rejections += kind.__subclasses__()
    refused = {kind.status for kind in rejections}
    # a body that came too slowly may come in time when it is sent again; a client that only sends erases nothing
    assert refused - {BodyTooSlow.status, OthersLead.status} <= for_good
    assert not for_good & {401, 403, 408, 425, 429, *range(500, 600)}


@needs_php
def test_the_php_is_php() -> None:
    files = php_files()
    assert len(files) == 5
    for path, source in files.items():
        done = subprocess.run(["php", "-l"], input=source, text=True, capture_output=True, timeout=60, check=False)
        assert done.returncode == 0, f"{path}: {done.stdout}"


@needs_php
@pytest.mark.parametrize(
    ("before", "message", "age", "body", "expected"),
    [
        ("", "msg_1", timedelta(), BODY, True),
        ("v1,AAAA ", "msg_1", timedelta(), BODY, True),
        ("", "msg_1", timedelta(), BODY + " ", False),
        ("", "msg_2", timedelta(), BODY, False),
        ("", "msg_1", timedelta(hours=1), BODY, False),
        ("", None, timedelta(), BODY, False),
    ],
    ids=["good", "a second signature", "another body", "another message", "too old", "none"],
)
def test_the_php_receiver_knows_our_signature(
    tmp_path: Path, before: str, message: str | None, age: timedelta, body: str, *, expected: bool
) -> None:
    # signed now: a good signature has a time near the receiver's own
    at = datetime.now(UTC) - age
    signature = before + Webhook(SECRET).sign(message, at, BODY) if message else ""
    script = (
        "require 'app/Leadcast/Signature.php';\n"
        "$isGood = App\\Leadcast\\Signature::isGood(getenv('B'), 'msg_1', getenv('T'), getenv('S'), getenv('K'));\n"
        "echo json_encode($isGood);"
    )
    said = run_php(tmp_path, script, B=body, T=str(int(at.timestamp())), S=signature, K=SECRET)
    assert json.loads(said) is expected
