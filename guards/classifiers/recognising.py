"""Recognise other libraries' exceptions without importing them: by the names of their classes, by their way here."""

from collections.abc import Collection, Iterator, Mapping
from itertools import takewhile
from types import FrameType
from typing import Any, Final

NAME_CHARS_MAX: Final = 200


def class_name(error: BaseException) -> str:
    """Return the name of an error's class, as it was made with. Never raises.

    Args:
        error: any exception.
    """
    # A class's own class may give it another name, or none; and nobody bounds how long one is.
    name: str = type.__dict__["__name__"].__get__(type(error))
    return name[:NAME_CHARS_MAX]


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
    for frame in _frames(error):
        if frame.f_code.co_name == function and frame.f_globals.get("__name__") == module:
            yield frame.f_locals


def caught_within(below: BaseException, error: BaseException, packages: Collection[str]) -> bool:
    """Whether an exception was caught by a client's code, on the way to what the client raised in its place.

    Args:
        below: an exception in the chain of the other one.
        error: what the client raised.
        packages: the top-level packages of clients.
    """
    outside = list(takewhile(lambda frame: _package(frame) not in packages, _frames(error)))
    caught_by = next(_frames(below), None)  # a traceback begins where its exception was caught
    return caught_by is not None and caught_by not in outside


def _frames(error: BaseException) -> Iterator[FrameType]:
    step = error.__traceback__
    while step is not None:
        yield step.tb_frame
        step = step.tb_next


def _package(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__")).partition(".")[0]
