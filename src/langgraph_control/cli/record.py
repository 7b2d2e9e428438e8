"""``show``: reading the record of one run."""

import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict
from datetime import UTC, datetime
from textwrap import wrap
from typing import Annotated, Any, Final

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from langgraph_control.audit.asking.questions import OpenQuestions
from langgraph_control.audit.asking.requests import FindRun, RunActions
from langgraph_control.audit.asking.rows import RunRow
from langgraph_control.audit.asking.sagas import RunSagas, SagaPart
from langgraph_control.audit.asking.searching import FindPolicies
from langgraph_control.audit.connecting.connection import LedgerConnection
from langgraph_control.audit.names import question_name, run_name
from langgraph_control.audit.names import run_id as id_of
from langgraph_control.audit.printable import printable
from langgraph_control.audit.trail.entries import Entry
from langgraph_control.audit.trail.rebuild import rebuild
from langgraph_control.audit.trail.reconstruct import Story, reconstruct
from langgraph_control.audit.trail.timeline import Line, timeline
from langgraph_control.audit.trail.tones import Tone
from langgraph_control.audit.trail.verify import verify_run
from langgraph_control.cli.as_html import as_html
from langgraph_control.cli.as_markdown import as_markdown
from langgraph_control.cli.databases import Dsn, Local, database
from langgraph_control.cli.dossier import dossier
from langgraph_control.cli.output import console, heading, moment, pairs, print_json
from langgraph_control.errors import UnknownRun
from langgraph_control.graphs.run import run_of
from langgraph_control.guards.lifecycle import State
from langgraph_control.guards.routing import OBSERVE
from langgraph_control.guards.run_reasons import RunState, explained
from langgraph_control.guards.sagas import standing
from langgraph_control.guards.spoken_texts import RECORD_CHARS_MAX, check_name

__all__ = ["STATE_STYLES", "Json", "RunArgument", "find_run", "run_json", "show", "unknown_run"]

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
    markdown: Annotated[bool, typer.Option("--markdown", help="Write a document in Markdown.")] = False,
    html: Annotated[
        bool, typer.Option("--html", help="Write a document as one HTML file, to print or to hand on.")
    ] = False,
) -> None:
    """Print a run as a timeline, or as a document.

    Who did what, when, why, and what came of it, from the recorded entries alone.
    """
    if [as_json, markdown, html].count(True) > 1:
        raise typer.BadParameter("Give one of --json, --markdown and --html.")
    with database("auditor", dsn=dsn, local=local) as place, LedgerConnection(place.dsn) as connection:
        row = find_run(connection, run)
        chain = list(connection.entries(row.run_id))
        entries = [Entry.of(entry) for entry in chain]
        story, told = reconstruct(entries), rebuild(entries)
        policies = connection.ask(FindPolicies(hashes=list(story.policies)))
        if markdown or html:
            verified = verify_run(connection, row.run_id, read=chain)
            document = dossier(run_name(row.run_id), told, story, policies=policies, verified=verified)
            sys.stdout.write(as_html(document) if html else as_markdown(document))
            return
        actions = connection.ask(RunActions(run_id=row.run_id))
        sagas = connection.ask(RunSagas(run_id=row.run_id))
        asked = connection.ask(OpenQuestions(run_id=row.run_id))
    questions = {question_name(one.question_id): one.question for one in asked}
    seen = run_of(row, actions=actions, questions=questions, output=None)
    if as_json:
        whole = {
            "run": run_json(row),
            "next_step": seen.next_step,
            "story": _story_json(story),
            "rebuilt": asdict(told),
        }
        texts = {policy.hash: policy.body for policy in policies}
        print_json({**whole, "sagas": [_part_json(part) for part in sagas], "policies": texts})
        return
    out = console()
    heading(out, f"{run_name(row.run_id)}: {row.state}", style=STATE_STYLES.get(row.state, "yellow"))
    _print_header(out, row, story, next_step=seen.next_step)
    _print_sagas(out, sagas)
    out.print()
    _print_timeline(out, timeline(story), ids=ids)


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


def _print_header(out: Console, row: RunRow, story: Story, *, next_step: str) -> None:
    if row.state is RunState.RUNNING and row.lease_until is not None and row.lease_until <= datetime.now(UTC):
        next_step = f"langgraph-control resume {run_name(row.run_id)}: its worker is gone"
    actor = row.actor if row.on_behalf_of is None else f"{row.actor} for {row.on_behalf_of}"
    pairs(
        out,
        [
            ("trigger", row.trigger),
            ("intent", row.intent if row.intent != row.trigger else None),
            ("reason", row.reason),
            ("", explained(row.reason).says if row.reason else None),
            ("owner", row.owner),
            ("next", next_step),
            ("actor", actor),
            ("approved by", ", ".join(story.people)),
            ("graph", row.graph),
            ("thread", row.thread_id),
            ("workers", ", ".join(story.workers)),
            ("started", moment(row.started_at)),
            ("since", moment(row.state_since)),
            ("again", moment(row.wake_at)),
            ("policy", ", ".join(story.policies)),
            ("OBSERVE", _observed(story)),
            ("deadline", moment(row.deadline)),
        ],
    )


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
