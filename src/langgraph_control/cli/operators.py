"""``resolve``, ``cancel``, ``freeze`` and ``unfreeze``: the operator's side, on an approver's or the admin's login."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated, Final

import typer

from langgraph_control.audit.asking.operator_requests import Resolution, Scope
from langgraph_control.audit.asking.rows import ActionRow
from langgraph_control.audit.names import run_name
from langgraph_control.audit.people.operators import Operators, matched
from langgraph_control.cli.approvals import As
from langgraph_control.cli.databases import Dsn, Local, database
from langgraph_control.cli.output import console, heading, indented, moment
from langgraph_control.cli.record import RunArgument
from langgraph_control.cli.seen import seen_plain
from langgraph_control.cli.signing_in import Auth, SignIn, sign_in
from langgraph_control.errors import OperationRefused

__all__ = ["cancel", "freeze", "resolve", "unfreeze"]

KEY_DIGITS: Final = 12
"""So many of a key's digits are shown where actions have to be told apart."""

Comment = Annotated[str, typer.Option(help="What is known, and how; for the record.", show_default=False)]
ALL: Final = "all"
"""Another word for the whole tenant: what somebody in a hurry writes."""


def _scope(word: str) -> Scope:
    if word == ALL:
        return Scope.TENANT
    try:
        return Scope(word)
    except ValueError:
        raise typer.BadParameter("write all (or tenant), agent NAME, system NAME or tool NAME") from None


WHAT: Final = typer.Argument(
    metavar="SCOPE", parser=_scope, help="all (or tenant), agent, system or tool.", show_default=False
)
What = Annotated[Scope, WHAT]
Name = Annotated[str, typer.Argument(metavar="NAME", help="Of the agent, system or tool.", show_default=False)]


def resolve(
    run: RunArgument,
    *,
    comment: Comment,
    happened: Annotated[bool, typer.Option("--happened", help="It was done; repeats get its result.")] = False,
    did_not: Annotated[
        bool, typer.Option("--did-not", help="It was certainly not done; it may be tried again.")
    ] = False,
    give_up: Annotated[bool, typer.Option("--give-up", help="Nobody will find out; it is not tried again.")] = False,
    result: Annotated[
        str | None, typer.Option(help="What the tool would have returned; with --happened.", show_default=False)
    ] = None,
    tool: Annotated[str | None, typer.Option(help="Which action, by its tool.", show_default=False)] = None,
    key: Annotated[
        str | None, typer.Option(help="Which action, by its key's first digits.", show_default=False)
    ] = None,
    dsn: Dsn = None,
    local: Local = False,
    as_person: As = None,
    auth: Auth = None,
) -> None:
    """Say what became of an action that the program cannot settle. Whoever waits for it goes on."""
    verdict = _verdict(happened=happened, did_not=did_not, give_up=give_up)
    if result is not None and verdict is not Resolution.HAPPENED:
        raise OperationRefused(
            "Only what happened has a result.", todo="Leave out --result.", code="result_without_effect"
        )
    signed = sign_in(auth)
    with _operators(signed, dsn=dsn, local=local) as operators:
        row = operators.run(run)
        action = _chosen(operators.stuck(row.run_id), tool=tool, key=key)
        settled = operators.resolve(
            row.run_id,
            action.key,
            verdict,
            comment=comment,
            result=None if result is None else _stored(result),
            as_=as_person,
            credential=signed.credential,
        )
    out = console()
    heading(out, f"{settled.tool}: {settled.state}.", style="green" if verdict is Resolution.HAPPENED else "yellow")
    indented(out, f"run: {run_name(row.run_id)}; it goes on when it is resumed, by a worker or by the same call again")


def cancel(
    run: RunArgument,
    *,
    comment: Comment,
    leave_applied: Annotated[
        bool, typer.Option("--leave-applied", help="Although steps of its sagas are in effect; they stay so.")
    ] = False,
    dsn: Dsn = None,
    local: Local = False,
    as_person: As = None,
    auth: Auth = None,
) -> None:
    """End a run that is not wanted any more. What may have happened has to be settled first."""
    signed = sign_in(auth)
    with _operators(signed, dsn=dsn, local=local) as operators:
        row = operators.run(run)
        operators.cancel(
            row.run_id, comment=comment, leave_applied=leave_applied, as_=as_person, credential=signed.credential
        )
    heading(console(), f"{run_name(row.run_id)} is cancelled. What it asked for is withdrawn.", style="yellow")


