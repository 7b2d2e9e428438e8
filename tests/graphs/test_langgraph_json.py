"""What a worker makes of langgraph.json: graphs however they are given, and an error that names what is wrong."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from langgraph_control import Control, Policy
from langgraph_control.errors import ControlError, GraphRefused, PolicyError, WorkerRefused
from langgraph_control.graphs.control import ledger_of
from langgraph_control.graphs.langgraph_json import load_graphs
from tests.support.desk import POLICY

DSN = "postgresql://agent@127.0.0.1:1/control"  # nothing is connected: graphs are only bound

HEAD = """\
from langgraph.graph import START, MessagesState, StateGraph
from langgraph_control import Control, Policy
from tests.support.desk import POLICY

builder = StateGraph(MessagesState)
builder.add_node("work", lambda state: {})
builder.add_edge(START, "work")
"""
OWN = f'control = Control(POLICY, dsn="{DSN}")\n'


@pytest.fixture
def own() -> Iterator[Control]:
    """The worker's own Control."""
    with Control(POLICY, dsn=DSN) as control:
        yield control


def file(folder: Path, graphs: object, **modules: str) -> Path:
    """Write a langgraph.json and the modules beside it."""
    for name, text in modules.items():
        (folder / f"{name}.py").write_text(HEAD + text)
    (folder / "langgraph.json").write_text(json.dumps({"graphs": graphs}))
    return folder / "langgraph.json"


WAYS = {
    "bound": OWN + 'graph = control.bind(builder.compile(), name="support")',
    "compiled": OWN + "graph = builder.compile()",
    "builder": OWN + "graph = builder",
    "function": OWN + "def graph():\n    return builder.compile()",
    "function of a bound graph": OWN + 'def graph():\n    return control.bind(builder.compile(), name="support")',
    "async function": OWN + "async def graph():\n    return builder",
    "function with the module's Control": OWN
    + 'def graph(control):\n    return control.bind(builder.compile(), name="support")',
}


@pytest.mark.parametrize("way", WAYS)
def test_a_graph_is_found_however_it_is_given(tmp_path: Path, own: Control, way: str) -> None:
    """Bound, compiled, a builder, or a function of one: it is bound under its name by its module's Control."""
    found = load_graphs(file(tmp_path, {"support": "./agent.py:graph"}, agent=WAYS[way]), own=lambda: own)
    assert found.keys() == {"support"}
    assert found["support"].graphs["support"].name == "support"
    assert found["support"] is not ledger_of(own)


@pytest.mark.parametrize("text", ["def graph(control):\n    return builder", "graph = builder.compile()"])
def test_a_module_without_a_control_is_given_the_workers(tmp_path: Path, own: Control, text: str) -> None:
    """Where the module has none, the worker's own Control binds the graph, and its tools can be governed by it."""
    found = load_graphs(file(tmp_path, {"support": "./agent.py:graph"}, agent=text), own=lambda: own)
    assert found["support"] is ledger_of(own)


def test_a_worker_whose_policy_observes_says_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Before a worker drives anything, one line for each of its policies that is not enforced says so."""
    observing = Policy.parse(POLICY.text.replace("version: 1\n", "version: 1\nmode: observe\n"), source="lax.yaml")
    named = file(
        tmp_path,
        {"a": "./agent.py:graph", "b": "./other.py:graph"},
        agent="graph = builder",
        other=OWN + "graph = builder",
    )
    with Control(observing, dsn=DSN) as lax, caplog.at_level("WARNING"):
        load_graphs(named, own=lambda: lax)
    assert [record.getMessage()[:39] for record in caplog.records] == ["OBSERVE: the policy lax.yaml is not enf"]


def test_one_file_is_one_module(tmp_path: Path) -> None:
    """Two graphs of one file share its Control; a graph may be named as an object with a path."""
    text = OWN + "first = builder.compile()\nsecond = builder.compile()"
    found = load_graphs(file(tmp_path, {"a": "./agent.py:first", "b": {"path": "./agent.py:second"}}, agent=text))
    assert found["a"] is found["b"]
    assert found["a"].graphs.keys() == {"a", "b"}


def test_a_module_imports_what_is_beside_it(tmp_path: Path) -> None:
    """The file's folder is where its modules look for others, and where dotted names are found."""
    text = f"from beside_{tmp_path.name} import builder\n{OWN}graph = builder"
    path = file(tmp_path, {"support": f"agent_{tmp_path.name}:graph"}, **{f"agent_{tmp_path.name}": text})
    (tmp_path / f"beside_{tmp_path.name}.py").write_text(HEAD)
    assert load_graphs(path).keys() == {"support"}


