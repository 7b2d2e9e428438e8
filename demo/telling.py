"""How the demo speaks: plain lines of at most 80 columns, and claims that are checked as they are made."""

import sys
import textwrap
from dataclasses import dataclass, field
from typing import Final

__all__ = ["WIDTH", "Teller", "say"]

WIDTH: Final = 80
BOLD: Final = "\033[1m{}\033[0m"


def say(text: str = "") -> None:
    """Print a line as it is, at once: what other processes print comes in between.

    Args:
        text: the line.
    """
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


@dataclass(slots=True)
class Teller:
    """Tells the story and remembers which of its claims did not hold.

    Args:
        wrong: the claims that did not hold, so far.
    """

    wrong: list[str] = field(default_factory=list)

    def scene(self, title: str, explained: str) -> None:
        """Begin a scene.

        Args:
            title: its number and name.
            explained: what is going to be seen, and why.
        """
        say()
        say(BOLD.format(title) if sys.stdout.isatty() else title)
        say(textwrap.fill(explained, WIDTH, initial_indent="   ", subsequent_indent="   "))
        say()

    def note(self, who: str, what: str) -> None:
        """Say who did what.

        Args:
            who: one word.
            what: the rest.
        """
        say(textwrap.fill(what, WIDTH, initial_indent=f"   {who:<9}", subsequent_indent=" " * 12))

    def claim(self, text: str, *, holds: bool) -> None:
        """State what was just checked.

        Args:
            text: the claim.
            holds: whether it is true.
        """
        self.note("ok" if holds else "WRONG", text)
        if not holds:
            self.wrong.append(text)
