"""Players of Orchard, each a program of its own."""