BAD: dict[str, tuple[object, str, str, str]] = {
    "no graphs": ({}, "", "worker_no_graphs", "names no graph"),
    "graphs that are none": (["support"], "", "worker_no_graphs", "names no graph"),
    "no variable": ({"s": "./agent.py"}, OWN, "worker_file_invalid", "'s'"),
    "a number": ({"s": 1}, OWN, "worker_file_invalid", "'s'"),
    "a missing module": ({"s": "./nowhere.py:graph"}, OWN, "worker_module_missing", "nowhere"),
    "a missing dotted module": ({"s": "nowhere.agent:graph"}, OWN, "worker_module_missing", "nowhere"),
    "a missing import": ({"s": "./agent.py:graph"}, "import nowhere_at_all", "worker_module_missing", "nowhere_at_all"),
    "a module that raises": ({"s": "./agent.py:graph"}, "1 / 0", "worker_graph_failed", "ZeroDivisionError"),
    "a syntax error": ({"s": "./agent.py:graph"}, "def", "worker_graph_failed", "SyntaxError"),
    "a missing variable": ({"s": "./agent.py:graph"}, OWN, "worker_graph_missing", "'graph'"),
    "no graph": ({"s": "./agent.py:graph"}, OWN + "graph = 3", "worker_graph_missing", "int"),
    "a function that raises": (
        {"s": "./agent.py:graph"},
        OWN + "def graph():\n    raise OSError",
        "worker_graph_failed",
        "OSError",
    ),
    "a function of no graph": (
        {"s": "./agent.py:graph"},
        OWN + "def graph():\n    return None",
        "worker_graph_missing",
        "NoneType",
    ),
    "no Control": ({"s": "./agent.py:graph"}, "graph = builder", "worker_no_control", "--policy"),
    "two Controls": (
        {"s": "./agent.py:graph"},
        OWN + OWN.replace("control", "other", 1) + "graph = builder",
        "worker_no_control",
        "2 Controls",
    ),
    "another name": (
        {"s": "./agent.py:graph"},
        OWN + 'graph = control.bind(builder.compile(), name="t")',
        "worker_graph_name",
        "'t'",
    ),
}


@pytest.mark.parametrize("what", BAD)
def test_what_cannot_be_used_is_named(tmp_path: Path, what: str) -> None:
    """Each mistake in the file or in what it names has a code, and a text that says where it is."""
    graphs, text, code, words = BAD[what]
    with pytest.raises(WorkerRefused) as refused:
        load_graphs(file(tmp_path, graphs, agent=text))
    assert refused.value.code == code
    assert words in str(refused.value)


def test_no_file_and_no_json(tmp_path: Path) -> None:
    """A file that is not there, and one that is no JSON, are told apart."""
    with pytest.raises(WorkerRefused, match="There is no file") as missing:
        load_graphs(tmp_path / "langgraph.json")
    (tmp_path / "langgraph.json").write_text("{")
    with pytest.raises(WorkerRefused, match="cannot be read as JSON") as broken:
        load_graphs(tmp_path / "langgraph.json")
    assert (missing.value.code, broken.value.code) == ("worker_file_missing", "worker_file_invalid")


def test_two_databases_are_two_workers(tmp_path: Path) -> None:
    """Graphs of different databases are refused: a worker listens in one."""
    other = OWN.replace("/control", "/another") + "graph = builder"
    path = file(tmp_path, {"a": "./one.py:graph", "b": "./two.py:graph"}, one=OWN + "graph = builder", two=other)
    with pytest.raises(WorkerRefused, match="2 different databases"):
        load_graphs(path)


@pytest.mark.parametrize(
    ("text", "error"),
    [
        (
            OWN + "from langgraph.types import RetryPolicy\nbuilder.add_node('again', lambda state: {},"
            " retry_policy=RetryPolicy())\nbuilder.add_edge('work', 'again')\ngraph = builder",
            GraphRefused,
        ),
        ("Policy.parse('version: 2', source='p.yaml')", PolicyError),
    ],
)
def test_our_own_errors_say_it_themselves(tmp_path: Path, text: str, error: type[ControlError]) -> None:
    """What bind, govern and Control refuse is told as they tell it."""
    with pytest.raises(error):
        load_graphs(file(tmp_path, {"s": "./agent.py:graph"}, agent=text))
