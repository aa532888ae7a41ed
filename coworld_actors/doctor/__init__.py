"""Whether this machine can play: small checks, each bounded in time, each with what to do when something is not as it should be."""
