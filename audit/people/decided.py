"""Decided requests, the newest first: by state, which the ledger looks for; by tool and actor, looked for here."""

from dataclasses import replace
from typing import Final

from langgraph_control.audit.asking.rows import ApprovalRow
from langgraph_control.audit.asking.waiting import SCAN, Decided
from langgraph_control.audit.connecting.connection import Ask

__all__ = ["decided_requests"]

PAGE_REQUESTS: Final = 200


def decided_requests(
    ask: Ask, limit: int, *, state: str | None = None, tool: str | None = None, actor: str | None = None
) -> tuple[ApprovalRow, ...]:
    """Return decided requests, the newest first, of some thousands that are looked at.

    Args:
        ask: asks the ledger.
        limit: at most so many.
        state: only those that stand there.
        tool: only those of this tool.
        actor: only those of runs that this actor asked for.
    """
    page = Decided(limit=limit if tool is actor is None else PAGE_REQUESTS, state=state)
    found: list[ApprovalRow] = []
    looked_at = 0
    while len(found) < limit and looked_at < SCAN:
        rows = ask(page)
        found += [row for row in rows if tool in {None, row.tool} and actor in {None, row.actor}]
        looked_at += len(rows)
        if len(rows) < page.limit:
            break
        page = replace(page, before_at=rows[-1].requested_at, before=rows[-1].approval_id)
    return tuple(found[:limit])
