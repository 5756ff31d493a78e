"""Plain text as HTML for the page; every text is escaped."""

import html


def status(message: str, kind: str = "info") -> str:
    """A line of plain text for the status field."""
    role = "alert" if kind == "error" else "status"
    return f'<p class="status {kind}" role="{role}">{html.escape(message)}</p>'


def paragraphs(sentences: list[str]) -> str:
    """Sentences for the page; every text is escaped."""
    return "".join(f"<p>{html.escape(sentence)}</p>" for sentence in sentences)


def bullets(sentences: list[str]) -> str:
    """Sentences as a list; every text is escaped."""
    return f"<ul>{''.join(f'<li>{html.escape(sentence)}</li>' for sentence in sentences)}</ul>"
