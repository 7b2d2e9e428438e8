"""Erasing what was said and dropping what is old, on the admin's login. What was done stays provable."""

import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import date, timedelta
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Final
from uuid import UUID

import orjson
import psycopg
from psycopg import sql

from langgraph_control.audit.connecting.database_errors import naming_errors, place
from langgraph_control.audit.connecting.failures import refused
from langgraph_control.audit.connecting.statements import statement
from langgraph_control.audit.names import run_name
from langgraph_control.audit.postgres.admin_session import AdminConnection, connect
from langgraph_control.audit.postgres.migrate import CHECKPOINT_SCHEMA
from langgraph_control.errors import OperationRefused, TrailUnavailable
from langgraph_control.guards.spoken_texts import RECORD_CHARS_MAX, check_comment, check_name

__all__ = ["REFUSALS", "Erased", "ErasureScope", "Month", "Selection", "erase", "refusal", "retain"]

RUNS_A_PART: Final = 100
MONTHS_MAX: Final = 10_000

REFUSALS: Final[Mapping[str, tuple[str, str]]] = MappingProxyType(
    {
        "unknown_run": ("There is no such run for this login's tenant.", "Look it up: langgraph-control runs."),
        "unknown_action": ("The run has no such action.", "See the run: langgraph-control show RUN --ids."),
        "open_run": (
            "A run that goes on, or shares its intent with one that does, is not erased",
            "Wait until it is done, or end it: langgraph-control cancel RUN.",
        ),
        "unsettled": (
            "Nobody knows what became of one of its actions, or somebody waits for it, so it is not erased",
            "Settle that first: langgraph-control resolve RUN.",
        ),
        "held": (
            "A legal hold stands on it, so it is not erased",
            "See it: langgraph-control audit hold list. Where it may go: langgraph-control audit hold lift HOLD.",
        ),
        "order": ("The chain goes back in time, so its beginning is not cut off", "Keep the month."),
        "unknown_hold": ("There is no such hold for this login's tenant.", "See: langgraph-control audit hold list."),
        "lifted": ("This hold is lifted already.", "See: langgraph-control audit hold list."),
    }
)
"""Why something was refused, by the stable word: what it means, and what to do."""


class ErasureScope(StrEnum):
    """What is erased together."""

    RUN = "run"  # everything a run was asked and said
    ACTION = "action"  # one action, in every run of its intent
    INTENT = "intent"  # all runs of an intent
    TARGET = "target"  # the calls about one record, in all runs
    AGE = "age"  # all runs that have been over for long enough


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """What is to be erased.

    Args:
        scope: what is erased together.
        run_id: of a run, or of an action's run.
        key: of an action.
        name: of an intent or target.
        older: by age: runs that have been over for so long by the ledger's clock.
    """

    scope: ErasureScope
    run_id: UUID | None = None
    key: bytes | None = None
    name: str | None = None
    older: timedelta | None = None


@dataclass(slots=True, kw_only=True)
class Erased:
    """What was erased, or would be.

    Args:
        erasure: the id under which the entries speak of it.
        runs: of so many runs.
        left_out: by age: so many runs that are over stay, since something of them is open or held.
        threads: so many threads' checkpoints.
        shared: so many threads' checkpoints stay, since other runs are in the same conversation.
        counts: how much, by place.
    """

    erasure: UUID = field(default_factory=uuid.uuid4)
    runs: int = 0
    left_out: int = 0
    threads: int = 0
    shared: int = 0
    counts: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Month:
    """A month of entries, dropped or kept.

    Args:
        month: its first day.
        kept_for: why it stays, a stable word; None where it was dropped.
        run_id: the run for whose sake.
        entries: that were dropped.
        runs: whose entries they were.
        whole_runs: of these, runs of which no entry is left.
        erased: what of these lay beside the trail, by place.
    """

    month: date
    kept_for: str | None
    run_id: UUID | None
    entries: int
    runs: int
    whole_runs: int
    erased: Mapping[str, int]


def erase(
    admin_dsn: str, chosen: Selection, *, comment: str, told: bytes, checkpoints: bool = False, dry_run: bool = False
) -> Erased:
    """Erase payloads, salts and what lies beside the trail in clear. Every proof stays valid; it is on record.

    What is named is erased all or none, in one transaction. By age it goes part by part, each a transaction of its own,
    and what is open or held stays.

    Args:
        admin_dsn: the admin login's.
        chosen: what to erase.
        comment: why, for the record.
        told: the encoded result that a repeat of a done action gets from now on.
        checkpoints: delete the checkpoints of these runs' threads, too.
        dry_run: find out what would be erased, and erase nothing.

    Raises:
        ArgumentError: the comment or the name can be none; the text says why. Nothing was sent.
        OperationRefused: something of it is open, unsettled or held; code and text say what. Nothing was erased.
        DatabaseRefused: this is not an admin's login.
        TrailUnavailable: the server broke off: by age, what was erased until then is on record, and else nothing was
            erased. Repeat it.
    """
    _check_comment(comment)
    check_name(chosen.name, at=chosen.scope, chars_max=RECORD_CHARS_MAX, needed=True)
    done = Erased()
    asked = {
        **asdict(chosen),
        "erasure": done.erasure,
        "limit": RUNS_A_PART,
        "checkpoints": checkpoints,
        "told": told,
        "comment": comment,
        "body": _body(comment),
    }
    with _session(admin_dsn) as connection:
        if chosen.scope is ErasureScope.AGE:
            _erase_parts(connection, asked, done, dry_run=dry_run)
        else:
            with connection.transaction(force_rollback=dry_run):
                _erase_parts(connection, asked, done, dry_run=False)
    return done


