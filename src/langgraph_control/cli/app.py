"""The commands put together, and what an error looks like."""

from typing import Any

import typer
from typer.core import TyperGroup

from langgraph_control.cli import approvals, export, operators, policy, record, setup, verify, worker
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
app.command("runs")(record.runs)
app.command("verify")(verify.verify)
app.command("export")(export.export)
app.command("inbox")(approvals.inbox)
app.command("approve")(approvals.approve)
app.command("reject")(approvals.reject)
app.command("resolve")(operators.resolve)
app.command("cancel")(operators.cancel)
app.command("freeze")(operators.freeze)
app.command("unfreeze")(operators.unfreeze)
app.command("worker")(worker.worker)
app.command("migrate")(setup.migrate_database)
app.command("doctor")(setup.doctor)
app.add_typer(setup.login, name="login")
app.add_typer(policy.policy, name="policy")
