"""An OpenID provider on this machine: real keys, a real server for discovery and keys, and tokens of any kind."""

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any, TypeAlias

import jwt.api_jws
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

PrivateKey: TypeAlias = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey
Answer: TypeAlias = tuple[int, Mapping[str, str], bytes]

AUDIENCE = "control.acme.example"
ALGORITHMS = {"rsa": "RS256", "ec": "ES256", "ed": "EdDSA"}


def new_key(kind: str) -> PrivateKey:
    """Return a key of one kind: rsa, ec or ed."""
    match kind:
        case "rsa":
            return rsa.generate_private_key(public_exponent=65537, key_size=2048)
        case "ec":
            return ec.generate_private_key(ec.SECP256R1())
        case _:
            return ed25519.Ed25519PrivateKey.generate()


def public_jwk(key: PrivateKey, **more: Any) -> dict[str, Any]:
    """Return a key's public half as a provider publishes it."""
    match key:
        case rsa.RSAPrivateKey():
            jwk = RSAAlgorithm.to_jwk(key.public_key(), as_dict=True)
        case ec.EllipticCurvePrivateKey():
            jwk = ECAlgorithm.to_jwk(key.public_key(), as_dict=True)
        case _:
            jwk = OKPAlgorithm.to_jwk(key.public_key(), as_dict=True)
    return {**{name: value for name, value in jwk.items() if name != "key_ops"}, "use": "sig", **more}


def public_pem(key: PrivateKey) -> bytes:
    """Return a key's public half as text: what a forger may have."""
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


@dataclass(kw_only=True)
class Provider:
    """A provider, what it publishes, and how often it was asked."""

    issuer: str = ""
    keys: dict[str, PrivateKey] = field(default_factory=lambda: {kind: new_key(kind) for kind in ALGORITHMS})
    asked: list[str] = field(default_factory=list)
    instead: dict[str, Answer] = field(default_factory=dict)
    slow_seconds: float = 0

    def answer(self, path: str) -> Answer:
        """Return status, headers and body for a path."""
        self.asked.append(path)
        if path in self.instead:
            return self.instead[path]
        match path:
            case "/.well-known/openid-configuration":
                return _json({"issuer": self.issuer, "jwks_uri": f"{self.issuer}/keys"})
            case "/keys" | "/moved":
                return _json({"keys": [public_jwk(key, kid=kid) for kid, key in self.keys.items()]})
            case _:
                return 404, {}, b""

    def claims(self, person: str = "ana@acme.example", **more: Any) -> dict[str, Any]:
        """Return what a good token says; a claim that is None is left out."""
        now = int(time.time())
        said = {
            "iss": self.issuer,
            "aud": AUDIENCE,
            "sub": f"id-{person}",
            "email": person,
            "iat": now,
            "exp": now + 300,
        }
        return {name: value for name, value in (said | more).items() if value is not None}

    def token(self, person: str = "ana@acme.example", *, kid: str = "rsa", **more: Any) -> str:
        """Return a token as the provider signs it."""
        return self.signed(self.claims(person, **more), kid=kid)

    def signed(self, claims: Mapping[str, Any], *, kid: str = "rsa", headers: Mapping[str, Any] | None = None) -> str:
        """Return anything signed with one of the provider's keys."""
        algorithm = (headers or {}).get("alg") or ALGORITHMS[kid.partition("-")[0]]
        text = json.dumps(dict(claims)).encode()
        return jwt.api_jws.encode(text, self.keys[kid], algorithm=algorithm, headers={"kid": kid, **(headers or {})})


def _json(value: Any) -> Answer:
    return 200, {"Content-Type": "application/json"}, json.dumps(value).encode()


@contextmanager
def openid_provider() -> Iterator[Provider]:
    """Give a provider that listens on this machine."""
    provider = Provider()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, headers, body = provider.answer(self.path)
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            try:
                for start in range(0, len(body), step := len(body) if not provider.slow_seconds else 1):
                    self.wfile.write(body[start : start + step])
                    self.wfile.flush()
                    time.sleep(provider.slow_seconds)
            except OSError:
                pass  # who asked has left

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the library's name
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        provider.issuer = f"http://127.0.0.1:{server.server_address[1]}"
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        yield provider
        server.shutdown()
        thread.join()
