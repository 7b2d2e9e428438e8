"""The README's copy of what `make demo` prints: compared up to ids and times, and written by this module.

As a program, ``python -m tests.docs.transcript``: runs the demo and puts its output into the README.
"""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
README = ROOT / "README.md"
BEGIN, END = "<!-- make demo: begin -->\n```text\n", "```\n<!-- make demo: end -->\n"

VARIES = (
    (re.compile(r"[0-9a-f]{32,64}"), "ID"),
    (re.compile(r"\b[A-Za-z0-9+/]{43}="), "ROOT"),
    (re.compile(r"\bID\+[0-9a-f]{8}\b"), "KEY"),
    (re.compile(r"\d{4}-\d\d-\d\d"), "DAY"),
    (re.compile(r"\d\d:\d\d:\d\d"), "TIME"),
    (re.compile(r"\((?:\d+ min )?[\d.]+ m?s\)"), "(SPAN)"),
    (re.compile(r"after [\d.]+ s"), "after SPAN"),
    (re.compile(r"(Ready in|held\.) [\d.]+ s"), r"\1 SPAN"),
    (re.compile(r"(PostgreSQL) [\d.]+"), r"\1 VERSION"),
    (re.compile(r"(http://127\.0\.0\.1:)\d+"), r"\1PORT"),
    (re.compile(r"((?:on|workers)\s+)[^\s:]+:\d+$", re.MULTILINE), r"\1WORKER"),
)


def without_what_varies(text: str) -> list[str]:
    """Return the lines of an output with ids, times and places of one run taken out."""
    for pattern, word in VARIES:
        text = pattern.sub(word, text)
    return text.splitlines()


def in_readme() -> str:
    """Return the output as the README shows it."""
    _, _, rest = README.read_text("utf-8").partition(BEGIN)
    shown, end, _ = rest.partition(END)
    assert end, "the README has no output of make demo between its marks"
    return shown


def main() -> None:
    """Put today's output into the README."""
    ended = subprocess.run([sys.executable, "-m", "demo"], cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True)
    text = README.read_text("utf-8")
    README.write_text(text.replace(f"{BEGIN}{in_readme()}{END}", f"{BEGIN}{ended.stdout}{END}"), "utf-8")


if __name__ == "__main__":
    main()
