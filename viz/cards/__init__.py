"""Parts of the page made as HTML: status lines, fates, answers, stories, lives, the lesson; and their templates."""
