"""The graphs that ``langgraph.json`` names, loaded and bound, each with the ledger of the Control that bound it.

The file is LangGraph's own: ``{"graphs": {"support": "./agent.py:graph"}}``. The variable may be

* a graph that ``control.bind`` returned: its Control drives it;
* a compiled graph, or a builder with ``compile()``: bound here by the one Control that its module has;
* a function: called with nothing, or with the Control if it takes a parameter ``control``; what it returns (perhaps
  after awaiting) is one of the above. Where its module has no Control, the worker's own is used.

Tools are governed by a Control, so whoever makes tools has one: the module makes it, or is given it.
"""

import asyncio
import hashlib
import importlib
import importlib.util
import inspect
import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Final

from langgraph.pregel import Pregel

from langgraph_control.errors import ControlError, WorkerRefused
from langgraph_control.graphs.control import Control, binder_of, ledger_of
from langgraph_control.graphs.ledger import Ledger

__all__ = ["load_graphs"]

EXAMPLE: Final = '{"graphs": {"support": "./agent.py:graph"}}'


@dataclass(frozen=True, slots=True, kw_only=True)
class _Named:
    """One line of the file.

    Args:
        name: the graph's.
        where: the module, as written.
        variable: the variable in it.
        folder: what paths are relative to.
    """

    name: str
    where: str
    variable: str
    folder: Path

    def __str__(self) -> str:
        return f"graph {self.name!r} ({self.where}:{self.variable})"


def load_graphs(file: Path, *, own: Callable[[], Control] | None = None) -> dict[str, Ledger]:
    """Import what a file names, and return each graph's ledger by the graph's name.

    Args:
        file: ``langgraph.json``.
        own: makes the worker's own Control, for modules that have none; called once at most.

    Raises:
        WorkerRefused: the file or what it names cannot be used; the text says which graph and why.
        GraphRefused, ContractError, PolicyError: as ``bind``, ``govern`` and ``Control`` raise them.
    """
    folder = file.absolute().parent
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))  # what the graphs' files import from beside them
    given = _Given(own)
    ledgers: dict[str, Ledger] = {}
    for named in _named(file, folder):
        ledgers[named.name] = _bound(named, _module(named), given)
    places = {ledger.store().dsn for ledger in ledgers.values()}
    if len(places) > 1:
        raise WorkerRefused(
            f"The graphs of {file.name} use {len(places)} different databases or logins.",
            todo="Run one worker for each, with a file of its own.",
            code="worker_databases",
        )
    return ledgers


class _Given:
    """The worker's own Control, made when the first module needs it."""

    def __init__(self, make: Callable[[], Control] | None) -> None:
        self._make = make
        self._made: Control | None = None

    def control(self, named: _Named) -> Control:
        if self._made is None:
            if self._make is None:
                raise WorkerRefused(
                    f"No Control is known for the {named}.",
                    todo="Make one in its module and name the graph that control.bind returned; or take a parameter"
                    " `control` and start the worker with --policy.",
                    code="worker_no_control",
                )
            self._made = self._make()
        return self._made


def _named(file: Path, folder: Path) -> list[_Named]:
    try:
        given = json.loads(file.read_text("utf-8"))
    except FileNotFoundError:
        raise WorkerRefused(
            f"There is no file {file.name} in {folder.name or folder}.",
            todo=f"Write one, such as {EXAMPLE}, or name another with --graphs.",
            code="worker_file_missing",
        ) from None
    except (OSError, ValueError) as error:
        raise WorkerRefused(
            f"{file.name} cannot be read as JSON ({type(error).__name__}).",
            todo=f"Write it such as {EXAMPLE}.",
            code="worker_file_invalid",
        ) from None
    graphs = given.get("graphs") if isinstance(given, Mapping) else None
    if not isinstance(graphs, Mapping) or not graphs:
        raise WorkerRefused(
            f"{file.name} names no graph.",
            todo=f'Name at least one under "graphs": {EXAMPLE}.',
            code="worker_no_graphs",
        )
    return [_line(file, str(name), target, folder) for name, target in graphs.items()]


