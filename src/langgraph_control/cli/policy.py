"""``policy check``, ``test``, ``explain``, ``decisions``, ``publish`` and ``show``."""

import json
import re
import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from rich.console import Console

from langgraph_control.cli.databases import Dsn, Local, database
from langgraph_control.cli.output import console, heading, indented, moment, print_json
from langgraph_control.cli.seen import seen_plain
from langgraph_control.errors import PolicyError
from langgraph_control.guards.canonical import observed
from langgraph_control.guards.conditions import Condition, Truth
from langgraph_control.guards.decision_table import decision_table
from langgraph_control.guards.lifecycle import Kind
from langgraph_control.guards.policy import Policy
from langgraph_control.guards.policy_conditions import stated_problem
from langgraph_control.guards.policy_text import read_document
from langgraph_control.guards.routing import Explanation, Fit, Judgement, explain
from langgraph_control.guards.signal_fields import gathered_head, given
from langgraph_control.guards.signals import Impact, Operation, Risk, Signals

__all__ = ["policy"]

policy = typer.Typer(
    help="Check, test, explain and publish a policy file.", no_args_is_help=True, rich_markup_mode=None
)
HASH: Final = re.compile(r"[0-9a-f]{12,64}")
File = Annotated[Path, typer.Argument(metavar="FILE", help="The policy file.", show_default=False)]


def _digits(given: str) -> str:
    if not HASH.fullmatch(given):
        raise typer.BadParameter("write at least twelve of the hash's digits, in lower case")
    return given


@policy.command()
def check(
    file: File,
    *,
    strict: Annotated[bool, typer.Option("--strict", help="End with 1 for dead rules, too.")] = False,
) -> None:
    """Read a policy file and print each problem with file, line and key; then rules that make no difference."""
    found = _read(file)
    out = console()
    out.print(f"{file.name}: OK, {len(found.rules)} rules, {len(found.tests)} tests, sha256 {found.hash[:12]}")
    _say_if_observing(found, out)
    dead = found.dead_rules()
    for rule in dead:
        heading(out, f"warning: {rule.place} makes no difference", style="yellow")
        indented(out, f"{rule.because} {rule.why}")
    if dead and strict:
        raise typer.Exit(1)


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
    impact: Annotated[
        Impact | None, typer.Option(help="What the tool's contract says it touches.", show_default="record")
    ] = None,
    effect: Annotated[Kind, typer.Option(help="What is known of the effect after a lost answer.")] = Kind.BLIND,
    system: Annotated[str | None, typer.Option(help="The tool's system of record.", show_default=False)] = None,
    operation: Annotated[
        Operation | None, typer.Option(help="The kind of operation, if not the impact's.", show_default=False)
    ] = None,
    reversible: Annotated[bool, typer.Option("--reversible", help="The contract can undo the effect.")] = False,
    environment: Annotated[str | None, typer.Option(help="Where the agent runs.", show_default=False)] = None,
    actor: Annotated[str, typer.Option(help="The identity the agent runs under.")] = "policy explain",
    tenant: Annotated[str, typer.Option(help="Whose data it is.")] = "policy explain",
    signal: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=VALUE",
            help="What is known of system or run, as a test's `with` says it: run.attempts=2. Can be repeated.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Say what the policy decides about a call, which signals and rules made it so, and which missed most narrowly."""
    touched = impact or Impact.RECORD
    call = Signals(
        tool=tool,
        impact=touched,
        kind=effect,
        system=system,
        arguments=_object(args, "--args"),
        record=None if record is None else _object(record, "--record"),
        actor=actor,
        on_behalf_of=None,
        tenant=tenant,
        now=datetime.now(UTC),
        environment=environment,
        risk=Risk(operation=operation, reversible=reversible),
    )
    found = explain(given(call, _stated(signal or (), system)), _read(file))
    assumed = None if impact else "Assumed: impact record. If the tool's contract says another one, give --impact."
    _print_explanation(console(), f"{tool} ({touched})", found, call, assumed)


@policy.command()
def decisions() -> None:
    """Print how signals and rules lead to a decision, as a page of Markdown."""
    sys.stdout.write(decision_table())


@policy.command()
def publish(file: File, dsn: Dsn = None, local: Local = False) -> None:
    """Make a policy the one that holds: its roles, their members and its floors. On the admin login."""
    from langgraph_control.audit.asking.publishing import publish_policy

    found = _read(file)
    with database("admin", dsn=dsn, local=local) as place:
        publish_policy(place.dsn, found)
    people = sum(len(members) for members in found.roles.values())
    out = console()
    out.print(f"Published {file.name}, sha256 {found.hash[:12]}: {len(found.roles)} roles, {people} members.")
    _say_if_observing(found, out)


