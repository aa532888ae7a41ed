"""What travels between the parts of a Coworld: names, manifest, messages, and the SDK for authors.

The package is the leaf of the house: it imports nothing else of ours, so a player in another process can depend on it alone.
"""
