"""People recognised by the tokens of an OpenID provider: signed, short-lived, and meant for this service alone.

Follows RFC 7519 (JWT), RFC 8725 (its best current practices) and OpenID Connect Core 1.0. Every refusal has a code of
its own; neither token nor claims are in a text.
"""

import hashlib
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, TypeVar

from langgraph_control.audit.people.fetching import may_fetch
from langgraph_control.audit.people.identity import Identity, NotAuthenticated
from langgraph_control.audit.people.provider_keys import FAMILIES, ProviderKeys, missing_extra
from langgraph_control.audit.printable import hides_nothing
from langgraph_control.errors import SignInError

if TYPE_CHECKING:
    from types import ModuleType

__all__ = ["ALGORITHMS", "OpenIDConnect"]

Value = TypeVar("Value")

ALGORITHMS: Final = tuple(FAMILIES)
"""Accepted by default: all that sign with a private key. There is no other."""

TOKEN_CHARS_MAX: Final = 16_384
LEEWAY_SECONDS_MAX: Final = 300
NAME_CHARS_MAX: Final = 256
SUBJECT_CHARS_MAX: Final = 2000
REQUIRED: Final = ("exp", "sub", "iss", "aud")

# What a token may call itself (RFC 8725, section 3.11): logout tokens and the like are no sign-in.
TYPES: Final = frozenset({"jwt", "at+jwt", "application/jwt", "application/at+jwt"})


class OpenIDConnect:
    """Recognises people by JWTs of one OpenID provider. An :class:`Authenticator`.

    Nothing is fetched before the first token. Keys are then kept for an hour, and fetched again, at most every ten
    seconds, when a token names one that is not known. While a fetch fails the keys of before stay in use.

    Args:
        issuer: the provider's issuer URL, exactly as its tokens have it in ``iss``; https, or http on this machine.
        audience: what tokens for this service have in ``aud``: the service's own, not a name shared with others.
        person_claim: the claim that names people as the policy does. With ``email`` a token that says
            ``email_verified: false`` is refused.
        groups_claim: the claim with the list of the person's groups; a token without it is of no group.
        algorithms: which signatures are accepted; asymmetric ones only.
        leeway_seconds: by how much the provider's clock and this one may differ; at most 300.
        jwks_url: where the provider's keys are; None: where its discovery document says.
        acr_values: which strengths of sign-in are accepted (``acr``); empty: any, and none.

    Raises:
        SignInError: a value cannot be used, or the extra ``[oidc]`` is not installed.
    """

    def __init__(
        self,
        issuer: str,
        audience: str,
        *,
        person_claim: str = "email",
        groups_claim: str = "groups",
        algorithms: Iterable[str] = ALGORITHMS,
        leeway_seconds: float = 30,
        jwks_url: str | None = None,
        acr_values: Iterable[str] = (),
    ) -> None:
        self._jwt = _jwt()
        self._issuer = _checked("issuer", issuer, ok=may_fetch(issuer), wanted="https://…, or http on this machine")
        self._audience = _checked(
            "audience", audience, ok=bool(audience), wanted="what the service's tokens have in aud"
        )
        self._person_claim = _checked("person_claim", person_claim, ok=bool(person_claim), wanted="a claim's name")
        self._groups_claim = _checked("groups_claim", groups_claim, ok=bool(groups_claim), wanted="a claim's name")
        self._algorithms = _checked(
            "algorithms",
            frozenset(algorithms),
            ok=bool(set(algorithms)) and set(algorithms) <= set(ALGORITHMS),
            wanted=f"some of {', '.join(ALGORITHMS)}: a signature must need a key that only the provider has",
        )
        self._leeway_seconds = _checked(
            "leeway_seconds",
            leeway_seconds,
            ok=0 <= leeway_seconds <= LEEWAY_SECONDS_MAX,
            wanted=f"0 to {LEEWAY_SECONDS_MAX}",
        )
        if jwks_url is not None:
            _checked("jwks_url", jwks_url, ok=may_fetch(jwks_url), wanted="https://…, or http on this machine")
        self._acr_values = frozenset(acr_values)
        self._keys = ProviderKeys(issuer, jwks_url=jwks_url)

    def authenticate(self, credential: str) -> Identity:
        """Return whom the provider says the token's bearer is.

        Args:
            credential: the token, as it stands after ``Bearer``.

        Raises:
            NotAuthenticated: each reason under its own code; see docs/identity.md.
        """
        if len(credential) > TOKEN_CHARS_MAX:
            raise NotAuthenticated(
                f"The token has more than {TOKEN_CHARS_MAX} characters.",
                todo="Have the provider put less into it.",
                code="token_oversized",
            )
        return self._identity(self._claims(credential), credential)

    def _claims(self, token: str) -> Mapping[str, Any]:
        """Return what the token says, once it is certain that the provider said it, to this service, about now."""
        jwt = self._jwt
        header = self._header(token)
        algorithm = header["alg"]
        key = self._keys.find(header.get("kid"), algorithm)
        if key is None:
            raise NotAuthenticated(
                "The provider has no key of the name and kind with which the token is signed.",
                todo="Sign in again at the provider.",
                code="token_key_unknown",
            )
        try:
            claims: Mapping[str, Any] = jwt.decode(
                token,
                key,
                algorithms=[algorithm],
                audience=self._audience,
                issuer=self._issuer,
                leeway=self._leeway_seconds,
                options={"require": list(REQUIRED)},
            )
        except jwt.ExpiredSignatureError:
            raise NotAuthenticated(
                "The token has expired.", todo="Sign in again at the provider.", code="token_expired"
            ) from None
        except jwt.ImmatureSignatureError:
            raise NotAuthenticated(
                "The token is not valid yet.",
                todo="Wait a little, or set this machine's clock right.",
                code="token_not_yet_valid",
            ) from None
        except jwt.InvalidIssuerError:
            raise NotAuthenticated(
                "The token is of another issuer.", todo="Sign in at the configured one.", code="token_issuer"
            ) from None
        except jwt.InvalidAudienceError:
            raise NotAuthenticated(
                "The token is meant for another service.",
                todo="Sign in for this one: the audience is configured.",
                code="token_audience",
            ) from None
        except jwt.MissingRequiredClaimError as error:
            raise _claim_missing(error.claim) from None
        except jwt.InvalidSignatureError:
            raise NotAuthenticated(
                "The token's signature is not the provider's.",
                todo="Sign in again at the provider.",
                code="token_signature",
            ) from None
        except (jwt.PyJWTError, ValueError, TypeError, OverflowError, RecursionError):
            raise _malformed() from None
        return claims

    def _header(self, token: str) -> Mapping[str, Any]:
        try:
            header: Mapping[str, Any] = self._jwt.get_unverified_header(token)
        except (self._jwt.PyJWTError, ValueError, TypeError, RecursionError):
            raise _malformed() from None
        algorithm, kind = header.get("alg"), header.get("typ")
        if not isinstance(algorithm, str) or algorithm not in self._algorithms:
            raise NotAuthenticated(
                "The token is not signed in a way that is accepted.",
                todo="Have the provider sign with a private key: RS256, ES256 or EdDSA.",
                code="token_algorithm",
            )
        if kind is not None and (not isinstance(kind, str) or kind.lower() not in TYPES):
            raise _no_sign_in()
        return header

    def _identity(self, claims: Mapping[str, Any], token: str) -> Identity:
        if "events" in claims:  # a logout or security event token (OpenID Connect Back-Channel Logout 1.0, section 2.4)
            raise _no_sign_in()
        person = _text(claims, self._person_claim, NAME_CHARS_MAX)
        if self._person_claim == "email" and claims.get("email_verified", True) is not True:
            raise NotAuthenticated(
                "The provider has not verified that the address is this person's.",
                todo="Verify it at the provider, or name people by another claim.",
                code="token_email_unverified",
            )
        acr = None if claims.get("acr") is None else _text(claims, "acr", NAME_CHARS_MAX)
        if self._acr_values and acr not in self._acr_values:
            raise NotAuthenticated(
                "The sign-in was not strong enough for this service.",
                todo=f"Sign in with one of: {', '.join(sorted(self._acr_values))}.",
                code="token_acr",
            )
        groups = claims.get(self._groups_claim, [])
        if not isinstance(groups, list) or any(not _is_clean(group, NAME_CHARS_MAX) for group in groups):
            raise _claim_invalid(self._groups_claim)
        named = claims["jti"] if isinstance(claims.get("jti"), str) and claims["jti"] else token
        return Identity(
            person=person,
            issuer=self._issuer,
            subject=_text(claims, "sub", SUBJECT_CHARS_MAX),
            groups=tuple(groups),
            acr=acr,
            credential=hashlib.sha256(named.encode(errors="surrogatepass")).hexdigest(),
            expires_at=_moment(claims["exp"]),
        )


