"""What a tab says as long as it shows its stored example."""

from core.messages import Message


def example_line(button: Message) -> Message:
    """The line, which names the button to press for a result of one's own."""
    return Message("A stored example, made by this app. Press “{button}” for your own.", button=button)
