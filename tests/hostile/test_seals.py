"""Whoever has read a sealed text has nothing: it opens for what it was sealed for, and nowhere else."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from cryptography.fernet import Fernet
from sqlalchemy import insert, select, update

from leadcast.core.clock import utc_now
from leadcast.core.errors import SettingsError
from leadcast.core.request_errors import InvalidRequest
from leadcast.core.settings import Settings
from leadcast.engine.seal.audited_seals import _bare
from leadcast.engine.seal.conf_guard import checked
from leadcast.engine.seal.sealed_conf import by_caller, of_run, open_conf, seal_conf, table_lead
from leadcast.flow.deliver.admit import Admission
from leadcast.flow.inbox import Inbox
from leadcast.flow.request import validate
from leadcast.integrations import registry
from leadcast.store.accounts.tokens import StoredTokens
from leadcast.store.batches import ledger
from leadcast.store.database import Store
from leadcast.store.schema import batches, deliveries, oauth_tokens
from leadcast.store.sealing import Purpose, Sealer, callback_url_of, credentials_of, tokens_of
from leadcast.store.upkeep import rotation
from leadcast.store.upkeep.rotation import PLACES
from tests.api.conftest import BODY, BOT_TOKEN
from tests.support.seals import content, inside, unbound

PURPOSES: list[Purpose] = [
    credentials_of("b-0"),
    credentials_of("b-1"),
    callback_url_of("b-0"),
    callback_url_of("b"),
    tokens_of("b-0"),
    by_caller("b-0"),
    by_caller("anna"),
    of_run("b-0"),
    of_run("anna"),
    of_run("b-0", caller="boris"),
]
TELEGRAM = {"telegram": {"bot_token": BOT_TOKEN, "chat_id": "@sales"}}


@pytest.fixture
def sealer(fernet_key: str) -> Sealer:
    return Sealer(fernet_key)


@pytest.mark.parametrize("sealed_for", PURPOSES, ids=str)
@pytest.mark.parametrize("opened_for", PURPOSES, ids=str)
def test_a_seal_opens_for_what_it_is_for_and_for_nothing_else(
    sealer: Sealer, sealed_for: Purpose, opened_for: Purpose
) -> None:
    sealed = sealer.seal({"token": "x"}, for_=sealed_for)
    if opened_for.items() <= sealed_for.items():
        assert sealer.open(sealed, for_=opened_for) == {"token": "x"}
    else:
        with pytest.raises(SettingsError, match="cannot be opened"):
            sealer.open(sealed, for_=opened_for)


@pytest.mark.parametrize("nobody", [{}, by_caller(None), by_caller("")], ids=str)
def test_nobody_in_particular_is_nobody(sealer: Sealer, nobody: Purpose) -> None:
    with pytest.raises(TypeError, match="for something"):
        sealer.seal({}, for_=nobody)
    for sealed in (sealer.seal({}, for_=of_run("r")), sealer.seal({}, for_=by_caller("anna"))):
        with pytest.raises(SettingsError):
            sealer.open(sealed, for_=nobody)


def test_why_it_does_not_open_is_not_told(sealer: Sealer) -> None:
    another_key = Sealer(Fernet.generate_key().decode()).seal({}, for_=by_caller("anna"))
    another_user, older = sealer.seal({}, for_=by_caller("boris")), sealer._first.encrypt(b"{}").decode()
    said = set()
    for text in (another_key, another_user, older, "gAAAA", ""):
        with pytest.raises(InvalidRequest) as caught:
            checked(BODY | {"credentials": {"sealed": text}}, sealer, caller="anna")
        said.add((str(caught.value), str(caught.value.errors)))
    assert len(said) == 1


def of_a_run(sealer: Sealer, *, caller: str | None) -> dict[str, Any]:
    """What anybody who may look reads in a run's conf."""
    return seal_conf(BODY, sealer, for_=of_run("run-1", caller=caller))


def test_a_runs_conf_is_used_again_by_who_sent_it_and_by_nobody_else(sealer: Sealer) -> None:
    read = of_a_run(sealer, caller="anna") | {"lead_id": "another"}
    again = checked(read, sealer, caller="anna")
    assert open_conf(again, sealer, for_=by_caller("anna"))["credentials"] == BODY["credentials"]
    for other in ("boris", "Anna", "anna ", "", None, "run-1"):
        with pytest.raises(InvalidRequest, match="anew"):
            checked(read, sealer, caller=other)


@pytest.mark.parametrize("caller", ["anna", "", None, "None"])
def test_what_no_user_has_brought_is_used_again_by_nobody(sealer: Sealer, caller: str | None) -> None:
    with pytest.raises(InvalidRequest):
        checked(of_a_run(sealer, caller=None), sealer, caller=caller)


