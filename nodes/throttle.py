"""Warnings that come with every image, told once in a while."""

import time
from typing import Any

# Texts whose first characters are the same tell of the same thing with other figures.
ALIKE = 40


class ThrottledWarnings:
    """Logs each kind of warning at most once in a period (rclpy throttles by line of code)."""

    def __init__(self, logger: Any, period_s: float = 5.0):
        self._logger = logger
        self._period_s = period_s
        self._told_s: dict[str, float] = {}

    def warn(self, kind: str, text: str) -> None:
        """Log the text unless this kind was told less than a period ago."""
        now_s = time.monotonic()
        if now_s - self._told_s.get(kind, -self._period_s) >= self._period_s:
            self._told_s[kind] = now_s
            self._logger.warning(text)

    def tell(self, text: str) -> None:
        """Log the text unless one that begins alike was told less than a period ago."""
        self.warn(text[:ALIKE], text)
