"""Which moments may have hooks is known without running the user's code; a wrong no would lose a hook."""

from __future__ import annotations

from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from leadcast.engine.tell import hooks
from leadcast.flow.told import Moment

ALL = set(Moment)
PLAIN = """
import logging
from mine import tell

log = logging.getLogger(__name__)
HOST: str = tell.HOST
A, (B, *C) = 1, (2, 3)

class Told(Exception):
    pass

def catch(batch, reason):
    log.error(reason)
    tell(batch)
"""


@pytest.mark.parametrize(
    ("source", "there"),
    [
        ("def then(batch): ...", {Moment.THEN}),
        ("def catch(batch, reason): ...\ndef finally_(batch): ...", {Moment.CATCH, Moment.FINALLY}),
        ("from mine import tell as then", {Moment.THEN}),
        ("finally_ = lambda batch: None", {Moment.FINALLY}),
        ("import mine\nglobals().update(vars(mine))", ALL),
        ("exec(open('mine.py').read())", ALL),
        ("import sys, mine\nsetattr(mine.this, 'th' + 'en', print)", ALL),
        ("import mine\nmine.install()", ALL),
        ("import mine\n@mine.hook\ndef on_lead(batch): ...", ALL),
        ("import mine\nmine.names['x'] = print", ALL),
        ("import mine\nwith mine.hooks(): pass", ALL),
        ("try:\n    from mine import *\nexcept ImportError:\n    pass", ALL),
        ("import mine\nif mine.READY:\n    mine.install()", ALL),
        ("def on_lead(batch): ...\nhere = on_lead.__globals__", ALL),
        ("not Python", ALL),
        ("x = 'a\0b'", ALL),
        ("# coding: no-such-code\n", ALL),
        ("def \uff54hen(batch): ...", {Moment.THEN}),
        (PLAIN, {Moment.CATCH}),
        (
            "try:\n    import mine\nexcept ImportError:\n    mine = None\nif mine:\n    from mine import then",
            {Moment.THEN},
        ),
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
    path.write_text(source, encoding="utf-8")
    assert hooks.moments(hooks_file=str(path)) == there


def test_a_file_that_cannot_be_read_here_may_have_all_of_them(tmp_path: Path) -> None:
    assert hooks.moments(hooks_file=str(tmp_path / "hooks.py")) == ALL


def test_what_is_no_source_may_have_all_of_them(tmp_path: Path) -> None:
    path = tmp_path / "hooks.pyc"
    path.write_bytes(b"")
    assert hooks.moments(hooks_file=str(path)) == ALL


def test_what_is_read_as_having_none_has_none_when_it_is_loaded(tmp_path: Path) -> None:
    path = tmp_path / "hooks.py"
    path.write_text(PLAIN.replace("from mine import tell", "import logging as tell").replace("tell.HOST", "''"))
    for moment in ALL - set(hooks.moments(hooks_file=str(path))):
        assert list(hooks.registered(moment, hooks_file=str(path))) == []


def test_without_a_file_there_are_those_that_distributions_name(monkeypatch: pytest.MonkeyPatch) -> None:
    named = [EntryPoint("then.crm", "no_such_module:tell", hooks.GROUP), EntryPoint("finally", "other:x", hooks.GROUP)]
    monkeypatch.setattr(hooks, "entry_points", lambda *, group: named)
    hooks._installed.cache_clear()
    assert hooks.moments(hooks_file="") == {Moment.THEN, Moment.FINALLY}
    monkeypatch.undo()
    hooks._installed.cache_clear()
    assert hooks.moments(hooks_file="") == set()
