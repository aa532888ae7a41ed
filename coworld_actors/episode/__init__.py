"""One episode as one supervised tree: workspace, probes, roles, the referee and its verdict."""
