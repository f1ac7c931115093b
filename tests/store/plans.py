"""How PostgreSQL goes about the statements that the code really sends: each is explained just before it runs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, Engine, event

EXPLAINED = ("SELECT", "UPDATE", "DELETE", "INSERT", "WITH")


@dataclass
class Plans:
    """The plans of the statements that ran while they were watched: statement → its nodes."""

    engine: Engine
    counts: bool = False
    """Whether each is run for its plan, too, and undone, so that its nodes say how much they have read."""
    nodes: list[tuple[str, list[dict[str, Any]]]] = field(default_factory=list)

    @contextmanager
    def watched(self) -> Iterator[None]:
        event.listen(self.engine, "before_cursor_execute", self._explain)
        try:
            yield
        finally:
            event.remove(self.engine, "before_cursor_execute", self._explain)

    def read_whole(self) -> dict[str, list[str]]:
        """Table that was read from its first row to its last → the statements that did so."""
        found: dict[str, list[str]] = {}
        for statement, nodes in self.nodes:
            for node in nodes:
                if node["Node Type"] == "Seq Scan":
                    found.setdefault(node["Relation Name"], []).append(statement)
        return found

    def rows_read(self) -> int:
        """How many rows were looked at in tables and indexes, those that did not fit as well."""
        return sum(_rows_of(nodes) for _, nodes in self.nodes)

    def dear(self, *, above: int) -> dict[str, int]:
        """The statements that have looked at more rows than this → at how many."""
        return {statement: _rows_of(nodes) for statement, nodes in self.nodes if _rows_of(nodes) > above}

    def indexes(self) -> set[str]:
        """The indexes that were used."""
        return {node["Index Name"] for _, nodes in self.nodes for node in nodes if "Index Name" in node}

    def _explain(self, connection: Connection, cursor: Any, statement: str, parameters: Any, *_: object) -> None:
        if not statement.startswith(EXPLAINED):
            return
        with closing(connection.connection.cursor()) as own:
            own.execute("SAVEPOINT explained")
            own.execute(f"EXPLAIN (FORMAT JSON{', ANALYZE' if self.counts else ''}) {statement}", parameters)
            found = own.fetchone()
            own.execute("ROLLBACK TO SAVEPOINT explained; RELEASE SAVEPOINT explained")
            assert found is not None
            self.nodes.append((statement, list(_all(found[0][0]["Plan"]))))


def _all(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield node
    for child in node.get("Plans", []):
        yield from _all(child)


def _rows_of(nodes: list[dict[str, Any]]) -> int:
    return sum(_rows(node) for node in nodes if "Relation Name" in node)


def _rows(node: dict[str, Any]) -> int:
    removed = (count for name, count in node.items() if name.startswith("Rows Removed by"))
    return round(float((node["Actual Rows"] + sum(removed)) * node["Actual Loops"]))
