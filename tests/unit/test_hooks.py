"""Which moments may have hooks is known without running the user's code; a wrong no would lose a hook."""

from __future__ import annotations

from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from leadcast.engine import hooks
from leadcast.store.told import Moment

ALL = set(Moment)


@pytest.mark.parametrize(
    ("source", "there"),
    [
        ("def then(batch): ...", {Moment.THEN}),
        ("def catch(batch, reason): ...\ndef finally_(batch): ...", {Moment.CATCH, Moment.FINALLY}),
        ("from mine import tell as then", {Moment.THEN}),
        ("finally_ = lambda batch: None", {Moment.FINALLY}),
        ("globals()['catch'] = print", {Moment.CATCH}),
        ("from mine import *", ALL),
        ("from mine import\\\n  *", {Moment.THEN, Moment.CATCH, Moment.FINALLY}),
        ("def __getattr__(name): ...", ALL),
        ("try: pass\nfinally: pass", set()),
        ("raise RuntimeError('it is not run')", set()),
        ("", set()),
    ],
)
def test_a_file_has_hooks_where_it_may_name_them(tmp_path: Path, source: str, there: set[Moment]) -> None:
    path = tmp_path / "hooks.py"
    path.write_text(source)
    assert hooks.moments(hooks_file=str(path)) == there


def test_a_file_that_cannot_be_read_here_may_have_all_of_them(tmp_path: Path) -> None:
    assert hooks.moments(hooks_file=str(tmp_path / "hooks.py")) == ALL


def test_without_a_file_there_are_those_that_distributions_name(monkeypatch: pytest.MonkeyPatch) -> None:
    named = [EntryPoint("then.crm", "no_such_module:tell", hooks.GROUP), EntryPoint("finally", "other:x", hooks.GROUP)]
    monkeypatch.setattr(hooks, "entry_points", lambda *, group: named)
    hooks._installed.cache_clear()
    assert hooks.moments(hooks_file="") == {Moment.THEN, Moment.FINALLY}
    monkeypatch.undo()
    hooks._installed.cache_clear()
    assert hooks.moments(hooks_file="") == set()
