"""Write the tables of docs/failures.md from those that the tests provoke: ``python -m tests.docs.failures_page``."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Final

from langgraph_control.guards.failures import Fault, Sent, Verdict
from tests.support.failure_tables import (
    AWS_CODES,
    GRPC,
    HTTP_COLUMNS,
    LOST,
    MCP,
    NOT_SENT,
    SENT_AGAIN,
    SQL,
    STATUSES,
    Answered,
    Broken,
    Happened,
)

PAGE: Final = Path(__file__).parents[2] / "docs" / "failures.md"
MARKED: Final = re.compile(r"(<!-- table: (?P<name>[\w ]+) -->\n)(?:\|.*\n)*(<!-- end of table -->)")

VERDICTS: Final[Mapping[Verdict, str]] = MappingProxyType(
    {
        Verdict.NOT_DONE_TRANSIENT: "not done, try again",
        Verdict.NOT_DONE_RATE_LIMITED: "not done, slow down",
        Verdict.NOT_DONE_PERMANENT: "not done, do not repeat",
        Verdict.UNKNOWN: "**unknown**",
    }
)
FAULTS: Final[Mapping[Fault, str]] = MappingProxyType(
    {Fault.TRANSIENT: "try again", Fault.RATE_LIMITED: "slow down", Fault.PERMANENT: "do not repeat"}
)
SENT: Final[Mapping[Sent, str]] = MappingProxyType({Sent.NO: "no", Sent.MAYBE: "perhaps", Sent.YES: "yes"})


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table of Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines).replace("| --- ", "|---").replace("---| |", "---|")


def _code(names: Iterable[object]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _broken(rows: Sequence[Broken]) -> str:
    def cell(row: Broken, column: str) -> str:
        classes = _code(row.raises[column]) or "nothing: it is taken for a whole answer"
        return f"{classes} ({VERDICTS[row.differs[column]]})" if column in row.differs else classes

    return table(
        ["What happened", *HTTP_COLUMNS, "sent?", "a write is"],
        [
            [row.what, *(cell(row, column) for column in HTTP_COLUMNS), SENT[row.sent], VERDICTS[row.verdict]]
            for row in rows
        ],
    )


def _answered(what: str, rows: Sequence[Answered]) -> str:
    return table(
        [what, "a write is", "another try", "because"],
        [[_code(row.codes), VERDICTS[row.verdict], FAULTS[row.fault], row.why] for row in rows],
    )


def _happened(rows: Sequence[Happened]) -> str:
    return table(
        ["What happened", "raised", "sent?", "a write is", "another try"],
        [[row.what, f"`{row.raised}`", SENT[row.sent], VERDICTS[row.verdict], FAULTS[row.fault]] for row in rows],
    )


def _sent_again() -> str:
    return table(
        ["Client", "What happened", "a write is"],
        [[row.client, row.what, VERDICTS[row.verdict]] for row in SENT_AGAIN],
    )


TABLES: Final[Mapping[str, Callable[[], str]]] = MappingProxyType(
    {
        "not sent": lambda: _broken(NOT_SENT),
        "lost": lambda: _broken(LOST),
        "statuses": lambda: _answered("Status", STATUSES),
        "sent again": _sent_again,
        "aws": lambda: _answered("Error code", AWS_CODES),
        "grpc": lambda: _answered("Status", GRPC),
        "sql": lambda: _happened(SQL),
        "mcp": lambda: _happened(MCP),
    }
)


def rewritten(page: str) -> str:
    """Return a page with each marked table as it is now."""
    return MARKED.sub(lambda found: f"{found[1]}{TABLES[found['name']]()}\n{found[3]}", page)


if __name__ == "__main__":
    PAGE.write_text(rewritten(PAGE.read_text("utf-8")), "utf-8")