def test_a_runs_conf_is_planned_in_that_run_alone(sealer: Sealer) -> None:
    for conf in (of_a_run(sealer, caller="anna"), of_a_run(sealer, caller=None)):
        assert open_conf(conf, sealer, for_=of_run("run-1"))["credentials"] == BODY["credentials"]
        for opener in (open_conf, table_lead):
            with pytest.raises(InvalidRequest):
                opener(conf, sealer, for_=of_run("run-2"))


def test_the_copy_in_the_audit_log_is_its_users_alone(sealer: Sealer) -> None:
    """It is what the guard hands to Airflow: sealed before there is a run."""
    logged = checked(BODY, sealer, caller="anna")
    with pytest.raises(InvalidRequest):
        checked(logged, sealer, caller="boris")
    with pytest.raises(InvalidRequest):
        open_conf(logged, sealer, for_=of_run("run-1"))


def test_send_batch_takes_no_seal_at_all(sealer: Sealer) -> None:
    for conf in (of_a_run(sealer, caller="anna"), checked(BODY, sealer, caller="anna")):
        with pytest.raises(InvalidRequest, match="sealed"):
            validate(conf)


def test_a_seal_of_the_store_is_no_conf(sealer: Sealer) -> None:
    for for_ in (credentials_of("b-0"), callback_url_of("b"), tokens_of("anna")):
        conf = BODY | {"credentials": {"sealed": sealer.seal({"credentials": TELEGRAM}, for_=for_)}}
        with pytest.raises(InvalidRequest):
            checked(conf, sealer, caller="anna")


@pytest.mark.parametrize("accepts_unbound", [True, False])
def test_what_an_older_version_has_sealed_is_planned_until_the_cut_off_and_opens_no_door(
    fernet_key: str, accepts_unbound: bool
) -> None:
    sealer = Sealer(fernet_key, accepts_unbound=accepts_unbound)
    old = BODY | {"credentials": {"sealed": unbound({"credentials": TELEGRAM}, key=fernet_key)}}
    with pytest.raises(InvalidRequest):
        checked(old, sealer, caller="anna")
    if accepts_unbound:
        assert open_conf(old, sealer, for_=of_run("run-1"))["credentials"] == TELEGRAM
    else:
        with pytest.raises(InvalidRequest):
            open_conf(old, sealer, for_=of_run("run-1"))


# of the store


@pytest.fixture
def two(store: Store) -> list[str]:
    """Two batches of two deliveries, with credentials and a callback URL each."""
    inbox = Inbox(store, Settings())
    body = {"lead": {}, "integrations": [{"type": "telegram"}] * 2, "credentials": TELEGRAM}
    return [
        inbox.accept(body | {"lead_id": name, "callback_url": f"https://{name}.example/"}).batch_id
        for name in ("anna", "boris")
    ]


def opened(store: Store, delivery_id: str) -> Any:
    """The credentials that a delivery would go out with."""
    taken: list[Any] = []

    class AskedError(Exception):
        pass

    def accounts(integration: Any, inline: Any) -> Any:
        taken.append(inline)
        raise AskedError

    with store.begin() as connection:
        due = ledger.due(connection, delivery_id, now=utc_now())
    assert due is not None
    at = Admission(store=store, settings=Settings(), accounts=accounts, hide=lambda _: None)
    with pytest.raises(AskedError):
        at.route(due, registry.get("telegram"))
    return taken.pop()


@pytest.mark.store
@pytest.mark.parametrize("source", ["another batch", "its neighbour", "the callback URL", "a token", "a connection"])
def test_a_seal_put_into_another_delivery_sends_nothing(
    store: Store, two: list[str], fernet_key: str, source: str
) -> None:
    of_anna, column = f"{two[0]}-0", deliveries.c.credentials_sealed
    with store.begin() as connection:
        of_boris = f"{two[1]}-0"
        assert opened(store, of_boris) == TELEGRAM["telegram"]
        stolen = {
            "another batch": connection.execute(select(column).where(deliveries.c.id == of_anna)).scalar_one(),
            "its neighbour": connection.execute(select(column).where(deliveries.c.id == f"{two[1]}-1")).scalar_one(),
            "the callback URL": connection.execute(
                select(batches.c.callback_url_sealed).where(batches.c.id == two[1])
            ).scalar_one(),
            "a token": store.sealer.seal(TELEGRAM["telegram"], for_=tokens_of(of_boris)),
            # Airflow seals the extra of its connections with the same key
            "a connection": unbound(TELEGRAM["telegram"], key=fernet_key),
        }[source]
        connection.execute(update(deliveries).where(deliveries.c.id == of_boris).values(credentials_sealed=stolen))
    with pytest.raises(SettingsError, match="cannot be opened"):
        opened(store, of_boris)


@pytest.mark.store
def test_tokens_put_to_another_account_are_not_used(store: Store) -> None:
    sealed = store.sealer.seal({"access": "a", "refresh": "r"}, for_=tokens_of("anna"))
    with store.begin() as connection:
        connection.execute(insert(oauth_tokens), [{"account": name, "sealed": sealed} for name in ("anna", "boris")])
    tokens = StoredTokens(store)
    assert tokens.current("anna") is not None
    with pytest.raises(SettingsError):
        tokens.current("boris")


