"""Orchard, an example Coworld: foragers on a torus pick fruit that regrows."""
