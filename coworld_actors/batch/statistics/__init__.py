"""What lines say about players: pure, and the same for equal lines in any order."""
