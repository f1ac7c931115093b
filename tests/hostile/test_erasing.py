"""What somebody has had logged cannot hold up an erasure, or everybody beside it, and does not outlive it."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from leadcast.engine.seal.logged_requests import without

BODY: dict[str, Any] = {"lead_id": "qq7", "integrations": [{"type": "telegram", "settings": {"chat_id": "@in_clear"}}]}
MUCH = 1_000_000
CPU_S = 30
"""A bound to end, not a time: walks over a megabyte take a hundredth of it, one that goes back takes hours."""


def logged(body: Any, lead_id: str = "qq7", *, of_ours: bool = True) -> str | None:
    return without(json.dumps({"logical_date": None, "conf": body, "method": "POST"}), lead_id, of_ours=of_ours)


def command(*words: str, lead_id: str = "qq7") -> str | None:
    extra = json.dumps({"host_name": "here", "full_command": str(["airflow", "dags", "trigger", *words])})
    return without(extra, lead_id, of_ours=True, by_command=True)


@pytest.mark.parametrize("of_ours", [True, False])
@pytest.mark.parametrize(
    "body",
    [
        BODY,
        {**BODY, "lead_id": " qq7\u200b"},
        {"conf": BODY},
        {"actions": [{"action": "update", "entities": [{"dag_run_id": "x", "conf": BODY}]}]},
        json.dumps(BODY),
        json.dumps(json.dumps(BODY)),
        [BODY],
    ],
    ids=["conf", "blanks", "nested", "bulk", "as text", "as text twice", "list"],
)
def test_a_request_goes_wherever_it_stands_in_what_was_logged(body: Any, of_ours: bool) -> None:
    bare = logged(body, of_ours=of_ours)
    assert bare is not None
    assert "@in_clear" not in bare
    assert json.loads(bare)["method"] == "POST"


@pytest.mark.parametrize("extra", [{"Conf": BODY}, {"dag_run_conf": BODY}, BODY], ids=["Conf", "dag_run_conf", "none"])
def test_a_key_beside_the_conf_or_none_is_no_way_around(extra: dict[str, Any]) -> None:
    bare = without(json.dumps(extra | {"method": "POST"}), "qq7", of_ours=True)
    assert bare is not None
    assert "@in_clear" not in bare


@pytest.mark.parametrize("lead_id", [7, "7", 7.0, " 7 "])
def test_the_id_is_the_one_that_a_door_would_take(lead_id: Any) -> None:
    assert logged({**BODY, "lead_id": lead_id}, "7") is not None


@pytest.mark.parametrize("lead_id", [77, "7-7", True, None, [7], {"7": 7}, "a7", 7.5, 10**400])
def test_another_leads_request_stays(lead_id: Any) -> None:
    assert logged({**BODY, "lead_id": lead_id, "comment": "7"}, "7") is None


def test_the_conf_of_another_dag_that_is_no_request_stays() -> None:
    assert logged({"lead_id": "qq7", "score": 12}, of_ours=False) is None
    assert logged({"lead_id": "qq7", "score": 12}, of_ours=True) is not None


@pytest.mark.parametrize(
    "words",
    [
        ("--conf", json.dumps(BODY), "send_lead"),
        ("--conf=" + json.dumps(BODY), "send_lead"),
        ("-vc" + json.dumps(BODY), "send_lead"),
        ("-c", json.dumps(BODY | {"note": "it's"}), "send_lead"),
        ("-c", json.dumps(BODY, separators=(",", ":")), "send_lead"),
        ("-c", json.dumps(BODY, indent=1), "send_lead"),
        ("-c", json.dumps(BODY)[:-1], "send_lead"),
    ],
    ids=["word", "with equals", "short options", "quotes", "dense", "lines", "not JSON"],
)
def test_a_request_goes_from_a_logged_command_and_the_command_stays(words: tuple[str, ...]) -> None:
    bare = command(*words)
    assert bare is not None
    assert "@in_clear" not in bare
    assert "trigger" in bare
    assert [command(*words, lead_id=other) for other in ("qq", "q", "7")] == [None] * 3


def test_what_cannot_be_read_and_names_the_lead_goes_where_it_is_ours() -> None:
    cut = json.dumps({"conf": BODY})[:-5]
    deep = "[" * 5000 + cut
    for extra in (cut, deep):
        assert without(extra, "qq7", of_ours=True) == '{"erased": true}'
        assert without(extra, "qq", of_ours=True) is None
        assert without(extra, "qq7", of_ours=False) is None


HOSTILE = {
    "backslashes": "\\" * MUCH,
    "names": '"lead_id": ' * (MUCH // 11),
    "escaped names": '\\"lead_id\\": ' * (MUCH // 13),
    "ids": "qq7" * (MUCH // 3),
    "short ids": "7" * MUCH,
    "braces": "lead_id qq7" + "{" * MUCH,
    "brackets": "lead_id qq7" + "[" * MUCH,
    "quotes": "lead_id qq7" + "\"'" * (MUCH // 2),
    "digits": "lead_id qq7[" + "1" * MUCH,
    "numbers": "lead_id qq7 [" + "1," * (MUCH // 2),
    "minus": "lead_id qq7 [" + "-" * MUCH,
    "objects": "lead_id qq7 " + '{"lead_id":' * (MUCH // 11),
}
SCRIPT = """
import json, resource, sys
from leadcast.engine.seal.logged_requests import without
resource.setrlimit(resource.RLIMIT_CPU, ({cpu_s}, {cpu_s}))
text = sys.stdin.read()
request = {{"lead_id": "zz9", "settings": text, "all": ["lead_id" + text[:1000]] * 500}}
for extra in (text, json.dumps({{"conf": request}}), json.dumps({{"full_command": text}})):
    for lead_id in ("qq7", "7", "q"):
        for by_command in (False, True):
            without(extra, lead_id, of_ours=True, by_command=by_command)
print("done")
"""


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_megabyte_of_its_worst_is_walked_over_once(text: str) -> None:
    script = SCRIPT.format(cpu_s=CPU_S)
    run = subprocess.run([sys.executable, "-c", script], input=text, capture_output=True, text=True, check=False)
    assert run.stdout == "done\n", run.stderr[-500:]
