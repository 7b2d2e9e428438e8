"""Receipts to take away: of a request and its answers, or of a run. Reading them changes nothing."""

import io
from typing import Final

from starlette.responses import Response

from langgraph_control.audit.names import approval_name, run_name
from langgraph_control.console.pages import found_request, found_run
from langgraph_control.console.visiting import Visit, page
from langgraph_control.errors import ControlError

__all__ = ["receipt_of_request", "receipt_of_run"]

RECEIPT_BYTES_MAX: Final = 16 * 1024 * 1024
"""It is made in memory, and by a click; the command writes longer ones to a file."""


class _Held(io.BytesIO):
    """A receipt in memory, as long as it is no longer than a page may be.

    Args:
        name: what it is of, as the command takes it.
    """

    def __init__(self, name: str) -> None:
        super().__init__()
        self._name = name

    def write(self, data: bytes, /) -> int:  # type: ignore[override]  # only the exporter writes here
        """Add a line."""
        if self.tell() + len(data) > RECEIPT_BYTES_MAX:
            raise ControlError(
                "The receipt is too long to be given here.",
                safe="The record is whole.",
                todo=f"langgraph-control audit receipt {self._name} --out receipt.jsonl writes it to a file.",
                code="receipt_too_long",
            )
        return super().write(data)


@page
def receipt_of_request(visit: Visit) -> Response:
    """Give the proof of what was asked and answered about a request."""
    # Only who asks for one needs what makes them.
    from langgraph_control.audit.bundles.bundling import approval_receipt

    row = found_request(visit.console, visit.request.path_params["name"])
    name = approval_name(row.approval_id)
    file = _Held(name)
    approval_receipt(visit.console.ask, file, row.approval_id)
    return _download(name, file)


@page
def receipt_of_run(visit: Visit) -> Response:
    """Give the proof of a run, from its first entry that is there to its newest."""
    from langgraph_control.audit.bundles.bundling import run_receipt

    row = found_run(visit.console, visit.request.path_params["name"])
    name = run_name(row.run_id)
    file = _Held(f"{name}/1")
    run_receipt(visit.console.ask, file, row.run_id)
    return _download(name, file)


def _download(name: str, file: io.BytesIO) -> Response:
    """A file to keep, not to show: under a name made of ids, of no type that a browser opens."""
    return Response(
        file.getvalue(),
        media_type="application/octet-stream",
        headers={"content-disposition": f'attachment; filename="receipt-{name}.jsonl"'},
    )
