"""Every exception langgraph_control raises, with a stable ``code``; each says what happened, what is safe, what to do.

ControlError
├── PolicyError              the policy file is wrong; the text names file, line and key
├── ContractError            a tool's contract is wrong; fix the declaration
├── ArgumentError            a call's arguments cannot be keyed or canonical; nothing was done
├── GraphRefused             the graph would repeat or lose effects; compile or invoke it as the message says
├── NoRun                    a governed write outside a run; start it with ``control.run``
├── WriteRefused             policy, people or limits said no; nothing was done
├── KeyConflict              one action key, two different changes; ask a person
├── NeedsHuman               the outcome cannot be found out by the program; a person settles it
├── UnknownRun               no such run for this tenant
├── RunRefused               the run cannot be started, joined or resumed now; the text says why and what to do
├── NotAuthenticated         a credential is not accepted; the text says why
├── SignInError              how people sign in is set up wrong; the text names file and key
├── ApprovalRefused          a vote was refused; the text says which rule refused it
├── OperationRefused         an operator's word does not count; the text says why
├── MiddlewareUnavailable    LangChain is not installed, which only ``langgraph_control.middleware`` needs
├── WorkerRefused            the worker cannot start as it was called; the text says what to change
├── ConsoleRefused           the console cannot start as it was called; the text says what to change
├── ExportRefused            the file that says where spans go cannot be used; the text names the key
├── NotifyRefused            the file that says who is told of requests cannot be used; the text names the key
├── SealRefused              a signing key or a pin cannot be used, or the tree is not what was signed
├── PinFailed                a checkpoint is not certain to be kept outside; the sealer tries again
├── QueueUnavailable         what wakes workers cannot be reached; runs are safe, and are found by the next sweep
├── TrailUnavailable         nothing was done, because nothing could be recorded; retry later
│   └── DatabaseRefused      the server answers, but this login or this DSN may not do what is needed
├── RequestRefused           the ledger's function takes no such request; nothing was done, and a repeat does not help
├── SchemaMismatch           the database lacks the functions this release calls; migrate
└── LocalServerError         the development server cannot be started; the text names the remedies

Control flow is no error and is not here: a parked or fenced-off call leaves the graph as a bubble-up
(:mod:`langgraph_control.nodes.bubbles`).
"""

from typing import ClassVar

__all__ = [
    "ApprovalRefused",
    "ArgumentError",
    "ConsoleRefused",
    "ContractError",
    "ControlError",
    "DatabaseRefused",
    "ExportRefused",
    "GraphRefused",
    "KeyConflict",
    "LocalServerError",
    "MiddlewareUnavailable",
    "NeedsHuman",
    "NoRun",
    "NotAuthenticated",
    "NotifyRefused",
    "OperationRefused",
    "PinFailed",
    "PolicyError",
    "QueueUnavailable",
    "RequestRefused",
    "RunRefused",
    "SchemaMismatch",
    "SealRefused",
    "SignInError",
    "TrailUnavailable",
    "UnknownRun",
    "WorkerRefused",
    "WriteRefused",
]


class ControlError(Exception):
    """Root of every error raised on purpose. ``code`` is stable; ``what``, ``safe`` and ``todo`` are for people.

    Args:
        what: what happened, in one sentence, without secrets or payloads.
        safe: what is certain now ("nothing was done", "the record is complete").
        todo: the next step, as a command or a change to make.
        code: a narrower stable code than the class's own, where one class covers several cases.
    """

    code: ClassVar[str] = "control_error"

    def __init__(self, what: str, *, safe: str = "Nothing was done.", todo: str = "", code: str | None = None) -> None:
        self.what, self.safe, self.todo = what, safe, todo
        if code is not None:
            self.code = code  # type: ignore[misc]  # an instance may narrow its class's code
        super().__init__(" ".join(part for part in (what, safe, todo) if part) + f" [{self.code}]")


class PolicyError(ControlError):
    """The policy cannot be used. The text names file, line and key; a bad file never replaces a good one."""

    code = "policy_invalid"


class ContractError(ControlError):
    """A tool's contract is wrong. Raised when tools are declared or governed, before any run."""

    code = "contract_invalid"


