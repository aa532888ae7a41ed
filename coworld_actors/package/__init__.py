"""A Coworld as its author has it on disk: built into images and a manifest, or begun from a skeleton."""
