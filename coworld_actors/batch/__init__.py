"""Very many episodes: a schedule made before anything starts, played in parallel, written down as they end, and summed up."""
