"""From a manifest's text to a plan of seats: read it, name everything that is wrong with it, choose what to play."""
