"""An OpenID provider's public keys: fetched when needed, kept, fetched again when a token names one nobody knows."""

import logging
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from threading import Lock
from types import MappingProxyType
from typing import Any, Final

from langgraph_control.audit.people.fetching import CannotFetch, fetch_json, may_fetch
from langgraph_control.audit.people.identity import NotAuthenticated
from langgraph_control.errors import SignInError

__all__ = ["FAMILIES", "ProviderKeys"]

KEEP_SECONDS: Final = 3600.0
REFETCH_SECONDS: Final = 10.0
KEYS_MAX: Final = 100
RSA_BITS_MIN: Final = 2048

FAMILIES: Final[Mapping[str, tuple[str, str | None]]] = MappingProxyType(
    {
        **dict.fromkeys(("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"), ("RSA", None)),
        "ES256": ("EC", "P-256"),
        "ES384": ("EC", "P-384"),
        "ES512": ("EC", "P-521"),
        "EdDSA": ("OKP", None),
    }
)
"""Which keys an algorithm is for: type and curve (RFC 7518, section 3.1; RFC 8037). All of them have two halves."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Key:
    kid: str | None
    family: tuple[str, str | None]
    algorithm: str | None
    key: Any

    def fits(self, kid: str | None, algorithm: str) -> bool:
        kind, curve = FAMILIES[algorithm]
        return (
            self.family[0] == kind
            and curve in (None, self.family[1])
            and self.algorithm in (None, algorithm)
            and kid in (None, self.kid)
        )


class ProviderKeys:
    """The keys of one provider, for all threads of a process.

    Args:
        issuer: the provider.
        jwks_url: where its keys are; None: where its discovery document says.
        keep_seconds: how long a set is used before it is fetched again. It stays in use while that fails.
        refetch_seconds: the shortest time between two fetches, whatever tokens come.
        clock: seconds that only go forward.
    """

    def __init__(
        self,
        issuer: str,
        *,
        jwks_url: str | None = None,
        keep_seconds: float = KEEP_SECONDS,
        refetch_seconds: float = REFETCH_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._issuer, self._jwks_url = issuer, jwks_url
        self._keep_seconds, self._refetch_seconds, self._clock = keep_seconds, refetch_seconds, clock
        self._fetching = Lock()
        self._keys: tuple[_Key, ...] | None = None
        self._fetched_at = self._tried_at = float("-inf")

    def find(self, kid: str | None, algorithm: str) -> Any:
        """Return the public key that a token was signed with; None if the provider has no such key.

        Args:
            kid: as the token names its key; None: the provider's only key that fits.
            algorithm: one of :data:`FAMILIES`.

        Raises:
            NotAuthenticated: ``issuer_unavailable``: no keys are known, and they cannot be fetched now.
        """
        if self._keys is None:
            self._fetch(wait=True)
        elif self._clock() - self._fetched_at >= self._keep_seconds:
            self._fetch(wait=False)
        found = self._fitting(kid, algorithm)
        if found is None:
            self._fetch(wait=True)  # a new key, maybe
            found = self._fitting(kid, algorithm)
        if self._keys is None:
            raise NotAuthenticated(
                "The provider's keys cannot be fetched, so nobody can be recognised.",
                todo=f"Try again in {self._refetch_seconds:g} s; the log says what is wrong.",
                code="issuer_unavailable",
            )
        return found

    def _fitting(self, kid: str | None, algorithm: str) -> Any:
        fitting = [key for key in self._keys or () if key.fits(kid, algorithm)]
        return fitting[0].key if len(fitting) == 1 else None

    def _fetch(self, *, wait: bool) -> None:
        """Fetch the keys, unless that was tried a moment ago. Whoever waits finds what another thread fetched."""
        if not self._fetching.acquire(blocking=wait):
            return
        try:
            now = self._clock()
            if now - self._tried_at < self._refetch_seconds:
                return
            self._tried_at = now
            try:
                self._keys, self._fetched_at = _usable(fetch_json(self._address())), now
            except CannotFetch as error:
                kept = "no keys are known" if self._keys is None else "the keys of before stay in use"
                logger.warning("Keys of %s cannot be fetched: %s; %s.", self._issuer, error, kept)
        finally:
            self._fetching.release()

    def _address(self) -> str:
        """Return where the keys are (OpenID Connect Discovery 1.0, section 4)."""
        if self._jwks_url is not None:
            return self._jwks_url
        found = fetch_json(self._issuer.removesuffix("/") + "/.well-known/openid-configuration")
        if not isinstance(found, dict) or found.get("issuer") != self._issuer:
            raise CannotFetch("the discovery document is of another issuer")
        address = found.get("jwks_uri")
        if not isinstance(address, str) or not may_fetch(address):
            raise CannotFetch("the discovery document names no usable jwks_uri")
        return address


def _usable(document: Any) -> tuple[_Key, ...]:
    """Return the keys that sign; what is not understood is left out (RFC 7517, section 5)."""
    listed = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(listed, list) or len(listed) > KEYS_MAX:
        raise CannotFetch(f"the answer is no set of at most {KEYS_MAX} keys")
    found = tuple(_read(listed))
    if not found:
        raise CannotFetch("the answer has no key that can be used")
    return found


def _read(listed: Iterable[Any]) -> Iterable[_Key]:
    try:
        import jwt
    except ImportError:
        raise missing_extra() from None
    for one in listed:
        if not isinstance(one, dict) or one.get("use") not in (None, "sig"):
            continue
        operations = one.get("key_ops", ["verify"])
        if not isinstance(operations, list) or "verify" not in operations or not isinstance(one.get("kid"), str | None):
            continue
        family = (str(one.get("kty")), one.get("crv") if one.get("kty") == "EC" else None)
        algorithm = next((name for name, wanted in FAMILIES.items() if wanted == family), None)
        if algorithm is None or {"d", "k"} & one.keys():  # a private or a shared key has no business there
            continue
        try:
            key = jwt.PyJWK(one, algorithm=algorithm).key
        except (jwt.PyJWTError, ValueError, TypeError, KeyError):
            continue
        if getattr(key, "key_size", RSA_BITS_MIN) < RSA_BITS_MIN and family[0] == "RSA":
            continue
        yield _Key(kid=one.get("kid"), family=family, algorithm=one.get("alg"), key=key)


def missing_extra() -> SignInError:
    """Return the error for an installation without what reads tokens."""
    return SignInError(
        "OpenID Connect needs PyJWT and cryptography, which are not installed.",
        todo="Install the extra: pip install 'langgraph-control[oidc]'.",
        code="oidc_not_installed",
    )
