"""The commands put together, and what an error looks like."""

from typing import Any

import typer
from typer.core import TyperGroup

from langgraph_control.cli import (
    approvals,
    audit,
    authority,
    card,
    console,
    export,
    keys,
    notify,
    operators,
    policy,
    questions,
    reconcile,
    record,
    restored,
    seal,
    setup,
    states,
    tokens,
    verify,
    worker,
)
from langgraph_control.cli.output import print_error
from langgraph_control.errors import ControlError

__all__ = ["app"]


class _ReportingGroup(TyperGroup):
    """Prints a named error as three lines and its code, never as a traceback."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except ControlError as error:
            print_error(error)
            raise typer.Exit(1) from None


app = typer.Typer(
    cls=_ReportingGroup,
    help="The control layer for LangGraph agents: runs, approvals, the record.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.command("show")(record.show)
app.command("runs")(states.runs)
app.command("resume")(states.resume)
app.command("verify")(verify.verify)
app.command("reconcile")(reconcile.reconcile)
app.command("export")(export.export)
app.command("inbox")(approvals.inbox)
app.command("card")(card.card)
app.command("approve")(approvals.approve)
app.command("reject")(approvals.reject)
app.command("edit")(authority.edit)
app.command("withdraw")(authority.withdraw)
app.command("break-glass")(authority.break_glass)
app.command("reviews")(authority.reviews)
app.command("review")(authority.review)
app.command("delegate")(authority.delegate)
app.command("delegations")(authority.delegations)
app.command("revoke")(authority.revoke)
app.command("questions")(questions.questions)
app.command("answer")(questions.answer)
app.command("resolve")(operators.resolve)
app.command("cancel")(operators.cancel)
app.command("freeze")(operators.freeze)
app.command("unfreeze")(operators.unfreeze)
app.command("declare-restored")(restored.declare)
app.command("accept-restore")(restored.accept)
app.command("worker")(worker.worker)
app.command("console")(console.console)
app.command("notify")(notify.notify)
app.command("seal")(seal.seal)
app.command("migrate")(setup.migrate_database)
app.command("doctor")(setup.doctor)
app.add_typer(setup.login, name="login")
app.add_typer(tokens.token, name="token")
app.add_typer(keys.keys, name="keys")
app.add_typer(policy.policy, name="policy")
app.add_typer(audit.audit, name="audit")
