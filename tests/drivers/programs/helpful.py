"""A module with state of its own: a generator that the system seeds, and a seed that it chooses for everybody."""

import random

NAME = __name__
GENERATOR = random.Random()
random.seed(5)
CHOSEN = random.random()
