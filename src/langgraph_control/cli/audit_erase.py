"""``audit erase``: what was said goes; that it was done, and by whose leave, stays provable."""

from datetime import UTC, datetime, timedelta
from typing import Annotated, Final
from uuid import UUID

import typer

from langgraph_control.audit.asking.requests import RunActions
from langgraph_control.audit.connecting.connection import LedgerConnection
from langgraph_control.audit.keeping.erasure import Erased, ErasureScope, Selection, erase, refusal
from langgraph_control.audit.trail.keeping_sentences import places_text
from langgraph_control.cli.databases import Dsn, Local, database
from langgraph_control.cli.output import console, heading, pairs, some
from langgraph_control.cli.record import find_run
from langgraph_control.errors import OperationRefused
from langgraph_control.nodes.durations import seconds_of

__all__ = ["Comment", "DryRun", "erase_payloads", "span", "told_instead"]

Comment = Annotated[str, typer.Option(help="Why it may go; for the record.", show_default=False)]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would go, and change nothing.")]

KEY_BYTES: Final = 32
AGE_MAX: Final = timedelta(days=365_000)


def erase_payloads(
    run: Annotated[
        str | None, typer.Argument(metavar="RUN", help="A run's name (run_…), or its trigger.", show_default=False)
    ] = None,
    *,
    comment: Comment,
    action: Annotated[
        str | None, typer.Option(help="Only this action of the run, by its key's first digits.", show_default=False)
    ] = None,
    intent: Annotated[str | None, typer.Option(help="All runs of an intent.", show_default=False)] = None,
    target: Annotated[
        str | None, typer.Option(help="The calls about a record, in all runs.", show_default=False)
    ] = None,
    older_than: Annotated[
        str | None, typer.Option(metavar="TIME", help="All runs that were over by then: 400d.", show_default=False)
    ] = None,
    checkpoints: Annotated[
        bool, typer.Option("--checkpoints", help="LangGraph's checkpoints of their threads, too.")
    ] = False,
    dry_run: DryRun = False,
    dsn: Dsn = None,
    local: Local = False,
) -> None:
    """Erase arguments, records, inputs and results of runs that are done, on the admin's login.

    Proofs stay valid, and the erasure is on record. A run that goes on, an unsettled action and what is held are never
    erased. A repeat of an erased action is told that it was done, and is not done anew.
    """
    with database("admin", dsn=dsn, local=local) as place:
        chosen = _chosen(place.dsn, run=run, action=action, intent=intent, target=target, older_than=older_than)
        if checkpoints and chosen.scope in {ErasureScope.ACTION, ErasureScope.TARGET}:
            raise OperationRefused(
                "A thread's checkpoints hold its whole conversation.",
                todo="Give --checkpoints with a run, --intent or --older-than.",
                code="erase_checkpoints",
            )
        done = erase(place.dsn, chosen, comment=comment, told=told_instead(), checkpoints=checkpoints, dry_run=dry_run)
    _print(done, dry_run=dry_run, checkpoints=checkpoints)


def told_instead() -> bytes:
    """Return what repeats of an erased action get from now on, encoded as a result."""
    day = datetime.now(UTC).date().isoformat()
    from langgraph_control.nodes.results import encode  # with LangChain: half of a command's start

    return encode(f"This was done. Its result was erased on {day}, and it is not done again.")


def span(older_than: str) -> timedelta:
    """Return a span of time; one that is longer than anybody's record as the longest there is.

    Args:
        older_than: as given with ``--older-than``.

    Raises:
        ContractError: code ``contract_duration``: no span of time.
    """
    seconds = seconds_of(older_than, field="--older-than")
    return min(timedelta(seconds=min(seconds, AGE_MAX.total_seconds())), AGE_MAX)


def _chosen(
    dsn: str, *, run: str | None, action: str | None, intent: str | None, target: str | None, older_than: str | None
) -> Selection:
    given = [run, intent, target, older_than]
    if sum(one is not None for one in given) != 1 or (action is not None and run is None):
        raise OperationRefused(
            "It has to be said what is to be erased.",
            todo="Give a run (with --action for one action of it), or one of --intent, --target, --older-than.",
            code="erase_selection",
        )
    if intent is not None:
        return Selection(scope=ErasureScope.INTENT, name=intent)
    if target is not None:
        return Selection(scope=ErasureScope.TARGET, name=target)
    if older_than is not None:
        return Selection(scope=ErasureScope.AGE, older=span(older_than))
    with LedgerConnection(dsn) as connection:
        found = find_run(connection, run or "").run_id
        if action is None:
            return Selection(scope=ErasureScope.RUN, run_id=found)
        return Selection(scope=ErasureScope.ACTION, run_id=found, key=_key(connection, found, action))


def _key(connection: LedgerConnection, run_id: UUID, digits: str) -> bytes:
    """The key that these digits begin; a whole one also of an action that another run asked for first."""
    if len(digits) == 2 * KEY_BYTES:
        try:
            return bytes.fromhex(digits)
        except ValueError:
            raise refusal("unknown_action") from None
    rows = connection.ask(RunActions(run_id=run_id, only_open=False))
    fitting = [row.key for row in rows if digits and row.key.hex().startswith(digits)]
    if len(fitting) != 1:
        raise refusal("unknown_action")
    return fitting[0]


def _print(done: Erased, *, dry_run: bool, checkpoints: bool) -> None:
    out = console()
    said = "Would be erased" if dry_run else "Erased"
    heading(out, f"{said} of {some(done.runs, 'run')}: {places_text(done.counts)}.")
    rows = [("left", f"{some(done.left_out, 'run')} over, but open in part or held" if done.left_out else None)]
    if checkpoints:
        rows.append(("threads", f"the checkpoints of {done.threads}"))
        rows.append(("shared", f"{done.shared} threads stay: other runs are in them" if done.shared else None))
    if not dry_run and done.runs:
        rows.append(("on record as", str(done.erasure)))
    pairs(out, rows)
