"""``show``: reading the record of one run."""

import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict
from datetime import UTC, datetime
from textwrap import wrap
from typing import Annotated, Any, Final
from uuid import UUID

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from langgraph_control.audit.asking.questions import OpenQuestions
from langgraph_control.audit.asking.requests import FindRun, RunActions
from langgraph_control.audit.asking.rows import RunRow
from langgraph_control.audit.asking.sagas import RunSagas, SagaPart
from langgraph_control.audit.asking.searching import FindPolicies, PolicyText
from langgraph_control.audit.connecting.connection import LedgerConnection
from langgraph_control.audit.keeping.recorded_run import RecordedRun, recorded_run
from langgraph_control.audit.names import question_name, run_name
from langgraph_control.audit.names import run_id as id_of
from langgraph_control.audit.printable import printable
from langgraph_control.audit.trail.reconstruct import Story
from langgraph_control.audit.trail.timeline import Line, timeline
from langgraph_control.audit.trail.tones import Tone
from langgraph_control.cli.as_html import as_html
from langgraph_control.cli.as_markdown import as_markdown
from langgraph_control.cli.databases import Dsn, Local, database
from langgraph_control.cli.dossier import dossier, record_said
from langgraph_control.cli.output import console, heading, moment, pairs, print_error, print_json
from langgraph_control.errors import ArgumentError, ControlError, UnknownRun
from langgraph_control.graphs.run import run_of
from langgraph_control.guards.lifecycle import State
from langgraph_control.guards.routing import OBSERVE
from langgraph_control.guards.run_reasons import RunState, explained
from langgraph_control.guards.sagas import standing
from langgraph_control.guards.spoken_texts import RECORD_CHARS_MAX, check_name

__all__ = [
    "STATE_STYLES",
    "TAMPERED",
    "UNREACHABLE",
    "USAGE",
    "Json",
    "RunArgument",
    "find_run",
    "named_run",
    "run_json",
    "show",
    "unknown_run",
]

TAMPERED: Final = 1
USAGE: Final = 2
UNREACHABLE: Final = 3
"""Exit codes of what reads the record of a run."""

STATE_STYLES: Final[Mapping[str, str]] = {
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
    markdown: Annotated[bool, typer.Option("--markdown", help="Write a document in Markdown.")] = False,
    html: Annotated[
        bool, typer.Option("--html", help="Write a document as one HTML file, to print or to hand on.")
    ] = False,
) -> None:
    """Print a run as a timeline, or as a document.

    Who did what, when, why, and what came of it, from the recorded entries alone; whose turn it is, from the ledger's
    row. Exit code 1: what was recorded was tampered with, or the row says something else; 2: no such run; 3: it could
    not be read.
    """
    if [as_json, markdown, html].count(True) > 1:
        raise typer.BadParameter("Give one of --json, --markdown and --html.")
    try:
        with database("auditor", dsn=dsn, local=local) as place, LedgerConnection(place.dsn) as connection:
            run_id = named_run(connection, run)
            seen = recorded_run(connection, run_id)
            if seen is None:
                raise unknown_run()
            policies = connection.ask(FindPolicies(hashes=list(seen.story.policies)))
            actions = connection.ask(RunActions(run_id=run_id))
            sagas = connection.ask(RunSagas(run_id=run_id))
            asked = connection.ask(OpenQuestions(run_id=run_id))
    except ControlError as error:
        print_error(error)
        raise typer.Exit(USAGE if isinstance(error, UnknownRun | ArgumentError) else UNREACHABLE) from None
    if markdown or html:
        document = dossier(run_name(run_id), seen.told, seen.story, policies=policies, verified=seen.verified)
        sys.stdout.write(as_html(document) if html else as_markdown(document))
    else:
        questions = {question_name(one.question_id): one.question for one in asked}
        next_step = ""
        if seen.row is not None:
            next_step = run_of(seen.row, actions=actions, questions=questions, output=None).next_step
        if as_json:
            _print_json(seen, next_step, sagas, policies)
        else:
            _print(run_id, seen, next_step, sagas, ids=ids)
    if not seen.sound:
        raise typer.Exit(TAMPERED)


