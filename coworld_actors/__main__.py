"""`python -m coworld_actors` is `coworld-actors`."""

from coworld_actors.cli import main

main()
