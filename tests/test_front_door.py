"""The front door: twelve names, all importable, and nothing heavy before it is needed."""

import inspect
import subprocess
import sys

import pytest

import langgraph_control
from langgraph_control import checks, contracts, errors, identity, middleware, server, testing

NAMES = [
    "ABSENT",
    "Action",
    "Approvals",
    "Call",
    "Control",
    "ControlError",
    "Policy",
    "Run",
    "current_action",
    "reads",
    "saga",
    "writes",
]


def test_there_are_twelve_names() -> None:
    """`__all__` is sorted and holds exactly these."""
    assert langgraph_control.__all__ == NAMES
    assert sorted(NAMES) == NAMES


def test_what_is_exported_is_importable() -> None:
    """Each name gives the object its module defines, and a star import gives them all."""
    imported: dict[str, object] = {}
    exec("from langgraph_control import *", imported)  # noqa: S102 - what is tested is the star import
    assert set(NAMES) <= set(imported)
    assert all(imported[name] is getattr(langgraph_control, name) for name in NAMES)
    assert set(NAMES) <= set(dir(langgraph_control))


def test_what_a_control_does() -> None:
    """These are all of Control's methods; each that talks to the ledger has its twin for event loops."""
    methods = {name for name, member in inspect.getmembers(langgraph_control.Control, callable) if name[0] != "_"}
    blocking = {"answer", "get", "receipt", "reload", "resume", "run", "stream", "submit"}
    assert methods == {"bind", "close", "govern", "local", "subgraph", *blocking, *(f"a{name}" for name in blocking)}


@pytest.mark.parametrize("module", [checks, contracts, errors, identity, middleware, server, testing])
def test_public_modules_export_what_they_have(module: object) -> None:
    """What a public submodule lists, it has."""
    listed = getattr(module, "__all__", [])
    assert listed
    assert all(hasattr(module, name) for name in listed)


def test_an_unknown_name_is_an_attribute_error() -> None:
    """The lazy front door says what any module says."""
    with pytest.raises(AttributeError, match="no attribute 'transaction'"):
        _ = langgraph_control.transaction


def test_errors_and_the_policy_do_not_import_langgraph() -> None:
    """Whoever only reads a policy or catches our errors does not pay for importing LangGraph or the driver."""
    program = (
        "import sys; from langgraph_control import ControlError, Policy;"
        "print([name for name in ('langgraph', 'langchain_core', 'psycopg') if name in sys.modules])"
    )
    shown = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True, timeout=60)
    assert shown.stdout.strip() == "[]"
