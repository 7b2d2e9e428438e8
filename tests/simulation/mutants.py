"""Deliberate mistakes, each in one layer. The simulation must find every one; what another guard masks is tried without it."""

import importlib
import inspect
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import ModuleType

__all__ = ["MUTANTS", "Mutant", "applied"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutant:
    """One mistake.

    Args:
        name: what it does wrong.
        layer: where: gate, guards, contract keys, SQL or trail.
        python: changes to source text: module → ((old, new), ...).
        sql: changes to functions: name → (old text, new text).
        removed: guards taken away because they mask it.
    """

    name: str
    layer: str
    python: Mapping[str, tuple[tuple[str, str], ...]] = field(default_factory=dict)
    sql: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    removed: tuple[str, ...] = ()


MUTANTS: tuple[Mutant, ...] = ()


@contextmanager
def applied(mutant: Mutant | None) -> Iterator[None]:
    """Rewrite the modules a mutant changes, and put them back."""
    changed: list[tuple[ModuleType, str]] = []
    for name, replacements in (mutant.python if mutant else {}).items():
        module = importlib.import_module(name)
        source = inspect.getsource(module)
        mutated = source
        for old, new in replacements:
            if old not in mutated:
                raise LookupError(f"the mutant's text is not in {name}: {old}")
            mutated = mutated.replace(old, new)
        changed.append((module, source))
        exec(compile(mutated, name, "exec"), module.__dict__)  # noqa: S102 - the point of a mutant
    try:
        yield
    finally:
        for module, source in changed:
            exec(compile(source, module.__name__, "exec"), module.__dict__)  # noqa: S102 - as it was
