"""Recognise other libraries' exceptions without importing them: by the names of their classes, by their way here."""

from collections.abc import Iterator, Mapping
from typing import Any


def classes_of(error: BaseException, *packages: str) -> tuple[str, ...]:
    """Return the names of those of an error's classes that belong to a package, the most derived first.

    Args:
        error: any exception. One that a vendor's SDK derived from the package's own is recognised as well.
        *packages: top-level names, such as ``"httpx"``.
    """
    return tuple(cls.__name__ for cls in type(error).__mro__ if package_of(cls) in packages)


def package_of(cls: type) -> str:
    """Return the top-level package a class says that it belongs to.

    Args:
        cls: any class.
    """
    return str(cls.__module__).partition(".")[0]


def passed(error: BaseException, module: str, function: str) -> Iterator[Mapping[str, Any]]:
    """Yield the local variables of each call of a function that an error came through, outermost first.

    Several clients repeat a request by themselves and then raise only what the last try met. Their exceptions say
    nothing of the tries before; the functions they came through do. Where the traceback was dropped, nothing is
    yielded, and then nothing is proven.

    Args:
        error: an exception that was raised.
        module: the function's module, by its full name.
        function: its name.
    """
    step = error.__traceback__
    while step is not None:
        frame = step.tb_frame
        if frame.f_code.co_name == function and frame.f_globals.get("__name__") == module:
            yield frame.f_locals
        step = step.tb_next
