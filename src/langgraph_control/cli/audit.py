"""``audit``: what an auditor, and whoever answers to one, asks of the record."""

import typer

from langgraph_control.cli import (
    audit_erase,
    audit_export,
    audit_hold,
    audit_receipt,
    audit_report,
    audit_retain,
    audit_search,
    audit_verify,
)

__all__ = ["audit"]

audit = typer.Typer(
    help="The record as evidence: searched, reported, exported, verified, and what of it is kept.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
audit.command("search")(audit_search.search)
audit.command("report")(audit_report.report)
audit.command("export")(audit_export.export_bundle_of)
audit.command("verify")(audit_verify.verify_bundle)
audit.command("receipt")(audit_receipt.receipt_of)
audit.command("erase")(audit_erase.erase_payloads)
audit.command("retain")(audit_retain.retain_months)
audit.add_typer(audit_hold.hold, name="hold")
