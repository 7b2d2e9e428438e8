"""``show`` and ``runs``: reading the record."""

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated, Any, Final

import typer
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from langgraph_control.audit.connection import LedgerConnection
from langgraph_control.audit.entries import Entry
from langgraph_control.audit.names import run_id as id_of
from langgraph_control.audit.names import run_name
from langgraph_control.audit.reconstruct import Story, reconstruct
from langgraph_control.audit.requests import FindRun, NewestRuns, RunActions
from langgraph_control.audit.rows import RunRow
from langgraph_control.audit.sentences import Tone
from langgraph_control.audit.timeline import Line, timeline
from langgraph_control.cli.databases import Dsn, Local, database
from langgraph_control.cli.output import console, heading, indented, moment, pairs, print_json
from langgraph_control.errors import UnknownRun
from langgraph_control.graphs.run import run_of
from langgraph_control.guards.run_states import RunState

__all__ = ["Json", "find_run", "runs", "show", "unknown_run"]

STATE_STYLES: Final[Mapping[RunState, str]] = {
    RunState.DONE: "green",
    RunState.NEEDS_HUMAN: "red",
    RunState.BLOCKED: "red",
    RunState.RUNNING: "cyan",
}
TONE_STYLES: Final[Mapping[Tone, str]] = {
    Tone.PLAIN: "",
    Tone.GOOD: "green",
    Tone.WAITING: "yellow",
    Tone.BAD: "red",
}

RunArgument = Annotated[str, typer.Argument(metavar="RUN", help="A run's name (run_…), or its trigger.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def show(
    run: RunArgument,
    *,
    dsn: Dsn = None,
    local: Local = False,
    ids: Annotated[bool, typer.Option("--ids", help="Print keys, digests and attempts, too.")] = False,
    as_json: Json = False,
) -> None:
    """Print a run as a timeline.

    Who did what, when, why, and what came of it, from the recorded entries alone.
    """
    with database("auditor", dsn=dsn, local=local) as place, LedgerConnection(place.dsn) as connection:
        row = find_run(connection, run)
        story = reconstruct(Entry.of(entry) for entry in connection.entries(row.run_id))
        actions = connection.ask(RunActions(run_id=row.run_id))
    seen = run_of(row, actions=actions, questions={}, output=None)
    if as_json:
        print_json({"run": _run_json(row), "next_step": seen.next_step, "story": _story_json(story)})
        return
    out = console()
    heading(out, f"{run_name(row.run_id)}: {row.state}", style=STATE_STYLES.get(row.state, "yellow"))
    _print_header(out, row, story, next_step=seen.next_step)
    out.print()
    _print_timeline(out, timeline(story), ids=ids)


def runs(
    dsn: Dsn = None,
    local: Local = False,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="At most so many.")] = 20,
    as_json: Json = False,
) -> None:
    """List the newest runs."""
    with database("auditor", dsn=dsn, local=local) as place, LedgerConnection(place.dsn) as connection:
        rows = connection.ask(NewestRuns(limit=limit))
    if as_json:
        print_json([_run_json(row) for row in rows])
        return
    out = console()
    for row in rows:
        heading(out, f"{run_name(row.run_id)}: {row.state}", style=STATE_STYLES.get(row.state, "yellow"))
        why = f" · {row.reason}" if row.reason and row.reason != row.state else ""
        indented(out, f"{row.trigger} · {row.graph} · {row.actor} · {moment(row.started_at)}{why}")
    if not rows:
        out.print("There are no runs yet.")


def find_run(connection: LedgerConnection, run: str) -> RunRow:
    """Return the run that a name or a trigger stands for.

    Args:
        connection: of any login of the tenant.
        run: as typed.

    Raises:
        UnknownRun: there is none.
    """
    row = None
    with suppress(UnknownRun):  # not a name; perhaps a trigger
        row = connection.ask(FindRun(run_id=id_of(run)))
    row = row or connection.ask(FindRun(trigger=run))
    if row is None:
        raise unknown_run()
    return row


def unknown_run() -> UnknownRun:
    """Return the error that says that there is no such run."""
    return UnknownRun(
        "There is no such run for this login's tenant.", todo="List them: langgraph-control runs.", code="run_unknown"
    )


def _print_header(out: Console, row: RunRow, story: Story, *, next_step: str) -> None:
    if row.state is RunState.NEEDS_HUMAN:
        next_step = "look into the system of record: the program cannot tell what happened; the evidence is below"
    if row.state is RunState.RUNNING and row.lease_until is not None and row.lease_until <= datetime.now(UTC):
        next_step = f'control.resume("{run_name(row.run_id)}"): its worker is gone'
    actor = row.actor if row.on_behalf_of is None else f"{row.actor} for {row.on_behalf_of}"
    pairs(
        out,
        [
            ("trigger", row.trigger),
            ("intent", row.intent if row.intent != row.trigger else None),
            ("reason", row.reason),
            ("next", next_step),
            ("actor", actor),
            ("approved by", ", ".join(story.people)),
            ("graph", row.graph),
            ("thread", row.thread_id),
            ("workers", ", ".join(story.workers)),
            ("started", moment(row.started_at)),
            ("since", moment(row.state_since)),
            ("policy", ", ".join(story.policies)),
            ("deadline", moment(row.deadline)),
        ],
    )


def _print_timeline(out: Console, lines: tuple[Line, ...], *, ids: bool) -> None:
    grid = Table.grid(padding=(0, 1))
    grid.add_column(no_wrap=True, style="dim", width=8)
    grid.add_column(no_wrap=True, style="dim", justify="right")
    grid.add_column(overflow="fold")
    for line in lines:
        if line.day:
            grid.add_row("", "", Text(f"{line.day} UTC", style="dim"))
        grid.add_row(line.time, f"{line.seq}", Text(line.what, style=TONE_STYLES[line.tone]))
        for text, style in _below(line, ids=ids):
            grid.add_row("", "", Padding(Text(text, style=style, overflow="fold"), (0, 0, 0, 2)))
    out.print(grid)


def _below(line: Line, *, ids: bool) -> Iterator[tuple[str, str]]:
    if line.who:
        yield f"by {line.who}", ""
    yield from ((f"why: {reason}", "") for reason in line.why)
    if line.arguments:
        yield f"with {line.arguments}", "dim"
    if line.details:
        yield "; ".join(line.details), "dim"
    if ids:
        yield from ((named, "dim") for named in line.ids)


def _run_json(row: RunRow) -> dict[str, Any]:
    return {**asdict(row), "run_id": run_name(row.run_id)}


def _story_json(story: Story) -> dict[str, Any]:
    told = asdict(story)
    for step in told["steps"]:
        step["took_seconds"] = None if step["took"] is None else step["took"].total_seconds()
        del step["took"]
        for part in ("arguments", "details", "ids"):
            step[part] = dict(step[part])
    return told
