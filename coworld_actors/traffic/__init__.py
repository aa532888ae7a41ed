"""What passed between players and game, as the tap saw it: frames, answer times, budgets, recordings. Analysis and files, no sockets."""
