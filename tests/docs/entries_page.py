"""Writes docs/entries.md's table and docs/schemas/ from the forms of entries: ``python -m tests.docs.entries_page``."""

import re
from pathlib import Path
from typing import Final

from langgraph_control.audit.trail.entry_forms import FORMS, Form
from langgraph_control.audit.trail.entry_schemas import EVENTS, VERSION, published

__all__ = ["FOLDER", "PAGE", "rewritten", "schema_file"]

DOCS: Final = Path(__file__).parents[2] / "docs"
PAGE: Final = DOCS / "entries.md"
FOLDER: Final = DOCS / "schemas" / f"entry-{VERSION}"
TABLE: Final = re.compile(r"(<!-- events -->\n).*(<!-- end of events -->\n)", re.DOTALL)
LISTED: Final = re.compile(r"(<!-- forms -->\n).*(<!-- end of forms -->\n)", re.DOTALL)


def schema_file(event: str) -> Path:
    """Return where an event's schema is published."""
    return FOLDER / f"{event}.json"


def rewritten(page: str) -> str:
    """Return the page with its tables as they are now."""
    rows = ["| Event | Recorded when | Schema |", "|---|---|---|"]
    for event, forms in EVENTS.items():
        about = " Or: ".join(form.about for form in forms)
        rows.append(f"| `{event}` | {about} | [{event}.json](schemas/entry-{VERSION}/{event}.json) |")
    page = TABLE.sub(lambda found: found[1] + "\n".join(rows) + "\n" + found[2], page)
    said = "\n".join(_form(form) for form in FORMS)
    return LISTED.sub(lambda found: found[1] + said + found[2], page)


def _form(form: Form) -> str:
    facts = ", ".join(f"`{name}`" for name in form.facts)
    body = ", ".join(f"`{name}`" for name in form.body) or "nothing"
    beside = f" Beside it, to be erased alone: {form.payload}." if form.payload else ""
    return f"- **{form.name}**: {form.about} Facts: {facts}. Body: {body}.{beside}\n"


if __name__ == "__main__":
    PAGE.write_text(rewritten(PAGE.read_text("utf-8")), "utf-8")
    FOLDER.mkdir(parents=True, exist_ok=True)
    for left in FOLDER.glob("*.json"):
        left.unlink()
    for name in EVENTS:
        schema_file(name).write_bytes(published(name))
