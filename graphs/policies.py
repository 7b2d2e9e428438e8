"""The policy that decides in this process, and its file: a changed file is noticed, a bad one is not taken."""

import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from langgraph_control.errors import PolicyError
from langgraph_control.guards.policy import Policy
from langgraph_control.guards.signals import Impact

__all__ = ["Policies", "read_policy_file", "unpublished"]

logger = logging.getLogger("langgraph_control.policy")

_Mark = tuple[int, int, int]

HASH_DIGITS: Final = 12


@dataclass(slots=True, kw_only=True)
class Policies:
    """The policy in force, and what is known of its file. For any thread.

    Args:
        policy: the policy in force.
        path: its file; None for a policy that was read already.
        publish: makes a changed file the published one, where this process may do that itself.
    """

    policy: Policy
    path: Path | None = None
    publish: Callable[[Policy], object] | None = None
    _mark: _Mark | None = None  # of the file as it was last read
    _changed: Policy | None = None  # read, correct, and not in force yet
    _wrong: PolicyError | None = None  # why the file as it is cannot be taken
    _told_unpublished: str | None = None
    _impacts: dict[str, Impact] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @classmethod
    def of(cls, given: str | Path | Policy) -> "Policies":
        """Return what a Control starts with.

        Args:
            given: the policy file's path, or a policy that was read already.

        Raises:
            PolicyError: the file cannot be read, or is wrong.
        """
        if isinstance(given, Policy):
            return cls(policy=given)
        if not isinstance(given, str | Path):
            raise PolicyError(
                f"policy is a value of type {type(given).__name__}, where a policy is needed.",
                todo='Write Control("control.yaml"), or give what Policy.parse(text) returns.',
                code="policy_missing",
            )
        path = Path(given).absolute()
        mark = _mark_of(path)
        return cls(policy=read_policy_file(path), path=path, _mark=mark)

    def governs(self, impacts: Mapping[str, Impact]) -> None:
        """Hold the policy against tools, and each later one as well.

        Args:
            impacts: the tools' names → what their contracts say they touch.

        Raises:
            PolicyError: a rule lets money pass without an amount bounded on both sides.
        """
        with self._lock:
            self.policy.check_tools(impacts)
            self._impacts.update(impacts)

    def changed(self) -> Policy | None:
        """Return the policy of a file that was changed and is correct, until it is in force. Costs a look at the file.

        A file that is wrong, or allows money without bounds, is spoken of once in the log; what is in force stays.
        """
        if self.path is None:
            return None
        with self._lock:
            mark = _mark_of(self.path)
            if mark != self._mark:
                self._mark = mark
                self._read(self.path, mark)
            return self._changed

    def wrong(self) -> PolicyError | None:
        """Return why the file as it was last read cannot be taken; None where it can, or was."""
        return self._wrong

    def take(self, policy: Policy) -> None:
        """Put a changed policy in force.

        Args:
            policy: what :meth:`changed` returned, published by now.
        """
        with self._lock:
            if self._changed is None or self._changed.hash != policy.hash:
                return  # somebody else was faster, or the file has changed again
            before, self.policy, self._changed = self.policy, policy, None
        logger.info("%s: in force now, %s; before, %s.", policy.source, _short(policy), _short(before))

    def leave(self, policy: Policy) -> None:
        """Say once that a changed policy is not in force because nobody has published it.

        Args:
            policy: what :meth:`changed` returned.
        """
        with self._lock:
            if self._told_unpublished == policy.hash:
                return
            self._told_unpublished = policy.hash
        logger.warning("%s %s stays in force.", unpublished(policy), _short(self.policy))

    def _read(self, path: Path, mark: _Mark | None) -> None:
        self._changed = self._wrong = None
        try:
            policy = read_policy_file(path)
            policy.check_tools(self._impacts)
        except PolicyError as error:
            self._wrong = error
            logger.error("%s changed and is not taken: %s\n%s stays in force.", path.name, error, _short(self.policy))  # noqa: TRY400 - the error says it all
            return
        if policy.hash == self.policy.hash:
            return
        if self.publish is not None:
            self._mark = None  # read again, should this fail
            self.publish(policy)
            self._mark = mark
        self._changed = policy


def read_policy_file(path: Path) -> Policy:
    """Return the policy of a file.

    Args:
        path: the file.

    Raises:
        PolicyError: it cannot be read, or is wrong; the text names file, line and key.
    """
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as unreadable:
        raise PolicyError(
            f"The policy file {path.name} cannot be read ({type(unreadable).__name__}).",
            todo="Pass the path of a UTF-8 text file.",
            code="policy_unreadable",
        ) from unreadable
    return Policy.parse(text, source=path.name)


def unpublished(policy: Policy) -> PolicyError:
    """Return what is raised for a policy that no admin has published.

    Args:
        policy: the policy.
    """
    return PolicyError(
        f"The policy {policy.source} (hash {policy.hash[:HASH_DIGITS]}…) is not published for this tenant.",
        todo=f"Run: langgraph-control policy publish {policy.source}, on the admin login.",
        code="policy_unpublished",
    )


def _mark_of(path: Path) -> _Mark | None:
    """What tells that a file is another one; None where there is none."""
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_mtime_ns, stat.st_size, stat.st_ino


def _short(policy: Policy) -> str:
    return f"The policy with hash {policy.hash[:HASH_DIGITS]}…"
