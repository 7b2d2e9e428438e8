"""Reading a policy file's text: YAML 1.2 into plain values, with the line of every key, refusing what could surprise.

The text is walked as parser events and every plain scalar is resolved here, by YAML 1.2's core schema and nothing else:
`on` is a text, `0100` is one hundred, `99.90` is exactly that. Anchors, tags and other YAML versions are refused,
because each of them lets a file mean something else than a reader sees.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from typing import Any, Final, TypeAlias

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
)

__all__ = ["MAX_CHARACTERS", "Document", "Path", "Problem", "key_of", "read_document"]

Path: TypeAlias = tuple[str | int, ...]
_Node: TypeAlias = AliasEvent | ScalarEvent | MappingStartEvent | SequenceStartEvent

MAX_CHARACTERS: Final = 1_000_000  # a policy that people can read is far below
MAX_DEPTH: Final = 20  # the deepest meaningful key is at six
MAX_DIGITS: Final = 40  # more than any amount; keeps a number from becoming a denial of service

_NULL: Final = frozenset({"", "~", "null", "Null", "NULL"})
_BOOL: Final[Mapping[str, bool]] = {
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_DECIMAL_INTEGER: Final = re.compile(r"[-+]?[0-9]+")
_OTHER_INTEGER: Final = re.compile(r"0o[0-7]+|0x[0-9a-fA-F]+")
_FRACTION: Final = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_NO_NUMBER: Final = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One thing that is wrong with a policy file.

    Args:
        line: where, counted from 1.
        key: the path to it: ``rules[2].when.amount.gt``; empty for the file as a whole.
        code: the stable code of this kind of mistake.
        what: what is wrong and what to write instead.
    """

    line: int
    key: str
    code: str
    what: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """A policy file as plain values.

    Args:
        tree: dicts, lists, str, int, bool, None and Decimal; never a float.
        lines: the path of every key and item → its line, counted from 1.
        problems: what was wrong already at this level.
    """

    tree: Any
    lines: Mapping[Path, int]
    problems: tuple[Problem, ...]

    def line_of(self, path: Path) -> int:
        """Return the line of a path, or of the nearest enclosing one for a key that is not there.

        Args:
            path: keys and indexes from the top.
        """
        while path not in self.lines:
            path = path[:-1]
        return self.lines[path]


