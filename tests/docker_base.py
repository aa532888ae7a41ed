"""A base image made of this machine's own parts, for engines that reach no registry: a Python, its libraries, a shell, some tools."""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import shutil
import subprocess
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, NamedTuple

__all__ = ["Base", "Interpreter", "base_of"]

TOOLS = (
    "sh",
    "cat",
    "ls",
    "env",
    "sleep",
    "dd",
    "kill",
    "id",
    "head",
    "mkdir",
    "rm",
    "cp",
    "chmod",
    "touch",
    "df",
    "stat",
    "yes",
)
"""Programs of the machine that tests and Dockerfiles use; one that is missing here is missing there."""

FOR_WHEELS = (
    *("libdl.so.2", "libm.so.6", "libpthread.so.0", "librt.so.1", "libutil.so.1", "libresolv.so.2"),
    *("libnss_files.so.2", "libnss_dns.so.2", "libgcc_s.so.1", "libstdc++.so.6"),
)
"""Libraries that every Linux has, which extension modules of wheels, threads and look-ups of names ask for."""

_UNWANTED = re.compile(
    r"(^|/)(test|tests|idlelib|tkinter|turtledemo|lib2to3|ensurepip|site-packages|dist-packages|config-3[^/]*)(/|$)"
    r"|_tkinter|_test[a-z]*\.|_ctypes_test|xxlimited|EXTERNALLY-MANAGED|\.opt-[12]\.pyc$|sitecustomize"
)
_LIBRARY = re.compile(r"^\s*(?:(\S+) => )?(/\S+) \(0x", re.MULTILINE)

_ASK = """
import json, sys, sysconfig
names = {name: sysconfig.get_path(name) for name in ("stdlib", "platstdlib")}
print(json.dumps({**names, "program": sys._base_executable, "prefix": sys.base_prefix, "version": "%d.%d" % sys.version_info[:2]}))
"""


class Interpreter(NamedTuple):
    """Where a Python and its library are on this machine, and where they are to be in an image.

    Attributes:
        program: the executable, links resolved.
        version: such as 3.11.
        libraries: directories of the standard library.
        prefix: in the image; Debian's own Python has its place compiled in, any other finds its library from where it is.
    """

    program: Path
    version: str
    libraries: tuple[Path, ...]
    prefix: str

    @classmethod
    def of(cls, python: str | Path) -> Interpreter:
        """Look at an interpreter, or at that behind a virtual environment."""
        done = subprocess.run([str(python), "-I", "-c", _ASK], capture_output=True, text=True, check=True)
        said = json.loads(done.stdout)
        libraries = dict.fromkeys(Path(said[name]) for name in ("stdlib", "platstdlib"))
        prefix = "usr" if said["prefix"] == "/usr" else "usr/local"
        # A directory on sys.path may be reached by two names.
        distinct = {path.resolve(): path for path in libraries if path.is_dir() and ".venv" not in path.parts}
        return cls(Path(said["program"]).resolve(), said["version"], tuple(distinct), prefix)


