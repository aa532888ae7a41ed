"""What supporting roles and the runtime say to each other: one module per role."""