def _line(file: Path, name: str, target: Any, folder: Path) -> _Named:
    path = target.get("path") if isinstance(target, Mapping) else target
    where, _, variable = path.rpartition(":") if isinstance(path, str) else ("", "", "")
    if not where or not variable.isidentifier():
        raise WorkerRefused(
            f"{file.name} does not say where graph {name!r} is.",
            todo=f"Write a file and a variable in it, such as {EXAMPLE}.",
            code="worker_file_invalid",
        )
    return _Named(name=name, where=where, variable=variable, folder=folder)


def _module(named: _Named) -> ModuleType:
    try:
        return _from_file(named) if named.where.endswith(".py") else importlib.import_module(named.where)
    except ControlError:
        raise
    except (FileNotFoundError, ModuleNotFoundError) as error:
        missing = error.name if isinstance(error, ModuleNotFoundError) else named.where
        raise WorkerRefused(
            f"The module of {named} is not there, or imports what is not there: {missing}.",
            todo="Correct the path, which is relative to the file that names it, or install what is missing.",
            code="worker_module_missing",
        ) from error
    except Exception as error:
        raise _failed(named, error) from error


def _from_file(named: _Named) -> ModuleType:
    path = (named.folder / named.where).resolve(strict=True)
    # One file is one module, however many graphs are in it: it makes one Control.
    name = f"langgraph_json_{path.stem}_{hashlib.sha256(str(path).encode()).hexdigest()[:12]}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise FileNotFoundError(path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _bound(named: _Named, module: ModuleType, given: _Given) -> Ledger:
    if not hasattr(module, named.variable):
        raise WorkerRefused(
            f"There is no variable {named.variable!r} in the module of {named}.",
            todo="Name a graph, or a function that returns one.",
            code="worker_graph_missing",
        )
    graph = _made(named, getattr(module, named.variable), lambda: _control_of(named, module, given))
    ledger = binder_of(graph)
    if ledger is None:
        control = _control_of(named, module, given)
        control.bind(graph, name=named.name)
        return ledger_of(control)
    if ledger.graphs.get(named.name) is not graph:
        raise WorkerRefused(
            f"The {named} was bound under the name {graph.name!r}, and its runs are recorded under that.",
            todo="Use one name in both places.",
            code="worker_graph_name",
        )
    return ledger


def _made(named: _Named, found: Any, control: Callable[[], Control]) -> Any:
    """Return the graph behind a variable: called if it is a function, compiled if it is a builder."""
    try:
        if inspect.isroutine(found):
            takes = inspect.signature(found).parameters
            found = found(control=control()) if "control" in takes else found()
            if inspect.isawaitable(found):
                found = asyncio.run(_awaited(found))
        if not isinstance(found, Pregel) and callable(getattr(found, "compile", None)):
            found = found.compile()
    except ControlError:
        raise
    except Exception as error:
        raise _failed(named, error) from error
    if not isinstance(found, Pregel):
        raise WorkerRefused(
            f"The {named} is a {type(found).__name__} and no graph.",
            todo="Name a graph, a builder, or a function that returns one of them.",
            code="worker_graph_missing",
        )
    return found


async def _awaited(found: Any) -> Any:
    return await found


def _control_of(named: _Named, module: ModuleType, given: _Given) -> Control:
    known = {id(value): value for value in vars(module).values() if isinstance(value, Control)}
    if len(known) > 1:
        raise WorkerRefused(
            f"The module of the {named} has {len(known)} Controls, and nothing says which one is meant.",
            todo="Bind the graph there: graph = control.bind(graph, name=…).",
            code="worker_no_control",
        )
    return next(iter(known.values())) if known else given.control(named)


def _failed(named: _Named, error: Exception) -> WorkerRefused:
    return WorkerRefused(
        f"The {named} cannot be made: its code raised {type(error).__name__}.",
        todo="Import the module by itself and see why.",
        code="worker_graph_failed",
    )
