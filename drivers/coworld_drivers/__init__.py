"""Where roles run: the driver interface and its implementations. Knows processes, not games."""
