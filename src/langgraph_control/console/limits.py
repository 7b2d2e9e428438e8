"""How often somebody may try: buckets that fill up again with time."""

from collections import OrderedDict
from dataclasses import dataclass
from threading import Lock

__all__ = ["RateLimit"]

KEYS_MAX = 10_000
"""More are not kept apart: the one that was idle longest starts afresh."""


@dataclass(slots=True)
class _Bucket:
    left: float
    at: float


class RateLimit:
    """Allows so many tries at once, and so many a minute in the long run. Keeps nothing but a count.

    Args:
        burst: tries at once.
        per_minute: tries that come back each minute.
    """

    def __init__(self, *, burst: int, per_minute: float) -> None:
        self._burst, self._per_second = float(burst), per_minute / 60
        self._buckets: OrderedDict[str, _Bucket] = OrderedDict()
        self._lock = Lock()

    def takes(self, key: str, now: float) -> bool:
        """Count a try, and return whether it is within the limit.

        Args:
            key: whose try it is.
            now: by a monotonic clock, in seconds.
        """
        with self._lock:
            bucket = self._buckets.setdefault(key, _Bucket(self._burst, now))
            self._buckets.move_to_end(key)
            while len(self._buckets) > KEYS_MAX:
                self._buckets.popitem(last=False)
            bucket.left = min(self._burst, bucket.left + (now - bucket.at) * self._per_second)
            bucket.at = now
            if bucket.left < 1:
                return False
            bucket.left -= 1
            return True