def key_of(path: Path) -> str:
    """Return a path as people write it: ``rules[2].when.amount``.

    Args:
        path: keys and indexes from the top.
    """
    parts = (f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
    return "".join(parts).removeprefix(".")


def read_document(text: str) -> Document:
    """Read one YAML document. Never raises for what is in the text: everything wrong is in ``problems``.

    Args:
        text: the file's text.
    """
    if len(text) > MAX_CHARACTERS:
        problem = Problem(
            line=1, key="", code="policy_too_large", what=f"the file has more than {MAX_CHARACTERS} characters"
        )
        return Document(tree=None, lines={(): 1}, problems=(problem,))
    reader = _Reader(lines={(): 1})
    tree: Any = None
    try:
        tree = reader.read(YAML(typ="safe", pure=True).parse(text))
    except _TooDeepError:
        reader.problem((), "policy_too_deep", f"values are nested more than {MAX_DEPTH} deep")
    except YAMLError as error:
        # ReaderError, the one without a mark, is about characters that no YAML file may contain.
        mark = error.problem_mark if isinstance(error, MarkedYAMLError) else None
        what = error.problem if isinstance(error, MarkedYAMLError) else "the file contains control characters"
        line = mark.line + 1 if mark is not None else 1
        reader.problems.append(Problem(line=line, key="", code="policy_yaml", what=f"this is not YAML: {what}"))
    return Document(tree=tree, lines=reader.lines, problems=tuple(reader.problems))


class _TooDeepError(Exception):
    """Nested deeper than a policy can mean anything."""


@dataclass(slots=True, kw_only=True)
class _Reader:
    """Turns parser events into plain values and notes each path's line on the way."""

    lines: dict[Path, int]
    problems: list[Problem] = field(default_factory=list)

    def read(self, events: Iterator[Any]) -> Any:
        tree: Any = None
        documents = 0
        for event in events:
            if isinstance(event, DocumentStartEvent):
                documents += 1
                if event.version not in {None, (1, 2)}:
                    self.problem((), "policy_yaml_version", "policies are YAML 1.2; remove the %YAML line")
                if documents > 1:
                    self.lines[()] = event.start_mark.line + 1
                    self.problem((), "policy_yaml", "the file holds more than one document; keep one")
            elif isinstance(event, _Node):
                tree = self.value(event, events, path=())
        return tree

    def value(self, event: _Node, events: Iterator[Any], *, path: Path) -> Any:
        self.lines.setdefault(path, event.start_mark.line + 1)
        if len(path) > MAX_DEPTH:
            raise _TooDeepError
        if isinstance(event, AliasEvent):
            self.problem(path, "policy_alias", "anchors and aliases are not read; write the value out")
            return None
        if event.anchor is not None:
            self.problem(path, "policy_alias", "anchors and aliases are not read; write the value out")
        if event.tag is not None:
            self.problem(path, "policy_tag", "YAML tags are not read; remove the one that starts with `!`")
        if isinstance(event, MappingStartEvent):
            return self.mapping(events, path=path)
        if isinstance(event, SequenceStartEvent):
            return self.sequence(events, path=path)
        return self.scalar(event, path=path)

    def mapping(self, events: Iterator[Any], *, path: Path) -> dict[str, Any]:
        read: dict[str, Any] = {}
        for event in events:
            if isinstance(event, MappingEndEvent):
                break
            key = self.key(event, events, path=path)
            inner = (*path, key)
            first_line = self.lines.get(inner)
            self.lines[inner] = event.start_mark.line + 1
            if key in read:
                self.problem(inner, "policy_duplicate_key", f"this key was given before, on line {first_line}")
            read[key] = self.value(next(events), events, path=inner)
        return read

    def key(self, event: _Node, events: Iterator[Any], *, path: Path) -> str:
        place = (*path, f"<key on line {event.start_mark.line + 1}>")
        key = self.value(event, events, path=place)
        if isinstance(key, str):
            return key
        self.problem(place, "policy_key", "keys are texts; put quotes round this one")
        return str(place[-1])

    def sequence(self, events: Iterator[Any], *, path: Path) -> list[Any]:
        read: list[Any] = []
        for event in events:
            if isinstance(event, SequenceEndEvent):
                break
            read.append(self.value(event, events, path=(*path, len(read))))
        return read

    def scalar(self, event: ScalarEvent, *, path: Path) -> Any:
        text = event.value
        plain, _ = event.implicit
        if not plain:  # quoted or a block: always a text
            return text
        if text in _NULL:
            return None
        if text in _BOOL:
            return _BOOL[text]
        return self.number(text, path=path) if _looks_numeric(text) else text

    def number(self, text: str, *, path: Path) -> int | Decimal:
        if _NO_NUMBER.fullmatch(text):
            self.problem(path, "policy_number", "infinity and not-a-number are no bounds; write a number")
        elif len(text) > MAX_DIGITS:
            self.problem(path, "policy_number", f"this number has more than {MAX_DIGITS} characters")
        elif _DECIMAL_INTEGER.fullmatch(text):
            return int(text)
        elif _OTHER_INTEGER.fullmatch(text):
            return int(text, 0)
        else:
            return self.fraction(text, path=path)
        return 0

    def fraction(self, text: str, *, path: Path) -> Decimal:
        try:
            return Decimal(text)
        except InvalidOperation:
            self.problem(path, "policy_number", "this number's exponent is out of range")
            return Decimal(0)

    def problem(self, path: Path, code: str, what: str) -> None:
        self.problems.append(Problem(line=self.lines[path], key=key_of(path), code=code, what=what))


def _looks_numeric(text: str) -> bool:
    return any(shape.fullmatch(text) for shape in (_DECIMAL_INTEGER, _OTHER_INTEGER, _FRACTION, _NO_NUMBER))
