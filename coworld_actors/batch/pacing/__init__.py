"""How many episodes the machine can take at once, and whether it was choking while one was played."""
