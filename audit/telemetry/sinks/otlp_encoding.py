"""Spans as the bytes of an OTLP request. A test holds them equal to what OpenTelemetry's own encoder makes.

Theirs takes most of the time there is for a span, for it makes each attribute anew; here the bytes of one that was met
before are used again. Field numbers are those of opentelemetry-proto's ``trace.proto`` and ``common.proto``.
"""

import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import groupby
from typing import Any, Final

from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.trace import Link, SpanContext

__all__ = ["request_bytes"]

REMEMBERED: Final = 8192  # attributes
HAS_IS_REMOTE: Final = 0x100
IS_REMOTE: Final = 0x200

_FIXED64: Final = struct.Struct("<Q").pack
_FIXED32: Final = struct.Struct("<I").pack
_DOUBLE: Final = struct.Struct("<d").pack
_SHORT: Final = tuple(bytes((number,)) for number in range(128))


def request_bytes(spans: Sequence[ReadableSpan]) -> bytes:
    """Return an ``ExportTraceServiceRequest`` with some spans, in their order.

    Args:
        spans: the spans.

    Raises:
        TypeError, ValueError: one of them holds what cannot be encoded.
    """
    return b"".join(
        _part(1, _resource_spans(resource, tuple(of_resource)))
        for resource, of_resource in groupby(spans, lambda span: span.resource)
    )


def _resource_spans(resource: Any, spans: Sequence[ReadableSpan]) -> bytes:
    told = b"".join(_attributes(1, resource.attributes))
    parts = [_part(1, told)]
    for scope, of_scope in groupby(spans, lambda span: span.instrumentation_scope):
        named = b"" if scope is None else _text(1, scope.name) + _text(2, scope.version or "")
        parts.append(_part(2, _part(1, named) + b"".join(_part(2, _span(span)) for span in of_scope)))
    return b"".join(parts)


def _span(span: ReadableSpan) -> bytes:
    context, parent = span.context, span.parent
    if context is None:
        raise ValueError("a span without ids")
    flags = HAS_IS_REMOTE | (IS_REMOTE if parent is not None and parent.is_remote else 0)
    parts = [
        *_ids(context, trace=1, span=2),
        _text(3, context.trace_state.to_header()) if context.trace_state else b"",
        b"" if parent is None else _part(4, parent.span_id.to_bytes(8)),
        _text(5, span.name),
        b"\x30" + _SHORT[span.kind.value + 1],
        b"\x39" + _FIXED64(span.start_time or 0),
        b"\x41" + _FIXED64(span.end_time or 0),
        *_attributes(9, span.attributes or {}),
        *(_part(11, _event(event)) for event in span.events),
        *(_part(13, _link(link)) for link in span.links),
        _part(15, _text(2, span.status.description or "") + _number(3, span.status.status_code.value)),
        b"\x85\x01" + _FIXED32(flags),
    ]
    return b"".join(parts)


def _event(event: Event) -> bytes:
    return b"".join(
        (b"\x09" + _FIXED64(event.timestamp), _text(2, event.name), *_attributes(3, event.attributes or {}))
    )


def _link(link: Link) -> bytes:
    flags = HAS_IS_REMOTE | (IS_REMOTE if link.context.is_remote else 0)
    return b"".join(
        (
            *_ids(link.context, trace=1, span=2),
            *_attributes(4, link.attributes or {}),
            b"\x35" + _FIXED32(flags),
        )
    )


def _ids(context: SpanContext, *, trace: int, span: int) -> Iterator[bytes]:
    yield _part(trace, context.trace_id.to_bytes(16))
    yield _part(span, context.span_id.to_bytes(8))


def _attributes(field: int, attributes: Mapping[str, Any]) -> list[bytes]:
    return [
        _remembered(field, key, value)
        if type(value) is str or type(value) is int or (type(value) is tuple and _is_texts(value))
        else _attribute(field, key, value)
        for key, value in attributes.items()
    ]


def _attribute(field: int, key: str, value: object) -> bytes:
    return _part(field, _text(1, key) + _part(2, _value(value)))


# Never of values that are equal and not the same, such as 1 and True.
_remembered: Final = lru_cache(maxsize=REMEMBERED)(_attribute)


def _is_texts(values: tuple[object, ...]) -> bool:
    return all(type(value) is str for value in values)


def _value(value: object) -> bytes:
    match value:
        case str():
            return _part(1, value.encode())
        case bool():
            return b"\x10" + _SHORT[value]
        case int():
            return b"\x18" + _varint(value & 0xFFFFFFFFFFFFFFFF)
        case float():
            return b"\x21" + _DOUBLE(value)
        case bytes():
            return _part(7, value)
        case Sequence():
            return _part(5, b"".join(_part(1, _value(item)) for item in value))
        case _:
            raise TypeError("an attribute of a kind that OTLP does not have")


def _text(field: int, text: str) -> bytes:
    return _part(field, text.encode()) if text else b""


def _number(field: int, number: int) -> bytes:
    return _SHORT[field << 3] + _varint(number) if number else b""


def _part(field: int, content: bytes) -> bytes:
    tag = field << 3 | 2  # all fields here are below 16
    length = len(content)
    return _SHORT[tag] + (_SHORT[length] if length < len(_SHORT) else _varint(length)) + content


def _varint(number: int) -> bytes:
    if number < len(_SHORT):
        return _SHORT[number]
    return bytes(_sevens(number))


def _sevens(number: int) -> Iterable[int]:
    while number > 0x7F:  # noqa: PLR2004 - seven bits
        yield number & 0x7F | 0x80
        number >>= 7
    yield number
