"""The files a browser may ask a game for: everything in one flat directory, read once at start-up."""

from __future__ import annotations

from pathlib import Path

from coworld_protocol.errors import PreconditionMissing
from coworld_protocol.ws.web import Response

__all__ = ["CONTENT_TYPES", "load_pages"]

CONTENT_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".ico": "image/x-icon",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
    ".webp": "image/webp",
    ".woff2": "font/woff2",
}
"""What is served, by suffix; other files of the directory are not."""

# A page may load its own files and open sockets anywhere, because `address` may point anywhere; nothing else.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; "
    "connect-src 'self' ws: wss:; base-uri 'none'; form-action 'none'"
)


def load_pages(directory: Path) -> dict[str, Response]:
    """The answer for each file, by file name. Sub-directories, hidden files and unknown suffixes are left out.

    Raises:
        PreconditionMissing: the directory cannot be read.
    """
    try:
        files = [path for path in sorted(directory.iterdir()) if path.is_file() and not path.name.startswith(".")]
        return {
            path.name: Response(
                body=path.read_bytes(),
                content_type=CONTENT_TYPES[path.suffix.lower()],
                headers=(("Content-Security-Policy", _POLICY),),
            )
            for path in files
            if path.suffix.lower() in CONTENT_TYPES
        }
    except OSError as error:
        raise PreconditionMissing(
            f"The pages in {directory} cannot be read.",
            evidence=str(error),
            todo="check what the game passes as `pages`",
        ) from error
