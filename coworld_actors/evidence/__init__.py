"""What is made of an episode after its end: the bundle, and the roles that read it."""
