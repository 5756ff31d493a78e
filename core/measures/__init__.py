"""Numbers from traces: which tokens survive, what becomes of a passage, what forgetting costs; numbers of the paper."""
