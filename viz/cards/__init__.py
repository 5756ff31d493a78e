"""Parts of the page made as HTML: status lines, findings, answers, stories, lives, the lesson; and their templates."""
