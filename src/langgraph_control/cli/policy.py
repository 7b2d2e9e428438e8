"""``policy check``, ``test``, ``explain`` and ``publish``."""

import json
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from langgraph_control.cli.databases import Dsn, Local, database
from langgraph_control.cli.output import console, heading, indented
from langgraph_control.errors import PolicyError
from langgraph_control.guards.canonical import observed
from langgraph_control.guards.conditions import Condition, Truth
from langgraph_control.guards.lifecycle import Kind
from langgraph_control.guards.policy import Policy
from langgraph_control.guards.routing import Fit, Judgement, explain
from langgraph_control.guards.signals import Impact, Signals

__all__ = ["policy"]

policy = typer.Typer(
    help="Check, test, explain and publish a policy file.", no_args_is_help=True, rich_markup_mode=None
)
File = Annotated[Path, typer.Argument(metavar="FILE", help="The policy file.", show_default=False)]


@policy.command()
def check(file: File) -> None:
    """Read a policy file and print each problem with file, line and key."""
    found = _read(file)
    console().print(f"{file.name}: OK, {len(found.rules)} rules, {len(found.tests)} tests, sha256 {found.hash[:12]}")


@policy.command()
def test(file: File) -> None:
    """Run the tests that are written in the policy file."""
    found = _read(file)
    failures = found.run_tests()
    out = console()
    for failure in failures:
        heading(out, f"{failure.place}: {failure.tool} should be {failure.expected}, is {failure.got}", style="red")
        for reason in failure.reasons:
            indented(out, reason)
    out.print(f"{len(found.tests) - len(failures)} of {len(found.tests)} tests passed.")
    if failures:
        raise typer.Exit(1)


@policy.command("explain")
def explain_call(
    file: File,
    *,
    tool: Annotated[str, typer.Option(help="The tool called.")],
    args: Annotated[str, typer.Option(help="The call's arguments, a JSON object.")] = "{}",
    record: Annotated[str | None, typer.Option(help="The record as read, a JSON object.", show_default=False)] = None,
    impact: Annotated[Impact, typer.Option(help="What the tool's contract says it touches.")] = Impact.RECORD,
    system: Annotated[str | None, typer.Option(help="The tool's system of record.", show_default=False)] = None,
) -> None:
    """Say what the policy decides about a call, which rules matched, and which missed most narrowly."""
    found = explain(
        Signals(
            tool=tool,
            impact=impact,
            kind=Kind.BLIND,
            system=system,
            arguments=_object(args, "--args"),
            record=None if record is None else _object(record, "--record"),
            actor="policy explain",
            on_behalf_of=None,
            tenant="policy explain",
        ),
        _read(file),
    )
    out = console()
    heading(out, f"{tool} ({impact}): {found.decision.verb}")
    for reason in found.decision.reasons:
        indented(out, reason)
    out.print()
    for judgement in found.rules:
        _print_rule(out, judgement)
    if found.nearest is not None:
        out.print()
        out.print(f"Nearest miss: {found.nearest.rule.place}")
        for condition in _not_holding(found.nearest):
            indented(out, condition)


@policy.command()
def publish(file: File, dsn: Dsn = None, local: Local = False) -> None:
    """Make a policy the one that holds: its roles, their members and its floors. On the admin login."""
    from langgraph_control.audit.publishing import publish_policy

    found = _read(file)
    with database("admin", dsn=dsn, local=local) as place:
        publish_policy(place.dsn, found)
    people = sum(len(members) for members in found.roles.values())
    console().print(f"Published {file.name}, sha256 {found.hash[:12]}: {len(found.roles)} roles, {people} members.")


def _read(file: Path) -> Policy:
    try:
        text = file.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as unreadable:
        raise PolicyError(
            f"The policy file {file.name} cannot be read ({type(unreadable).__name__}).",
            todo="Pass the path of a UTF-8 text file.",
            code="policy_unreadable",
        ) from unreadable
    return Policy.parse(text, source=file.name)


def _object(text: str, option: str) -> dict[str, Any]:
    try:
        value = json.loads(text, parse_float=Decimal)
    except json.JSONDecodeError as error:
        raise typer.BadParameter(f"{option} is not JSON: {error.msg} at character {error.pos + 1}") from None
    if not isinstance(value, dict):
        raise typer.BadParameter(f"{option} is not a JSON object")
    return {name: observed(item) for name, item in value.items()}


def _print_rule(out: Console, judgement: Judgement) -> None:
    said = {
        Fit.MATCHED: "matched",
        Fit.UNSURE: "counts: a field is missing" if judgement.counts else "stands back: a field is missing",
        Fit.MISSED: "missed",
        Fit.ELSEWHERE: "about something else",
    }[judgement.fit]
    style = {Fit.MATCHED: "green", Fit.UNSURE: "yellow", Fit.MISSED: "red", Fit.ELSEWHERE: "dim"}[judgement.fit]
    indented(out, f"{judgement.rule.place}: {judgement.rule.then}, {said}", style=style)
    if judgement.fit is not Fit.ELSEWHERE:
        for condition, truth in judgement.answers:
            indented(out, f"{_written(condition)}: {truth}", by=4)


def _not_holding(judgement: Judgement) -> Iterator[str]:
    for condition, truth in judgement.answers:
        if truth is not Truth.HOLDS:
            yield f"{_written(condition)}: {truth}"


def _written(condition: Condition) -> str:
    operand = condition.operand
    many = "[" + ", ".join(map(str, operand)) + "]" if isinstance(operand, tuple) else None
    one = {True: "true", False: "false", None: "null"}.get(operand) if isinstance(operand, bool | None) else None
    return f"{condition.field} {condition.operator} {many or one or operand}"
