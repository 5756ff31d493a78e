"""Errors that the user can do something about: the message of a `UserError` is shown on the page.

Any other exception is a bug; its traceback goes to the log.
"""

from typing import Any

from core.messages import Message


class UserError(Exception):
    """A problem that the user can solve; its message says what is wrong and what to do.

    It is made from a template and its values, as `Message` is, or from a `Message`. `str` gives the English text.
    """

    def __init__(self, template: str, /, **values: Any) -> None:
        super().__init__(template if isinstance(template, Message) else Message(template, **values))

    @property
    def message(self) -> Message:
        """The message, which the page can translate."""
        message: Message = self.args[0]
        return message


class BadInput(UserError, ValueError):
    """A text, a token sequence or a setting that cannot be used."""


class TextTooLong(BadInput):
    """More tokens than the model was trained to read."""


class UnknownPolicy(BadInput):
    """No policy of that name."""


class UnknownModel(BadInput):
    """No model of that name, neither in the registry nor on disk nor on the hub."""


class HubUnreachable(UserError):
    """The weights are not on this machine and the hub cannot be reached."""


class GatedModel(UserError):
    """The hub wants an access token for these weights."""


class UnsupportedModel(UserError):
    """A model whose attention cannot be replaced without changing its output, or one that cannot be loaded."""


class DamagedModel(UserError):
    """Files of a model that are missing or broken, or that do not belong together."""


class OutOfMemory(UserError):
    """The model or the run does not fit the memory of this machine."""


class GpuUnavailable(UserError):
    """The GPU that a Space lends to one run at a time is not available."""


class ClusterError(UserError):
    """Ray is not installed, its cluster cannot be used, or its workers keep dying."""


class CannotRecord(UserError):
    """A run whose cache does what a trace cannot tell, or whose rows cannot be recognized."""


class NumericalError(UserError):
    """The model's output, or an importance, is infinite or NaN."""


class BadTraceFile(UserError):
    """A file that is not a trace of a known schema, or is damaged."""


class StoreUnavailable(UserError):
    """The directory of stored runs cannot be used."""


class VotesUnavailable(UserError):
    """The file of stories and votes cannot be read or written."""


class JudgeUnavailable(UserError):
    """The language model that judges stories cannot be reached or refuses us."""