@policy.command()
def show(
    hash_: Annotated[
        str,
        typer.Argument(
            metavar="HASH", help="SHA-256 of its text, or its first digits, twelve at least.", parser=_digits
        ),
    ],
    *,
    dsn: Dsn = None,
    local: Local = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Print the text of a policy that was published, as an entry or a decision names it by hash. On any login."""
    from langgraph_control.audit.asking.searching import FindPolicies
    from langgraph_control.audit.connecting.connection import LedgerConnection

    with database("auditor", dsn=dsn, local=local) as place, LedgerConnection(place.dsn) as connection:
        found = connection.ask(FindPolicies(hashes=[hash_]))
    if len(found) != 1:
        raise PolicyError(
            f"{'Several policies' if found else 'No policy'} of this tenant {'have' if found else 'has'} that hash.",
            safe="",
            todo="Give more digits." if found else "Take it from `show RUN --json`, or from an entry.",
            code="policy_not_found",
        )
    (one,) = found
    if as_json:
        print_json({name: getattr(one, name) for name in one.__slots__})
        return
    said = f"sha256 {one.hash}, published by {one.published_by} at {moment(one.published_at)}"
    sys.stderr.write(f"{seen_plain(said)}\n")
    # Into a file it goes as it was published, so that its hash comes out again; a terminal is given nothing to obey.
    sys.stdout.write("".join(map(_harmless, one.body.splitlines())) if sys.stdout.isatty() else one.body)


def _harmless(line: str) -> str:
    text = line.lstrip(" ")
    return f"{' ' * (len(line) - len(text))}{seen_plain(text, chars_max=len(text))}\n"


def _say_if_observing(found: Policy, out: Console) -> None:
    if found.observes:
        heading(out, "mode: observe - decisions of the rules are recorded, and the tools run", style="yellow")


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


def _stated(signals: Sequence[str], system: str | None) -> dict[str, Any]:
    """Read what is stated of system and run: names, values and what is wrong with them are those of a test's `with`."""
    stated: dict[str, Any] = {}
    for name, is_pair, text in (one.partition("=") for one in signals):
        if not is_pair:
            raise typer.BadParameter(f"--signal takes NAME=VALUE, like run.attempts=2; this is no such pair: {name}")
        if name in stated:
            raise typer.BadParameter(f"--signal {name} is given twice; keep one")
        document = read_document(text)
        stated[name] = document.tree
        wrong = next((problem.what for problem in document.problems), None) or _wrong(name, document.tree, system)
        if wrong is not None:
            raise typer.BadParameter(f"--signal {name}: {wrong}")
    return stated


def _wrong(name: str, value: object, system: str | None) -> str | None:
    head = gathered_head(name)
    if head is None:
        return _STATED_ELSEWHERE.get(name.partition(".")[0], "an argument of the call goes into --args")
    wrong = stated_problem(name, value)
    return "this needs --system: the tool's system" if wrong is None and head == "system" and not system else wrong


_STATED_ELSEWHERE: Final = {
    "record": "a field of the record goes into --record",
    "risk": "this is worked out of the call, by the policy's `risk`",
}


def _print_explanation(out: Console, name: str, found: Explanation, call: Signals, assumed: str | None) -> None:
    decision = found.decision
    heading(out, f"{name}: {decision.verb}")
    if assumed is not None:
        out.print(assumed)
    for reason in decision.reasons:
        indented(out, reason)
    out.print()
    out.print(f"Decided by: {decision.source}")
    radius = found.assessment.radius if found.assessment.certain else "unknown, at most large"
    known = {name: value for name, value in found.assessment.fields.items() if name != "radius"}
    out.print(f"Risk: radius {radius}; " + ", ".join(f"{name} {_plain(value)}" for name, value in known.items()))
    if decision.seconds is not None:
        out.print(f"Again in: {decision.seconds:g} s")
    if decision.owner is not None:
        out.print(f"Owner: {decision.owner}")
    if decision.question is not None:
        out.print("Question:")
        indented(out, decision.question)
    out.print()
    for judgement in found.rules:
        _print_rule(out, judgement, call)
    if found.nearest is not None:
        out.print()
        out.print(f"Nearest miss: {found.nearest.rule.place}")
        for said in (*_not_fitting(found.nearest, call), *_not_holding(found.nearest)):
            indented(out, said)


def _print_rule(out: Console, judgement: Judgement, call: Signals) -> None:
    said = {
        Fit.MATCHED: "matched",
        Fit.UNSURE: "counts: a field is missing" if judgement.counts else "stands back: a field is missing",
        Fit.MISSED: "missed",
        Fit.ELSEWHERE: "about something else",
    }[judgement.fit]
    style = {Fit.MATCHED: "green", Fit.UNSURE: "yellow", Fit.MISSED: "red", Fit.ELSEWHERE: "dim"}[judgement.fit]
    indented(out, f"{judgement.rule.place}: {judgement.rule.then}, {said}", style=style)
    if judgement.fit is Fit.ELSEWHERE:
        for named in _not_fitting(judgement, call):
            indented(out, named, by=4)
    else:
        for condition, truth in judgement.answers:
            indented(out, f"{_written(condition)}: {truth}", by=4)


def _not_fitting(judgement: Judgement, call: Signals) -> Iterator[str]:
    for what, names, has in judgement.rule.elsewhere(call):
        yield f"{what} {' or '.join(names)}: the call has {has or 'none'}"
    if call.tool in judgement.rule.exempt:
        yield f"except {call.tool}: the call's tool is left out"


def _not_holding(judgement: Judgement) -> Iterator[str]:
    for condition, truth in judgement.answers:
        if truth is not Truth.HOLDS:
            yield f"{_written(condition)}: {truth}"


def _written(condition: Condition) -> str:
    operand = condition.operand
    many = "[" + ", ".join(map(str, operand)) + "]" if isinstance(operand, tuple) else _plain(operand)
    return f"{condition.field.removeprefix('.')} {condition.operator} {many}"


def _plain(value: object) -> str:
    return {True: "true", False: "false", None: "null"}[value] if isinstance(value, bool | None) else str(value)
