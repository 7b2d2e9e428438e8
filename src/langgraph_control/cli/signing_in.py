"""Who types a command: the person of the database login, or whom a credential in the environment says."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final, TypeAlias

import typer

from langgraph_control.audit.people.identity import Authenticator, NotAuthenticated
from langgraph_control.audit.people.sign_in import authenticator_from

__all__ = ["AUTH_VARIABLE", "TOKEN_VARIABLE", "Auth", "SignIn", "sign_in"]

AUTH_VARIABLE: Final = "LANGGRAPH_CONTROL_AUTH"
TOKEN_VARIABLE: Final = "LANGGRAPH_CONTROL_TOKEN"  # noqa: S105 - the variable's name; never an option: ps shows those

Auth: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        "--auth",
        metavar="FILE",
        envvar=AUTH_VARIABLE,
        help=f"How people sign in; your credential is read from {TOKEN_VARIABLE}.",
        show_default=False,
    ),
]


@dataclass(frozen=True, slots=True, kw_only=True)
class SignIn:
    """What the commands hand on.

    Args:
        authenticator: recognises people; None: the database login's person types.
        credential: what it recognises them by.
    """

    authenticator: Authenticator | None
    credential: str | None


def sign_in(auth: Path | None) -> SignIn:
    """Return the authenticator that a file names, and the credential of the environment.

    Args:
        auth: the file; None: there is none.

    Raises:
        SignInError: the file cannot be used.
        NotAuthenticated: one of the two is missing.
    """
    credential = os.environ.get(TOKEN_VARIABLE, "").strip() or None
    if auth is None:
        if credential is not None:
            raise NotAuthenticated(
                f"{TOKEN_VARIABLE} is set, but not by whom it is looked at.",
                todo=f"Set {AUTH_VARIABLE} or give --auth FILE; or unset {TOKEN_VARIABLE}.",
                code="no_authenticator",
            )
        return SignIn(authenticator=None, credential=None)
    authenticator = authenticator_from(auth)
    if credential is None:
        raise NotAuthenticated(
            "This needs a credential, and none was given.", todo=f"Set {TOKEN_VARIABLE}.", code="no_credential"
        )
    return SignIn(authenticator=authenticator, credential=credential)
