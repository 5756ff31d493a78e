"""A language model: its tokens and the pieces of text they stand for, its chat format, and the models of the menu."""