class ArgumentError(ControlError):
    """A call's arguments cannot be turned into canonical values, or a money value is a float."""

    code = "arguments_invalid"


class GraphRefused(ControlError):  # noqa: N818 - named for what happened to the graph
    """The graph, or the way it was invoked, would repeat or lose effects. The text says what to write instead."""

    code = "graph_refused"


class NoRun(ControlError):  # noqa: N818
    """A governed write was called outside a run. Start the graph with ``control.run``; nothing was done."""

    code = "no_run"


class WriteRefused(ControlError):  # noqa: N818
    """Policy, people or limits said no. Inside a tool call the model sees this as an error tool message."""

    code = "write_refused"


class KeyConflict(ControlError):  # noqa: N818
    """One action key, two different changes, and the first may have happened. Ask a person."""

    code = "key_conflict"


class NeedsHuman(ControlError):  # noqa: N818
    """What happened cannot be found out by the program. A person looks and settles it; nothing is repeated."""

    code = "needs_human"


class UnknownRun(ControlError):  # noqa: N818
    """No run of that id or trigger exists for this tenant."""

    code = "run_unknown"


class RunRefused(ControlError):  # noqa: N818
    """The run cannot be started, joined or resumed now; the text says why and what to do."""

    code = "run_refused"


class NotAuthenticated(ControlError):  # noqa: N818
    """A person's credential is not accepted: unknown, expired, or not for this service. Nothing was asked or done."""

    code = "not_authenticated"


class SignInError(ControlError):
    """How people sign in is set up wrong: a file of tokens, or an OpenID provider. The text names file and key."""

    code = "sign_in_invalid"


class ApprovalRefused(ControlError):  # noqa: N818
    """A vote was refused and the refusal recorded; the text says which rule refused it."""

    code = "approval_refused"


class OperationRefused(ControlError):  # noqa: N818
    """An operator's word does not count: not theirs to give, or not at this moment. The text says which."""

    code = "operation_refused"


class MiddlewareUnavailable(ControlError, ImportError):  # noqa: N818
    """``langgraph_control.middleware`` was imported where LangChain is not installed. Nothing else needs it."""

    code = "langchain_missing"


class WorkerRefused(ControlError):  # noqa: N818
    """The worker cannot start as it was called: its file of graphs, its name or its queue. No run was touched."""

    code = "worker_refused"


class ConsoleRefused(ControlError):  # noqa: N818
    """The console cannot start as it was called: its address, its port, or what it needs. Nothing was changed."""

    code = "console_refused"


class ExportRefused(ControlError):  # noqa: N818
    """The file that says where spans go cannot be used. The text names file, line and key; nothing was exported."""

    code = "export_invalid"


class NotifyRefused(ControlError):  # noqa: N818
    """The file that says who is told of requests cannot be used. The text names file, line and key; nobody was told."""

    code = "notify_invalid"


class SealRefused(ControlError):  # noqa: N818
    """A signing key or a pin cannot be used, or the tree is not what was sealed before. Nothing was signed."""

    code = "seal_refused"


class PinFailed(ControlError):  # noqa: N818
    """It is not certain that a checkpoint is kept outside the database. A sealer tries again; no run waits for it."""

    code = "pin_failed"


class QueueUnavailable(ControlError):  # noqa: N818
    """What wakes workers cannot be reached. No run is lost by that: what is due stays due, and a sweep finds it."""

    code = "queue_unavailable"


class TrailUnavailable(ControlError):  # noqa: N818
    """The ledger cannot be reached or written. Nothing was done, because nothing could be recorded."""

    code = "trail_unavailable"


class DatabaseRefused(TrailUnavailable):
    """The server answers, but the login, its rights or the DSN are wrong; retrying will not help."""

    code = "database_refused"


class RequestRefused(ControlError):  # noqa: N818
    """One of the ledger's functions refused a request that cannot be one. A repeat does not help; nothing was done."""

    code = "request_refused"


class SchemaMismatch(ControlError):  # noqa: N818
    """The database lacks functions that this release calls. Run ``langgraph-control migrate`` on the admin login."""

    code = "schema_mismatch"


class LocalServerError(ControlError):
    """The development server cannot be started; the text names both remedies."""

    code = "local_server"
