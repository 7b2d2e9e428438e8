"""docs/policy.md and docs/decisions.md: files pass their tests, commands print what is shown, no key is left out."""

import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from langgraph_control.cli import app
from langgraph_control.errors import PolicyError
from langgraph_control.guards import policy_section_shapes, policy_shape
from langgraph_control.guards.checks import Proposal, Question, Stricter
from langgraph_control.guards.conditions import Operator
from langgraph_control.guards.decision_table import VERBS, decision_table
from langgraph_control.guards.decisions import Verb
from langgraph_control.guards.lifecycle import Kind
from langgraph_control.guards.limits import Each, Per
from langgraph_control.guards.policy import Mode, Policy
from langgraph_control.guards.policy_words import Shape
from langgraph_control.guards.risk import RISK_FIELDS, Radius
from langgraph_control.guards.rules import Then
from langgraph_control.guards.signals import Impact, Operation
from tests.docs.test_docs import ROOT, Block, blocks, text_of

PAGE = text_of("policy.md")
FILES = [block.text for block in blocks("policy.md", "yaml")]
KEYS_IN_TABLES = {
    key for row in re.findall(r"^\| (`[^|]+) \|", PAGE, re.MULTILINE) for key in re.findall(r"`(\w+)`", row)
}


def test_the_decision_table_is_the_codes() -> None:
    """The page decisions.md is what the code says of itself, word for word."""
    assert text_of("decisions.md") == decision_table()


def test_every_verb_is_explained() -> None:
    """What follows is said of each decision there is."""
    assert set(VERBS) == set(Verb)


@pytest.mark.parametrize("text", FILES, ids=lambda text: text.splitlines()[-1][:40])
def test_each_file_is_what_it_shows(text: str) -> None:
    """A file parses, passes its own tests and has no dead rule, unless its first line says what it shows."""
    refused = re.match(r"# refused: \[(\w+)\]", text)
    if refused is not None:
        with pytest.raises(PolicyError) as caught:
            Policy.parse(text, source="control.yaml")
        assert caught.value.code == refused[1]
        return
    policy = Policy.parse(text, source="control.yaml")
    dead = re.match(r"# dead: (.*)", text)
    assert [rule.place.split(" ")[0] for rule in policy.dead_rules()] == (dead[1].split() if dead else [])
    assert policy.run_tests() == ()


def test_commands_print_what_stands_below(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The commands of the page, on its files, print the lines that the page shows."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "control.yaml").write_text(FILES[0])
    (tmp_path / "observe.yaml").write_text(next(text for text in FILES if "mode: observe" in text))
    (tmp_path / "deploy.yaml").write_text(next(text for text in FILES if "{tool: deploy" in text))
    shown = 0
    for commands, below in _commands():
        printed = "".join(_printed(command) for command in commands.text.splitlines())
        assert re.sub(r"sha256 \w+", "sha256 HASH", printed).startswith(below.text)
        shown += 1
    assert shown > 3


def _commands() -> Iterator[tuple[Block, Block]]:
    page = blocks("policy.md")
    for block, below in pairwise(page):
        if block.language == "sh":
            assert below.language == "text", "what a command prints stands below it"
            yield block, below


def _printed(command: str) -> str:
    words = [part.strip("'") for part in re.findall(r"'[^']*'|\S+", command)]
    assert words[0] == "langgraph-control"
    ended = CliRunner().invoke(app, words[1:])
    assert ended.exit_code == 0, ended.output
    return ended.output


def _keys() -> Iterator[str]:
    for module in (policy_shape, policy_section_shapes):
        for shape in vars(module).values():
            if isinstance(shape, type) and issubclass(shape, Shape):
                yield from (field.alias or name for name, field in shape.model_fields.items())


@pytest.mark.parametrize("key", sorted(set(_keys())))
def test_every_key_is_documented(key: str) -> None:
    """Each key that the file may have stands in a table of the page."""
    assert key in KEYS_IN_TABLES or key == "escalate_to"
    assert f"`{key}`" in PAGE or f"{key}:" in PAGE


@pytest.mark.parametrize(
    "words", [Impact, Operation, Kind, Operator, Then, Each, Per, Mode], ids=lambda one: one.__name__
)
def test_every_word_is_documented(words: Any) -> None:
    """Each word of a closed set stands somewhere on the page."""
    assert [word for word in words if f"`{word}`" not in PAGE] == []


def test_every_risk_field_is_documented() -> None:
    """What conditions can ask about risk is listed, and so are the sizes of the radius."""
    assert [field for field in RISK_FIELDS if f"`risk.{field}`" not in PAGE] == []
    assert [radius for radius in Radius if f"{radius}" not in PAGE] == []


def test_the_checks_of_the_page_work() -> None:
    """The functions that the page shows are checks, and answer as it says."""
    names: dict[str, Any] = {}
    exec(compile(blocks("policy.md", "python")[0].text, "policy.md", "exec"), names)  # noqa: S102 - under test
    arguments = {"order_id": "all", "reason": "I will call my lawyer"}
    proposal = Proposal(intent="t/1", tool="refund", impact=Impact.MONEY, arguments=arguments, record=None)
    asked, stopped = names["one_order_at_a_time"](proposal), names["no_threats"](proposal)
    assert isinstance(asked, Question)
    assert isinstance(stopped, Stricter)
    assert stopped.verb is Verb.ESCALATE


def test_pages_are_there() -> None:
    """Both pages are part of docs/, so their links are checked with the others."""
    assert {"policy.md", "decisions.md"} <= {path.name for path in (ROOT / "docs").glob("*.md")}
