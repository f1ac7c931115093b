"""docs/moving-from-laravel.md: its calls, run as they stand there, against a running stack."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path

import pytest

from tests.support.laravel import GUZZLE, curl_blocks, needs_guzzle, run_php
from tests.support.stack import ROOT, Stack

pytestmark = pytest.mark.system

CALLS = """
require getenv('GUZZLE');
require 'app/Leadcast/NotAccepted.php';
require 'app/Leadcast/Client.php';
$client = fn (string $url, string $password) => new App\\Leadcast\\Client($url, 'user', $password);
$refused = function (callable $call): array {
    try { $call(); } catch (App\\Leadcast\\NotAccepted $e) { return [$e->getMessage(), $e->retryAfterS]; }
};
$leadcast = $client(getenv('URL'), getenv('PASSWORD'));
$request = ['lead_id' => 123, 'integrations' => [['type' => 'telegram']]];
$first = $leadcast->send($request, 'php-1');
(function () { $this->token .= 'x'; })->call($leadcast);
$again = $leadcast->send($request, 'php-1');
echo json_encode([
    'batches' => [$first['batch_id'], $again['batch_id'], $leadcast->batch($first['batch_id'])['batch_id']],
    'another body' => $refused(fn () => $leadcast->send(['lead_id' => 124] + $request, 'php-1')),
    'wrong password' => $refused(fn () => $client(getenv('URL'), 'wrong')->send($request, 'php-2')),
    'nobody there' => $refused(fn () => $client('http://127.0.0.1:1', 'any')->send($request, 'php-2')),
]);
"""
"""What a reader's code does with the client; a spoilt token stands for one signed with an older key."""


@pytest.fixture(autouse=True)
def lead_123(stack: Stack) -> None:
    stack.api().call("PUT", "/api/integrations/leads/123", json={"name": "Анна Пример", "phone": "+79990000001"})


def password(stack: Stack) -> str:
    return str(json.loads(stack.home.passwords_file.read_text())["user"])


def test_the_curl_block_sends_a_lead_and_sees_what_became_of_it(stack: Stack) -> None:
    variables, calls = curl_blocks()
    given = {"URL": stack.ports.api_url, "SENDER": "user", "PASSWORD": password(stack), "KEY": "moving-from-laravel"}
    assert set(re.findall(r"^([A-Z]+)=", variables, flags=re.MULTILINE)) == set(given)
    said = []
    for _ in range(2):
        done = subprocess.run(
            ["bash", "-e", "-u", "-o", "pipefail", "-c", calls],
            cwd=ROOT,
            env={"PATH": os.environ["PATH"], **given},
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        said.append([json.loads(line) for line in done.stdout.splitlines()])
    (accepted, batch), (accepted_again, _) = said
    assert accepted["total_jobs"] == 3
    assert (batch["batch_id"], batch["status"]) == (accepted["batch_id"], "completed")
    assert accepted_again["batch_id"] == accepted["batch_id"], "the same key sends once"
    stack.settled(batch["batch_id"])
    assert len(stack.received("telegram")) == 1


@needs_guzzle
def test_the_php_client_sends_a_lead_once_and_tells_what_may_pass_from_what_never_will(
    stack: Stack, tmp_path: Path
) -> None:
    env = {"URL": stack.ports.api_url, "PASSWORD": password(stack), "GUZZLE": str(GUZZLE)}
    said = json.loads(run_php(tmp_path, CALLS, **env))
    (batch_id,) = set(said["batches"])
    assert stack.settled(batch_id)["status"] == "completed"
    assert len(stack.received("telegram")) == 1
    assert "409" in said["another body"][0]
    assert said["another body"][1] is None
    assert "401" in said["wrong password"][0]
    assert said["wrong password"][1] == said["nobody there"][1] == 10
