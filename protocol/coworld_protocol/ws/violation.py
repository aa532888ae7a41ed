"""What a peer did wrong, as the close code it gets: the one exception that codec, deflate and pump share."""

from __future__ import annotations

__all__ = ["Violation"]


class Violation(Exception):
    """The peer broke RFC 6455 or 7692, or a limit of ours; the connection ends with this close code.

    Attributes:
        code: the close code to send: 1002 protocol error, 1007 data that is not what it claims to be, 1009 too big
            (RFC 6455, 7.4.1).
        reason: one short sentence for the close frame and the log; made from our own words only, never from what the
            peer sent.
    """

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(code, reason)
        self.code = code
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.code}: {self.reason}"
