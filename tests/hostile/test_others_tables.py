"""What looks at rows as they are written looks at Airflow's alone: a DAG or a plugin may write into a database of its
own, in the same process, and have tables of the same names there."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy import create_engine, event, select
from sqlalchemy.orm import DeclarativeBase, Mapped, Mapper, Session, mapped_column

from leadcast.engine.seal import conf_guard, shown_rows


class Base(DeclarativeBase):
    pass


class Visit(Base):
    __tablename__ = "log"
    id: Mapped[int] = mapped_column(primary_key=True)
    page: Mapped[str]


class Training(Base):
    __tablename__ = "dag_run"
    id: Mapped[int] = mapped_column(primary_key=True)
    note: Mapped[str]


@pytest.fixture
def watched() -> Iterator[None]:
    was_watched = event.contains(Mapper, "init", shown_rows._as_made)
    conf_guard.watch()
    shown_rows.watch()
    yield
    if not was_watched:
        event.remove(Mapper, "before_insert", shown_rows._before_insert)
        event.remove(Mapper, "init", shown_rows._as_made)
        for moment in ("before_insert", "before_update"):
            event.remove(Mapper, moment, conf_guard._before_write)


def test_rows_of_others_with_airflows_names_are_written_as_they_are(watched: None) -> None:
    engine = create_engine("sqlite://")
    Base.metadata.create_all(engine)
    with Session(engine) as session:
        session.add_all([Visit(page="/prices"), Training(note="first")])
        session.commit()
        training = session.scalars(select(Training)).one()
        training.note = "second"
        session.commit()
        assert session.scalars(select(Visit.page)).one() == "/prices"
        assert training.note == "second"
