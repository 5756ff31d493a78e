"""Texts to try, and the run that the page opens with."""