@pytest.mark.store
def test_after_rotate_keys_nothing_unbound_is_left_and_nothing_opens_elsewhere(
    store: Store, two: list[str], fernet_key: str
) -> None:
    """What an older version has left, and what it goes on writing until its last process is restarted."""
    with store.begin() as connection:
        for place in PLACES[:2]:
            for key, sealed in connection.execute(select(place.key, place.column)).all():
                old = unbound(inside(sealed, key=fernet_key), key=fernet_key)
                connection.execute(update(place.key.table).where(place.key == key).values({place.column: old}))
        connection.execute(
            insert(oauth_tokens).values(account="a", sealed=unbound({"access": "a", "refresh": "r"}, key=fernet_key))
        )
    accepting = Store(store.engine, Sealer(fernet_key, accepts_unbound=True))
    refusing = Store(store.engine, Sealer(fernet_key))
    assert opened(accepting, f"{two[0]}-0") == TELEGRAM["telegram"]
    assert sum(tally.lost for tally in rotation.reseal(refusing, advance=lambda _: None)) == 7, "not bound by the way"

    done = rotation.reseal(accepting, advance=lambda _: None)
    assert [(tally.resealed, tally.already, tally.lost) for tally in done] == [(4, 0, 0), (2, 0, 0), (1, 0, 0)]
    with store.begin() as connection:
        for place in PLACES:
            for key, sealed in connection.execute(select(place.key, place.column)).all():
                assert content(sealed, key=fernet_key)["for"] == place.for_(key)
    assert opened(refusing, f"{two[0]}-0") == TELEGRAM["telegram"]
    assert StoredTokens(refusing).current("a") is not None


@pytest.mark.store
def test_a_seal_that_lies_in_another_row_is_not_made_at_home_there(
    store: Store, two: list[str], fernet_key: str
) -> None:
    with store.begin() as connection:
        stolen = connection.execute(
            select(deliveries.c.credentials_sealed).where(deliveries.c.id == f"{two[0]}-0")
        ).scalar_one()
        connection.execute(update(deliveries).where(deliveries.c.id == f"{two[1]}-0").values(credentials_sealed=stolen))
    for keys in (fernet_key, f"{Fernet.generate_key().decode()},{fernet_key}"):
        rotating = Sealer(keys, accepts_unbound=True)
        done = rotation.reseal(Store(store.engine, rotating), advance=lambda _: None)
        assert done[0].lost == 1


# of the audit log


def logged(conf: Any) -> str:
    return json.dumps({"logical_date": None, "conf": conf, "method": "POST"})


def commanded(conf: Any) -> str:
    words = ["airflow", "dags", "trigger", "send_lead", f"--conf={json.dumps(conf)}", "-e", "it's {"]
    return json.dumps({"host_name": "h", "full_command": str(words)})


def wrapped(conf: Any) -> str:
    return json.dumps({"actions": [{"entities": [{"conf": conf}, {"conf": {"lead_id": 1}}]}]})


def noted(conf: Any) -> str:
    return json.dumps({"note": f"was: {json.dumps(conf)}", "method": "PATCH"})


def handed_on(conf: Any) -> str:
    return json.dumps({"conf": {"payload": json.dumps({"conf": json.dumps(conf)})}})


@pytest.mark.parametrize("row", [logged, commanded, wrapped, noted, handed_on])
def test_what_is_not_current_is_taken_out_of_the_audit_log(row: Callable[[Any], str], fernet_key: str) -> None:
    old, new = Sealer(fernet_key), Fernet.generate_key().decode()
    rotating = Sealer(f"{new},{fernet_key}")
    conf = checked(BODY, old, caller="anna")
    older = conf | {"credentials": {"sealed": unbound({"credentials": TELEGRAM}, key=new)}}
    for stale in (conf, older):
        bare, kept, taken = _bare(row(stale), rotating.is_current)
        assert (kept, taken) == (0, 1)
        assert "gAAAA" not in bare
        assert json.loads(bare).keys() == json.loads(row(stale)).keys()
        assert "lead_id" in bare, "what was done is left"
        assert _bare(bare, rotating.is_current) == (bare, 0, 0), "again changes nothing"
    current = row(checked(BODY, rotating, caller="anna"))
    assert _bare(current, rotating.is_current) == (current, 1, 0)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "no JSON with gAAAA",
        '{"sealed": "gAAAAB"}',
        '{"full_command": "gAAAA"}',
        '{"full_command": ["gAAAA"]}',
        '{"full_command": "' + "[" * 100_000 + '"}',
        "[" * 100_000,
        '{"a":' * 100_000,
        "\\" * 100_000 + "{gAAAA",
    ],
    ids=lambda text: text[:24],
)
def test_what_else_a_caller_has_had_logged_is_left_as_it_is(text: str, sealer: Sealer) -> None:
    assert _bare(text, sealer.is_current) == (text, 0, 0)