def named_run(connection: LedgerConnection, run: str) -> UUID:
    """Return the id of a run; a name counts even where the run's row is gone, for that is a finding.

    Args:
        connection: of any login of the tenant.
        run: as typed.

    Raises:
        ArgumentError: no run can be called that.
        UnknownRun: it is neither a name nor a trigger that there is.
    """
    try:
        return id_of(run)
    except UnknownRun:
        return find_run(connection, run).run_id


def find_run(connection: LedgerConnection, run: str) -> RunRow:
    """Return the run that a name or a trigger stands for.

    Args:
        connection: of any login of the tenant.
        run: as typed.

    Raises:
        ArgumentError: no run can be called that.
        UnknownRun: there is none.
    """
    check_name(run, at="run", chars_max=RECORD_CHARS_MAX)
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


def _print_json(
    seen: RecordedRun, next_step: str, sagas: tuple[SagaPart, ...], policies: tuple[PolicyText, ...]
) -> None:
    verified = seen.verified
    broken = None if verified.broken is None else str(verified.broken)
    print_json(
        {
            "run": None if seen.row is None else run_json(seen.row),
            "record": {"whole": verified.ok, "entries": verified.entries, "broken": broken},
            "differs": list(seen.differs),
            "next_step": next_step,
            "story": _story_json(seen.story),
            "rebuilt": asdict(seen.told),
            "sagas": [_part_json(part) for part in sagas],
            "policies": {policy.hash: policy.body for policy in policies},
        }
    )


def _print(run_id: UUID, seen: RecordedRun, next_step: str, sagas: tuple[SagaPart, ...], *, ids: bool) -> None:
    out, row = console(), seen.row
    state = seen.told.state or ("" if row is None else row.state)
    heading(out, f"{run_name(run_id)}: {state}", style=STATE_STYLES.get(state, "yellow"))
    for said in seen.differs:
        out.print(Text(f"DIFFERS from its entries: {printable(said)}", style="bold red"), soft_wrap=True)
    pairs(out, [*_whose(seen), *_standing(seen, next_step), *_recorded(seen)])
    _print_sagas(out, sagas)
    out.print()
    _print_timeline(out, timeline(seen.story), ids=ids)


def _whose(seen: RecordedRun) -> Iterator[tuple[str, str | None]]:
    """What its entries say; of what retention dropped, what the row says."""
    told, row = seen.told, seen.row
    trigger, intent, actor, behalf, graph, thread = (
        said or (None if row is None else getattr(row, name))
        for said, name in (
            (told.trigger, "trigger"),
            (told.intent, "intent"),
            (told.actor, "actor"),
            (told.on_behalf_of, "on_behalf_of"),
            (told.graph, "graph"),
            (told.thread, "thread_id"),
        )
    )
    yield "trigger", trigger
    yield "intent", intent if intent != trigger else None
    yield "actor", actor if behalf is None else f"{actor} for {behalf}"
    yield "approved by", ", ".join(seen.story.people)
    yield "graph", graph
    yield "thread", thread
    yield "workers", ", ".join(seen.story.workers)
    yield "policy", ", ".join(seen.story.policies)
    yield "OBSERVE", _observed(seen.story)


def _standing(seen: RecordedRun, next_step: str) -> Iterator[tuple[str, str | None]]:
    """Where it stands, and what is to be done: as the ledger's row has it."""
    row, reason = seen.row, seen.told.reason
    if row is None:
        yield "reason", reason
        return
    if row.state is RunState.RUNNING and row.lease_until is not None and row.lease_until <= datetime.now(UTC):
        next_step = f"langgraph-control resume {run_name(row.run_id)}: its worker is gone"
    yield "reason", row.reason
    yield "", explained(row.reason).says if row.reason else None
    yield "owner", row.owner
    yield "next", next_step
    yield "started", moment(row.started_at)
    yield "since", moment(row.state_since)
    yield "again", moment(row.wake_at)
    yield "deadline", moment(row.deadline)


