"""Episodes spread over processes: each worker is an actor with a process, supervised and restarted."""