def _erase_parts(connection: AdminConnection, asked: Mapping[str, Any], done: Erased, *, dry_run: bool) -> None:
    after: UUID | None = None
    while True:
        with connection.transaction(force_rollback=dry_run):
            row = _one(connection, "erase", {**asked, "after": after})
            if row["refused"] is not None:
                raise refusal(row["refused"], run_id=row["run_id"])
            _delete_threads(connection, row["threads"])
        done.runs += row["runs"]
        done.left_out += row["left_out"]
        done.threads += len(row["threads"])
        done.shared += row["shared"]
        for name, count in row["counts"].items():
            done.counts[name] = done.counts.get(name, 0) + count
        after = row["last"]
        if after is None:
            return


def retain(admin_dsn: str, older: timedelta, *, comment: str, told: bytes, dry_run: bool = False) -> Iterator[Month]:
    """Drop whole months of entries that ended so long ago, oldest first, and yield each as it is done.

    A month stays where one of its runs goes on, is unsettled, or is held. The tenant's own chain and what signed
    checkpoints say stay for ever.

    Args:
        admin_dsn: the admin login's.
        older: how long entries are kept, by the ledger's clock, which dated them: this machine's decides nothing. The
            month that is stays in any case.
        comment: why, for the record.
        told: the encoded result that a repeat of a done action gets from now on.
        dry_run: find out what would be dropped, and drop nothing.

    Raises:
        ArgumentError: the comment is too long, or no text that can be kept.
        OperationRefused: there is no comment.
        DatabaseRefused: this is not an admin's login.
        TrailUnavailable: the server broke off; what was dropped until then is on record. Repeat it.
    """
    _check_comment(comment)
    after: date | None = None
    with _session(admin_dsn) as connection:
        for _ in range(MONTHS_MAX):
            parameters = {"older": older, "after": after, "told": told, "comment": comment, "body": _body(comment)}
            with connection.transaction(force_rollback=dry_run):
                row = _one(connection, "retain", parameters)
            if row["month"] is None:
                return
            after = row["month"]
            yield Month(
                month=row["month"],
                kept_for=row["kept_for"],
                run_id=row["run_id"],
                entries=row["entries"] or 0,
                runs=row["runs"] or 0,
                whole_runs=row["whole_runs"] or 0,
                erased=row["erased"] or {},
            )


def refusal(reason: str, *, run_id: UUID | None = None) -> OperationRefused:
    """Return the error for a refusal.

    Args:
        reason: the stable word.
        run_id: the run that stands against it.
    """
    what, todo = REFUSALS.get(reason, ("It was refused.", "Look at the run: langgraph-control show RUN."))
    return OperationRefused(f"{what}: {run_name(run_id)}." if run_id else what, todo=todo, code=reason)


@contextmanager
def _session(admin_dsn: str) -> Iterator[AdminConnection]:
    """Give a connection of the admin's login; what the server says of rights and connections is named."""
    try:
        with naming_errors(admin_dsn), connect(admin_dsn) as connection:
            try:
                yield connection
            except psycopg.errors.LockNotAvailable as error:
                raise TrailUnavailable(
                    f"Others use the entries all the time: {place(admin_dsn)}.",
                    safe="Nothing of this month was dropped.",
                    todo="Repeat it when there is less to do.",
                    code="entries_busy",
                ) from error
    except psycopg.Error as error:
        raise refused(error, admin_dsn) from error


def _one(connection: AdminConnection, name: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
    row = connection.execute(statement(name), parameters).fetchone()
    if row is None:
        raise TypeError(f"{name} answered nothing")
    return row


def _delete_threads(connection: AdminConnection, threads: list[str]) -> None:
    """Delete threads by LangGraph's own saver, within the caller's transaction, and of the login's own tenant only."""
    if not threads:
        return
    from langgraph.checkpoint.postgres import PostgresSaver  # half of a command's start; few commands need it

    # A superuser, or the tables' owner, is held by no row policy; the group is. The tenant is that of the login.
    connection.execute("SET LOCAL ROLE control_admin")
    connection.execute(sql.SQL("SET LOCAL search_path TO {}").format(sql.Identifier(CHECKPOINT_SCHEMA)))
    saver = PostgresSaver(connection)
    for thread in threads:
        saver.delete_thread(thread)
    connection.execute("RESET ROLE")


def _check_comment(comment: str) -> None:
    check_comment(comment)
    if not comment.strip():
        raise OperationRefused("A comment is required: why it may go.", todo="Give --comment.", code="comment_missing")


def _body(comment: str) -> bytes:
    return orjson.dumps({"comment": comment})
