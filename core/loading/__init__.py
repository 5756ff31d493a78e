"""From files to a model that has been checked: what is damaged, or would show a fiction, is refused by name."""
