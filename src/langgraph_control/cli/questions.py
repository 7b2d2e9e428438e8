"""``questions`` and ``answer``: what writes wait to be told, on an approver's login."""

from typing import Annotated

import typer

from langgraph_control.audit.names import question_id, question_name, run_name
from langgraph_control.audit.people.operators import Operators
from langgraph_control.cli.approvals import As
from langgraph_control.cli.databases import Dsn, Local, database
from langgraph_control.cli.output import console, heading, indented, moment
from langgraph_control.cli.record import RunArgument
from langgraph_control.cli.signing_in import Auth, sign_in
from langgraph_control.errors import OperationRefused

__all__ = ["answer", "questions"]


def questions(
    run: Annotated[
        str | None, typer.Argument(metavar="[RUN]", help="A run's name (run_…), or its trigger.", show_default=False)
    ] = None,
    *,
    dsn: Dsn = None,
    local: Local = False,
) -> None:
    """List what runs wait to be told, oldest first."""
    with database("approver", dsn=dsn, local=local) as place, Operators(place.dsn) as operators:
        asked = operators.questions(None if run is None else operators.run(run).run_id)
    out = console()
    for one in asked:
        heading(out, question_name(one.question_id), style="yellow")
        indented(out, f"{one.tool} of {run_name(one.run_id)}, since {moment(one.asked_at)}")
        indented(out, one.question)
    out.print(f"{len(asked)} open." if asked else "Nothing is asked.")


def answer(
    run: RunArgument,
    question: Annotated[str, typer.Argument(metavar="QUESTION", help="The question's name (qst_…).")],
    text: Annotated[str, typer.Argument(metavar="TEXT", help="What the user says; told to the model.")],
    *,
    dsn: Dsn = None,
    local: Local = False,
    as_person: As = None,
    auth: Auth = None,
) -> None:
    """Answer what a write waits for. The model is told, and the run goes on; no write runs by it."""
    asked = question_id(question)
    if asked is None:
        raise OperationRefused(
            "That is not the name of a question.",
            todo="Write it as langgraph-control questions shows it: qst_ and 32 digits.",
            code="question_name_invalid",
        )
    signed = sign_in(auth)
    with (
        database("approver", dsn=dsn, local=local) as place,
        Operators(place.dsn, authenticator=signed.authenticator) as operators,
    ):
        row = operators.run(run)
        operators.answer(row.run_id, asked, text, as_=as_person, credential=signed.credential)
    out = console()
    heading(out, f"Answered: {question_name(asked)}.", style="green")
    indented(out, f"run: {run_name(row.run_id)}; it goes on when it is resumed, by a worker or by the same call again")
