"""The page on testing is executable: its files are a project of somebody else's, whose tests pass."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs/testing.md").read_text()
BLOCK = re.compile(r"^```python title=(\S+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def test_the_files_of_the_page_are_a_project_that_passes(tmp_path):
    """Every block is a file; pytest runs them with every warning an error."""
    files = dict(BLOCK.findall(PAGE))
    assert {"conftest.py", "test_actors.py", "test_faults.py", "test_roles.py", "test_episode.py"} == set(files)
    assert PAGE.count("```python") == len(files)
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    paths = f"{ROOT} {ROOT / 'drivers'} {ROOT / 'protocol'} {ROOT / 'examples/orchard'}"
    (tmp_path / "pytest.ini").write_text(f"[pytest]\npythonpath = {paths}\nfilterwarnings = error\n")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "24 passed" in done.stdout


def test_every_name_of_the_package_is_explained():
    """What `coworld_actors.testing` offers is on the page, or is what one of the page's names returns."""
    from coworld_actors import testing

    returned = {"EndedAs", "FakeHandle", "FakeRole", "FakeSite", "RoleRun", "Step"}
    missing = [name for name in testing.__all__ if name not in PAGE and name not in returned]
    assert missing == []
