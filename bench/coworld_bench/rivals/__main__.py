"""Run one rival in one mode until standard input ends: `python -m coworld_bench.rivals NAME MODE [options]`."""

from __future__ import annotations

import argparse
import importlib
import sys

from coworld_bench.rivals import RIVALS
from coworld_bench.rivals.job import Job, end_with_parent

__all__ = ["main"]


def main(words: list[str]) -> None:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(prog="coworld_bench.rivals")
    parser.add_argument("name", choices=[name for name, rival in RIVALS.items() if rival.module])
    parser.add_argument("mode", choices=("echo", "ticks", "game", "player"))
    parser.add_argument("--seats", type=int, default=1)
    parser.add_argument("--size", type=int, default=200)
    parser.add_argument("--warmup", type=float, default=0.1)
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--url", default="")
    parser.add_argument("--folder", default="")
    parser.add_argument("--unix", default="")
    options = vars(parser.parse_args(words))
    rival = RIVALS[options.pop("name")]
    mode = options.pop("mode")
    end_with_parent()
    work = getattr(importlib.import_module(f"coworld_bench.rivals.{rival.module}"), mode)
    work(Job(uvloop=rival.uvloop, legacy=rival.legacy, **options))


if __name__ == "__main__":
    main(sys.argv[1:])