def _recorded(seen: RecordedRun) -> Iterator[tuple[str, str | None]]:
    yield "record", record_said(seen.told, seen.verified)


def _print_sagas(out: Console, parts: tuple[SagaPart, ...]) -> None:
    """What of each saga is in effect: a partial update is to be seen at a glance."""
    for saga in dict.fromkeys(one.saga for one in parts):
        out.print()
        out.print(Text(f"saga {printable(saga)}", style="bold"))
        grid = Table.grid(padding=(0, 1))
        for one in parts:
            if one.saga == saga:
                where = f" ({one.system})" if one.system else ""
                style = "green" if one.part.undo is None or one.part.undo is State.SUCCEEDED else "red"
                grid.add_row(
                    f"  {one.part.step}", printable(f"{one.part.tool}{where}"), Text(standing(one.part), style=style)
                )
        out.print(grid)


def _part_json(one: SagaPart) -> dict[str, Any]:
    part = one.part
    told = {"saga": one.saga, "step": part.step, "tool": part.tool, "system": one.system, "state": part.state}
    return {**told, "undo_tool": one.undo_tool, "undo_state": part.undo, "standing": standing(part)}


def _observed(story: Story) -> str | None:
    count = sum(any(reason.startswith(f"{OBSERVE}:") for reason in step.why) for step in story.steps)
    return f"the policy was not enforced (mode: observe); decisions only recorded: {count}" if count else None


_TIME_COLUMNS: Final = 9  # of the time and the space behind it


def _print_timeline(out: Console, lines: tuple[Line, ...], *, ids: bool) -> None:
    """A long run has thousands of lines, and a table measures each of them: they are wrapped here."""
    number = max((len(str(line.seq)) for line in lines), default=1)
    column = _TIME_COLUMNS + number + 1
    whole = Text()
    for line in lines:
        if line.day:
            whole.append(f"{'':{column}}{line.day} UTC\n", style="dim")
        first = f"{line.time:<{_TIME_COLUMNS}}{line.seq:>{number}} "
        for text in _wrapped(out, line.what, out.width - column):
            whole.append(first, style="dim").append(f"{text}\n", style=TONE_STYLES[line.tone])
            first = " " * column
        for said, style in _below(line, ids=ids):
            for text in _wrapped(out, said, out.width - column - 2):
                whole.append(f"{'':{column + 2}}{text}\n", style=style)
    out.print(whole, soft_wrap=True, end="")


def _wrapped(out: Console, text: str, width: int) -> list[str]:
    """A text in lines that fit. Characters that take two columns, or none, are measured; most texts have none."""
    if text.isascii():
        return wrap(text, max(width, 10), break_on_hyphens=False) or [""]
    return [line.plain.rstrip() for line in Text(text, overflow="fold").wrap(out, max(width, 10))] or [""]


def _below(line: Line, *, ids: bool) -> Iterator[tuple[str, str]]:
    if line.who:
        yield f"by {line.who}", ""
    yield from ((f"why: {reason}", "") for reason in line.why)
    if line.arguments:
        yield f"with {line.arguments}", "dim"
    yield from ((f"changes {change}", "") for change in line.changes)
    if line.details:
        yield "; ".join(line.details), "dim"
    if ids:
        yield from ((named, "dim") for named in line.ids)


def run_json(row: RunRow) -> dict[str, Any]:
    """Return a run as JSON has it.

    Args:
        row: the run.
    """
    return {**asdict(row), "run_id": run_name(row.run_id)}


def _story_json(story: Story) -> dict[str, Any]:
    told = asdict(story)
    for step in told["steps"]:
        step["took_seconds"] = None if step["took"] is None else step["took"].total_seconds()
        del step["took"]
        for part in ("arguments", "details", "ids"):
            step[part] = dict(step[part])
    return told