def _jwt() -> "ModuleType":
    try:
        import cryptography  # noqa: F401 - without it PyJWT knows shared keys only
        import jwt
    except ImportError:
        raise missing_extra() from None
    return jwt


def _checked(key: str, value: Value, *, ok: bool, wanted: str) -> Value:
    if not ok:
        raise SignInError(f"{key}: this value cannot be used.", todo=f"Write {wanted}.", code="oidc_value")
    return value


def _text(claims: Mapping[str, Any], name: str, chars_max: int) -> str:
    value = claims.get(name)
    if value is None or value == "":
        raise _claim_missing(name)
    if not _is_clean(value, chars_max):
        raise _claim_invalid(name)
    return str(value)


def _is_clean(value: Any, chars_max: int) -> bool:
    """Say whether this is a text that looks like what it is: nothing hidden, and not too long for the record."""
    return isinstance(value, str) and 0 < len(value) <= chars_max and hides_nothing(value)


def _moment(seconds: Any) -> datetime:
    try:
        return datetime.fromtimestamp(int(seconds), UTC)
    except (ValueError, TypeError, OverflowError, OSError):
        raise _claim_invalid("exp") from None


def _malformed() -> NotAuthenticated:
    return NotAuthenticated(
        "That is no token of an OpenID provider.", todo="Sign in again at the provider.", code="token_malformed"
    )


def _no_sign_in() -> NotAuthenticated:
    return NotAuthenticated(
        "The token says something else than who its bearer is.",
        todo="Use an ID token or an access token.",
        code="token_type",
    )


def _claim_missing(name: str) -> NotAuthenticated:
    return NotAuthenticated(
        f"The token lacks the claim {name}.", todo="Have the provider put it into tokens.", code="token_claim_missing"
    )


def _claim_invalid(name: str) -> NotAuthenticated:
    return NotAuthenticated(
        f"The token's claim {name} is not of the form that is needed.",
        todo="Have the provider put visible names of at most 256 characters there; groups as a list.",
        code="token_claim_invalid",
    )
