"""What the API answers when a lead is to be erased: what is gone, what is left and why, and what is not ours."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from pydantic import Field

from leadcast.api.answers import Answer, Utc
from leadcast.core.settings import Settings
from leadcast.erase import Report

_SENDING = "It is just being sent. It is erased in the moment that ends."
_RUN = "The DAG prune, or leadcast prune, deletes it when it has ended; or send this request again."
_NOT_LOOKED_FOR = (
    "Runs of send_lead that were triggered with this lead: they could not be looked for as this user. The DAG prune "
    "does, or leadcast prune; or send this request again as a user who may see and delete runs."
)
_IDS_ONLY = "Airflow's logs, XComs and task labels, and the record of this: the lead's id, and nothing else of it."
_BACKUPS = "Backups of both databases, and what PostgreSQL keeps of deleted rows until its next vacuum."


class Left(Answer):
    """Something that holds the lead still. `kind`: batch or run; id null: it is not known which."""

    kind: str
    id: str | None
    why: str


class ErasedAnswer(Answer):
    """How the erasure of a lead stands; asked for again, it is the same."""

    lead_id: str
    done: bool = Field(description="Nothing is left but ids.")
    asked_at: Utc = Field(description="When it was last asked for.")
    asked_by: str
    done_at: Utc | None
    erased: dict[str, int] = Field(description="What held something of the lead: kind → how many, in all.")
    left: list[Left] = Field(description="What holds it still. It goes by itself where `why` says so.")
    elsewhere: list[str] = Field(description="Where else the lead may be, that Leadcast cannot erase.")

    @classmethod
    def of(cls, report: Report, settings: Settings, *, refusals: Mapping[str, str]) -> ErasedAnswer:
        """The answer.

        Args:
            refusals: run id → why it could not be deleted.
        """
        erasure = report.erasure
        return cls(
            lead_id=erasure.lead_id,
            done=erasure.done_at is not None,
            asked_at=erasure.asked_at,
            asked_by=erasure.asked_by,
            done_at=erasure.done_at,
            erased=dict(sorted(erasure.erased.items())),
            left=list(_left(report, refusals)),
            elsewhere=list(_elsewhere(report, settings)),
        )


def _left(report: Report, refusals: Mapping[str, str]) -> Iterator[Left]:
    for batch_id in report.sending:
        yield Left(kind="batch", id=batch_id, why=_SENDING)
    runs = report.erasure.runs
    if runs is None:
        yield Left(kind="run", id=None, why=_NOT_LOOKED_FOR)
    for run_id in runs or ():
        yield Left(kind="run", id=run_id, why=" ".join(filter(None, (refusals.get(run_id), _RUN))))


def _elsewhere(report: Report, settings: Settings) -> Iterator[str]:
    if report.sent_to:
        yield f"Where it was sent to: {', '.join(report.sent_to)}."
    if settings.leads_conn_id:
        yield f"Your own lead table, by the connection {settings.leads_conn_id}."
    yield _IDS_ONLY
    yield _BACKUPS
