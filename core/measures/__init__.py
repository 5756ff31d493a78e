"""Traces to numbers: what survives, what becomes of a passage, what forgetting costs; the paper's own. numpy only."""
