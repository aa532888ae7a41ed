"""The session's watch itself: it fails a session that leaves something behind, and only such a session."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
DRIVERS = HERE.parent / "drivers"
PROTOCOL = HERE.parent / "protocol"

CLEAN = "def test_it(): pass"
CHILD = "import subprocess\ndef test_it(): global p; p = subprocess.Popen(['sleep', '600'])"
ESCAPED = "import subprocess\ndef test_it(): subprocess.run(['sh', '-c', 'setsid sleep 600 & exit 0'], check=True)"
SOCKET = "import socket\ndef test_it(): global s; s = socket.create_server(('127.0.0.1', 0))"
PIPE = "import os\ndef test_it(): os.pipe()"
FILE = "import tempfile\ndef test_it(): tempfile.mkdtemp(prefix='coworld-actors-')"


def play(directory: Path, test: str) -> subprocess.CompletedProcess[str]:
    shutil.copy(HERE / "conftest.py", directory)
    text = (directory / "conftest.py").read_text().replace("SETTLE_SECONDS = 10.0", "SETTLE_SECONDS = 1.0")
    (directory / "conftest.py").write_text(text)
    (directory / "pytest.ini").write_text(f"[pytest]\npythonpath = {HERE.parent} {DRIVERS} {PROTOCOL}\n")
    (directory / "test_it.py").write_text(test)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--basetemp={directory / 'base'}"]
    return subprocess.run(command, cwd=directory, capture_output=True, text=True, timeout=120, check=False)


def test_a_clean_session_passes(tmp_path):
    """Nothing left, nothing said."""
    result = play(tmp_path, CLEAN)
    assert result.returncode == 0, result.stdout


@pytest.mark.parametrize(
    ("test", "named"),
    [(CHILD, "sleep 600"), (ESCAPED, "sleep 600"), (SOCKET, "socket:"), (PIPE, "pipe:"), (FILE, "coworld-actors-")],
    ids=["child", "escaped", "socket", "pipe", "file"],
)
def test_what_is_left_fails_the_session_by_name(tmp_path, test, named):
    """A child, a process that went its own way, a socket, a pipe and a temporary directory are each found."""
    result = play(tmp_path, test)
    assert result.returncode == 1, result.stdout
    assert "the tests left behind" in result.stdout
    assert named in result.stdout.partition("the tests left behind")[2]