class Base(NamedTuple):
    """Everything that goes into an image.

    Attributes:
        files: path in the image, without its leading slash, to the file of this machine.
        links: path in the image to what it points at.
        texts: path in the image to its content.
        prefix: of the Python in the image.
    """

    files: dict[str, Path]
    links: dict[str, str]
    texts: dict[str, str]
    prefix: str

    @property
    def digest(self) -> str:
        """Twelve digits that are others when anything in it is."""
        found = hashlib.blake2b(Path(__file__).read_bytes(), digest_size=6)
        for name, path in sorted(self.files.items()):
            status = path.stat()
            found.update(f"{name}\0{status.st_size}\0{int(status.st_mtime)}\n".encode())
        found.update(json.dumps([self.links, self.texts], sort_keys=True).encode())
        return found.hexdigest()

    @property
    def changes(self) -> tuple[str, ...]:
        """What `docker import` is to be told."""
        path = "/usr/local/bin:/usr/bin:/bin"
        lines = (f"ENV PATH={path}", "ENV LANG=C.UTF-8", "WORKDIR /", 'CMD ["python3"]', "LABEL coworld-test=base")
        return tuple(word for line in lines for word in ("--change", line))

    def write(self, stream: IO[bytes]) -> None:
        """Write it as a tar archive: owned by root, readable by everybody, with times kept so that compiled modules stay valid."""
        with tarfile.open(fileobj=stream, mode="w|", format=tarfile.GNU_FORMAT) as tar:
            # A file system whose root or /tmp is nobody's would take the modes of whatever created them.
            for name, mode in (*((folder, 0o755) for folder in self._folders()), ("tmp", 0o1777), ("var/tmp", 0o1777)):
                entry = tarfile.TarInfo(name)
                entry.type, entry.mode = tarfile.DIRTYPE, mode
                tar.addfile(entry)
            for name, path in self.files.items():
                with path.open("rb") as content:
                    entry = tar.gettarinfo(name, name, content)
                    entry.uid = entry.gid = 0
                    entry.uname = entry.gname = "root"
                    entry.type, entry.linkname, entry.size = tarfile.REGTYPE, "", path.stat().st_size
                    entry.mode = 0o755 if os.access(path, os.X_OK) or ".so" in path.name else 0o644
                    tar.addfile(entry, content)
            for name, target in self.links.items():
                entry = tarfile.TarInfo(name)
                entry.type, entry.linkname, entry.mode = tarfile.SYMTYPE, target, 0o777
                tar.addfile(entry)
            for name, text in self.texts.items():
                entry = tarfile.TarInfo(name)
                data = text.encode()
                entry.size, entry.mode = len(data), 0o755 if data.startswith(b"#!") else 0o644
                tar.addfile(entry, io.BytesIO(data))

    def _folders(self) -> list[str]:
        found = {"dev", "etc", "proc", "sys", "root", "home", "run", "var"}
        for name in (*self.files, *self.links, *self.texts):
            found.update(str(parent) for parent in Path(name).parents if parent.name)
        return sorted(found)


def base_of(interpreter: Interpreter) -> Base:
    """The image of an interpreter: its program and library, the tools, and every shared library that they are linked with."""
    prefix = interpreter.prefix
    files: dict[str, Path] = {f"{prefix}/bin/python{interpreter.version}": interpreter.program}
    links = {f"{prefix}/bin/{name}": f"python{interpreter.version}" for name in ("python", "python3")}
    linked = [interpreter.program]
    for library in interpreter.libraries:
        for path in _kept(library):
            files[f"{prefix}/lib/{library.name}/{path.relative_to(library)}"] = path
            if ".so" in path.name:
                linked.append(path)
    for name in TOOLS:
        if found := shutil.which(name, path="/usr/bin:/bin"):
            files[f"usr/bin/{name}"] = Path(found).resolve()
            linked.append(files[f"usr/bin/{name}"])
    links["bin"] = "usr/bin"
    loader, needed = _libraries(linked)
    files[loader.lstrip("/")] = Path(loader)
    home = needed["libc.so.6"].parent
    for name in FOR_WHEELS:
        found_at = next(
            (place / name for place in (home, Path("/usr") / home.relative_to("/")) if (place / name).exists()), None
        )
        if found_at is not None:
            needed.setdefault(name, found_at)
    # All of them where the loader looks by itself: a library path in an image's environment would reach every child.
    files |= {f"{str(home).lstrip('/')}/{name}": path for name, path in needed.items()}
    texts = {
        "etc/passwd": "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/nonexistent:/bin/sh\n",
        "etc/group": "root:x:0:\nnogroup:x:65534:\n",
        "etc/nsswitch.conf": "hosts: files dns\n",
    }
    return Base(files, links, texts, prefix)


def _kept(library: Path) -> Iterator[Path]:
    for path in sorted(library.rglob("*")):
        if path.is_file() and not _UNWANTED.search(str(path.relative_to(library))):
            yield path


def _libraries(programs: Sequence[Path]) -> tuple[str, dict[str, Path]]:
    """The dynamic loader's path and every library that one of the programs is linked with, by the name that it is asked for."""
    done = subprocess.run(["ldd", *map(str, programs)], capture_output=True, text=True, check=False)
    loader = ""
    found: dict[str, Path] = {}
    for name, path in _LIBRARY.findall(done.stdout):
        if name:
            found.setdefault(name, Path(path))
        else:
            loader = path
    assert loader, f"ldd says nothing of a loader: {done.stdout[:1000]}{done.stderr[:1000]}"
    assert "libc.so.6" in found, f"ldd names no C library: {done.stdout[:1000]}{done.stderr[:1000]}"
    return loader, found
