"""A game and players on the SDK for tests in one process: what they do beside playing is said by BEHAVIOUR."""
