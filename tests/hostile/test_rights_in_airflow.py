"""Rights on everybody's leads, as Airflow's own auth managers are asked for them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from fastapi import HTTPException

from leadcast.api.caller import Caller, OverAll

ROLES = ("viewer", "user", "op", "admin")


class Stranger:
    """An auth manager that we do not know: it has been told who may do what to our resource."""

    def is_authorized_custom_view(self, *, method: str, resource_name: str, user: Any) -> bool:
        return (method, resource_name) in user.granted


def caller(monkeypatch: pytest.MonkeyPatch, manager: object, user: object) -> Caller:
    """Who is let in, as our dependency makes him; the rights on the DAG are not asked for here."""
    from leadcast.api import access

    for name in ("refuse_who_may_not_look", "refuse_who_may_not_trigger"):
        monkeypatch.setattr(access, name, lambda request, user: None)
    monkeypatch.setattr(access, "get_auth_manager", lambda: manager)
    request = SimpleNamespace(method="GET", headers={}, cookies={}, state=SimpleNamespace())
    access.admit(request, user)  # type: ignore[arg-type]  # what it looks at
    found: Caller = request.state.leadcast_caller
    return found


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("is_subclass", [False, True])
def test_the_simple_one_gives_everybodys_leads_to_those_who_may_change_connections(
    monkeypatch: pytest.MonkeyPatch, role: str, is_subclass: bool
) -> None:
    from airflow.api_fastapi.auth.managers.simple.simple_auth_manager import SimpleAuthManager
    from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser

    manager = type("Theirs", (SimpleAuthManager,), {})() if is_subclass else SimpleAuthManager()  # type: ignore[no-untyped-call]  # Airflow's
    user = SimpleAuthManagerUser(username="ann", role=role)
    assert manager.is_authorized_custom_view(method="DELETE", resource_name="Leadcast leads", user=user), "to everybody"
    ann = caller(monkeypatch, manager, user)
    assert {right for right in OverAll if ann.may(right)} == (set(OverAll) if role in ("op", "admin") else set())
    assert ann.sees("ann")
    assert ann.sees("bob") == ann.sees(None) == (role in ("op", "admin"))


@pytest.mark.parametrize("right", OverAll)
def test_any_other_is_asked_for_our_resource_by_method(monkeypatch: pytest.MonkeyPatch, right: OverAll) -> None:
    user = SimpleNamespace(get_id=lambda: "5", get_name=lambda: "ann", granted={(right.value, "Leadcast leads")})
    ann = caller(monkeypatch, Stranger(), user)
    assert [other for other in OverAll if ann.may(other)] == [right]
    assert (ann.sees("bob"), ann.changes("bob")) == (right is OverAll.SEE, right is OverAll.CHANGE)


@pytest.mark.parametrize(
    ("granted", "method", "words"),
    [
        ((), "GET", "may not look on: that takes the right to read runs"),
        ((), "POST", "may not look on: that takes the right to read runs"),
        (("GET",), "POST", "may look on, not send: that takes the right to create runs"),
    ],
)
def test_who_lacks_a_right_on_the_dag_is_told_which(
    monkeypatch: pytest.MonkeyPatch, granted: tuple[str, ...], method: str, words: str
) -> None:
    from leadcast.api import access, airflow_user

    def asked(right: str) -> Any:
        def ask(request: object, user: object) -> None:
            if right not in granted:
                raise HTTPException(403, "Forbidden")

        return ask

    monkeypatch.setattr(airflow_user, "_may_read", asked("GET"))
    monkeypatch.setattr(airflow_user, "_may_trigger", asked("POST"))
    request = SimpleNamespace(method=method, headers={"Authorization": "Bearer t"}, cookies={}, state=SimpleNamespace())
    for refuse in (access.admit, *([airflow_user.refuse_who_may_not_trigger] if method == "POST" else [])):
        with pytest.raises(HTTPException) as refused:
            refuse(request, SimpleNamespace())  # type: ignore[arg-type]  # what it looks at
        assert refused.value.status_code == 403
        assert words in str(refused.value.detail)
        assert "FAB role Leadcast" in str(refused.value.detail)


@pytest.mark.parametrize("name", ["", "ann"])
def test_who_is_nobody_owns_nothing(name: str) -> None:
    ann = Caller(id="5", token="t", name=name)
    assert not ann.sees(None)
    assert not ann.sees("")
    assert ann.sees("ann") == (name == "ann")
    assert not Caller(id="5", token="t", name="ann", may_write=lambda: False).sees("ann"), "may not send any more"
