"""Whether a SIGKILL that nobody sent was the kernel's answer to a full memory."""

from __future__ import annotations

from pathlib import Path

__all__ = ["OomCounter"]

VMSTAT = Path("/proc/vmstat")


class OomCounter:
    """The kernel's count of processes it killed for memory, limits of control groups included.

    Each kill it counted since this object was made explains one death and no more.
    """

    def __init__(self) -> None:
        self._explained = self._read()

    def explains(self) -> bool:
        """Whether there was such a kill that has not explained another death yet; it then has explained this one."""
        if self._explained is None:
            return False
        now = self._read()
        if now is None or now <= self._explained:
            return False
        self._explained += 1
        return True

    def _read(self) -> int | None:
        try:
            for line in VMSTAT.read_text(encoding="ascii").splitlines():
                name, _, value = line.partition(" ")
                if name == "oom_kill":
                    return int(value)
        except (OSError, ValueError):
            return None
        return None
