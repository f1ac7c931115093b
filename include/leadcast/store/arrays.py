"""Many rows in one statement, which is the same however many they are: an array for each column."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import cast, column, func
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.sql.selectable import TableValuedAlias
from sqlalchemy.types import TypeEngine


def table_of(**columns: tuple[type[TypeEngine[Any]] | TypeEngine[Any], Sequence[Any]]) -> TableValuedAlias:
    """A table of these columns, each with its type and its values, to be joined with or to update from."""
    arrays = [cast(list(values), ARRAY(kind)) for kind, values in columns.values()]
    listed = [column(name, kind) for name, (kind, _) in columns.items()]
    return func.unnest(*arrays).table_valued(*listed).render_derived()
