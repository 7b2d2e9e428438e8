"""``console``: the inbox, the cards and the record in a browser."""

import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Final

import typer

from langgraph_control.cli.databases import Dsn, Local, database
from langgraph_control.cli.signing_in import AUTH_VARIABLE
from langgraph_control.errors import ConsoleRefused

__all__ = ["console"]

PORT: Final = 8700
TRACES_VARIABLE: Final = "LANGGRAPH_CONTROL_TRACES"
NEEDED: Final = ("starlette", "jinja2", "uvicorn")


def console(
    *,
    auth: Annotated[
        Path,
        typer.Option("--auth", metavar="FILE", envvar=AUTH_VARIABLE, help="How people sign in.", show_default=False),
    ],
    dsn: Dsn = None,
    local: Local = False,
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="The port to listen on.")] = PORT,
    url: Annotated[
        str | None,
        typer.Option(
            help="The address people use, where it is another one: https://control.acme.example.", show_default=False
        ),
    ] = None,
    traces: Annotated[
        str | None,
        typer.Option(
            envvar=TRACES_VARIABLE,
            help="Where a run's trace is looked at: https://jaeger.acme.example/trace/{trace}.",
            show_default=False,
        ),
    ] = None,
    certificate: Annotated[
        Path | None, typer.Option(help="Serve https with this certificate, PEM.", show_default=False)
    ] = None,
    key: Annotated[Path | None, typer.Option(help="The certificate's key, PEM.", show_default=False)] = None,
) -> None:
    """Serve the console until Ctrl-C: inbox, approvals, runs, the record.

    On an approver's login that may name persons (langgraph-control login add … --service). People sign in there as
    the file says, also on this machine.
    """
    if any(find_spec(name) is None for name in NEEDED):
        raise ConsoleRefused(
            "The console needs packages that are not installed.",
            todo="Install them: pip install 'langgraph-control[console]'",
            code="console_extra",
        )
    if (certificate is None) != (key is None):
        raise ConsoleRefused(
            "A certificate and its key go together.", todo="Give both --certificate and --key.", code="console_key"
        )
    from langgraph_control.audit.people.sign_in import authenticator_from
    from langgraph_control.console.address import Address
    from langgraph_control.console.serving import serve
    from langgraph_control.console.trace_link import TraceLink
    from langgraph_control.console.visiting import Console

    scheme = "http" if certificate is None else "https"
    shown = f"[{host}]" if ":" in host else host
    address = Address.of(url or f"{scheme}://{shown}:{port}")
    link = None if traces is None else TraceLink(traces)
    with database("approver", dsn=dsn, local=local) as place:
        serve(
            Console(place.dsn, authenticator_from(auth), address, traces=link),
            host=host,
            port=port,
            certificate=None if certificate is None or key is None else (certificate, key),
            ready=lambda: print(f"The console is at {address.url}", file=sys.stderr),
        )
