"""What the API answers when a lead is to be erased: what is gone, what is left and why, and what is not ours."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from pydantic import Field

from leadcast.api.answers import Answer, Utc
from leadcast.control.erase import Report
from leadcast.core.settings import Settings

_AGAIN = "ask for the erasure again by DELETE, which takes what was sent since, too."
_SENDING = "It is just being sent. It is erased in the moment that ends."
_RUN = f"The DAG prune, or leadcast prune, deletes it when it has ended; or {_AGAIN}"
_NOT_LOOKED_FOR = (
    "Runs of send_lead that were triggered with this lead: they could not all be looked for. The DAG prune does, or "
    f"leadcast prune; or {_AGAIN}"
)
_AUDIT_LOG = (
    "Rows of Airflow's audit log in which a request for this lead may stand: they could not all be looked at in time. "
    f"Run leadcast prune where Airflow's database can be reached, or {_AGAIN}"
)
_IDS_ONLY = (
    "Airflow's logs, XComs and task labels of Leadcast's DAGs, and the record of this: the lead's id, and nothing else "
    "of it. Logs also say why an attempt failed: the address that it went to, and a service's words without what they "
    "repeat of the lead."
)
_OTHER_DAGS = (
    "DAGs of your own that handle this lead, say to trigger send_lead: the conf of their runs, their rendered fields, "
    "XComs and task logs. They were not looked for."
)
_MISTAKEN = (
    "Notes that people wrote on runs, and rows of Airflow's audit log in which a request stands without its lead_id, "
    "or for an endpoint that takes none. They were not looked for."
)
_OTHERS = (
    "Runs, and rows of Airflow's audit log, in which others than {user} have asked for this lead to be sent. They were "
    "not looked for; whoever may erase everybody's leads erases them with the same call."
)
_BACKUPS = (
    "Backups of both databases, tables that airflow db clean has kept what it deletes in (without --skip-archive), and "
    "what PostgreSQL keeps of deleted rows until its next vacuum."
)


class Left(Answer):
    """Something that holds the lead still, or may. `kind`: batch, run or audit_log; id null: it is not known which."""

    kind: str
    id: str | None
    why: str


class ErasedAnswer(Answer):
    """How the erasure of a lead stands."""

    lead_id: str
    done: bool = Field(description="Nothing is left but ids, of what Leadcast looks for; `elsewhere` names the rest.")
    asked_at: Utc = Field(
        description="When it was asked for; where more has come since and was asked for, when that was."
    )
    asked_by: str
    done_at: Utc | None
    erased: dict[str, int] = Field(description="What held something of the lead: kind → how many, in all.")
    left: list[Left] = Field(description="What holds it still. It goes by itself where `why` says so.")
    elsewhere: list[str] = Field(description="Where else the lead may be, that Leadcast cannot erase.")

    @classmethod
    def of(cls, report: Report, settings: Settings, *, refusals: Mapping[str, str]) -> ErasedAnswer:
        """The answer to whoever has a lead erased, or looks how far that is.

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
    if report.erasure.audit_log_left:
        yield Left(kind="audit_log", id=None, why=_AUDIT_LOG)


def _elsewhere(report: Report, settings: Settings) -> Iterator[str]:
    if report.sent_to:
        yield f"Where it was sent to: {', '.join(report.sent_to)}."
    if settings.leads_conn_id:
        yield f"Your own lead table, by the connection {settings.leads_conn_id}."
    yield _IDS_ONLY
    yield _OTHER_DAGS
    yield _MISTAKEN
    if report.erasure.reach.only_of is not None:
        yield _OTHERS.format(user=report.erasure.reach.only_of)
    yield _BACKUPS
