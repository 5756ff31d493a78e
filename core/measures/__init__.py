"""Traces to numbers: which tokens survive, what becomes of a passage, what forgetting costs. numpy only."""