def freeze(
    scope: Annotated[Scope | None, WHAT] = None,
    name: Name = "",
    *,
    comment: Annotated[str, typer.Option(help="Why; for the record.", show_default=False)] = "",
    listed: Annotated[bool, typer.Option("--list", help="Print what is stopped now.")] = False,
    dsn: Dsn = None,
    local: Local = False,
    as_person: As = None,
    auth: Auth = None,
) -> None:
    """Stop writes from the next claim on, and list what is under way: that is not stopped."""
    if listed or scope is None:
        _print_brakes(dsn=dsn, local=local)
        return
    out, signed = console(), sign_in(auth)
    with _operators(signed, dsn=dsn, local=local) as operators:
        under_way = operators.freeze(scope, name, comment=comment, as_=as_person, credential=signed.credential)
        unseen = operators.unseen(scope, name)
    heading(out, f"Stopped: {matched(scope, name)}.", style="red")
    if unseen:
        sys.stderr.write(f"Warning: {seen_plain(unseen)}\n")
    for call in under_way:
        indented(out, f"under way: {call.tool} of {run_name(call.run_id)}, over by {moment(call.lease_until)}")
    if not under_way:
        indented(out, "nothing is under way")


def unfreeze(
    scope: What,
    name: Name = "",
    *,
    comment: Comment,
    dsn: Dsn = None,
    local: Local = False,
    as_person: As = None,
    auth: Auth = None,
) -> None:
    """Let writes go on, and wake the runs that stood still for it."""
    signed = sign_in(auth)
    with _operators(signed, dsn=dsn, local=local) as operators:
        woken = operators.unfreeze(scope, name, comment=comment, as_=as_person, credential=signed.credential)
    heading(console(), f"Writes go on; runs woken: {woken}.", style="green")


def _print_brakes(*, dsn: str | None, local: bool) -> None:
    out = console()
    with _operators(SignIn(authenticator=None, credential=None), dsn=dsn, local=local) as operators:
        for brake in operators.brakes():
            heading(out, f"{brake.scope} {brake.name}: {matched(brake.scope, brake.name)}".replace(" :", ":"))
            indented(out, f"{brake.cause} by {brake.set_by} since {moment(brake.since)}: {brake.comment}")


@contextmanager
def _operators(signed: SignIn, *, dsn: str | None, local: bool) -> Iterator[Operators]:
    with (
        database("approver", dsn=dsn, local=local) as place,
        Operators(place.dsn, authenticator=signed.authenticator) as operators,
    ):
        yield operators


def _stored(result: str) -> bytes:
    """A result as repeats get it."""
    from langgraph_control.nodes.results import encode  # with LangChain: half of a command's start

    return encode(result)


def _verdict(*, happened: bool, did_not: bool, give_up: bool) -> Resolution:
    said = {Resolution.HAPPENED: happened, Resolution.DID_NOT: did_not, Resolution.GIVE_UP: give_up}
    chosen = [verdict for verdict, given in said.items() if given]
    if len(chosen) != 1:
        raise OperationRefused(
            "It has to be said what became of the action.",
            todo="Give one of --happened, --did-not, --give-up.",
            code="verdict_missing",
        )
    return chosen[0]


def _chosen(actions: Sequence[ActionRow], *, tool: str | None, key: str | None) -> ActionRow:
    fitting = [
        action
        for action in actions
        if (tool is None or action.tool == tool) and (key is None or action.key.hex().startswith(key))
    ]
    if len(fitting) == 1:
        return fitting[0]
    if not actions:
        raise OperationRefused(
            "Nothing of this run waits for a person's word.",
            todo="See it: langgraph-control show RUN, with the run's name.",
            code="not_stuck",
        )
    listed = "; ".join(
        f"{action.tool} {action.key.hex()[:KEY_DIGITS]} ({action.state})" for action in fitting or actions
    )
    if not fitting:
        raise OperationRefused(
            f"No action of this run that waits for a person's word fits. These wait: {listed}.",
            todo="Correct --tool or --key.",
            code="action_unfit",
        )
    raise OperationRefused(
        f"{len(fitting)} actions of this run fit: {listed}.", todo="Give --tool or --key.", code="action_ambiguous"
    )
