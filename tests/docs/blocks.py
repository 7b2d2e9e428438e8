"""The code blocks of the README, by their language."""

import re
from dataclasses import dataclass

from tests.docs.transcript import README

FENCED = re.compile(r"^```(?P<language>\w+)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """One fenced block."""

    language: str
    text: str

    @property
    def commands(self) -> list[str]:
        """Its lines, one command each."""
        return self.text.splitlines()


def blocks(language: str) -> list[Block]:
    """Return the README's blocks in a language, in their order."""
    found = (Block(language=each["language"], text=each["text"]) for each in FENCED.finditer(README.read_text("utf-8")))
    return [block for block in found if block.language == language]


def block(language: str, *, holding: str) -> Block:
    """Return the one block in a language that holds a text."""
    (found,) = (each for each in blocks(language) if holding in each.text)
    return found
