"""What a language model is: its tokens and pieces of text, its chat format, and the models of the menu."""
