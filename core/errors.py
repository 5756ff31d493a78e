"""What can go wrong through no fault of ours: the message of a `UserError` is shown to the user.

Anything else that is raised is a bug and stays a traceback in the log.
"""

from typing import Any

from core.messages import Message


class UserError(Exception):
    """A problem that the user can mend; its message names the limit and the remedy.

    It is made of a template and the values in its holes, see `Message`, or of a message that is there already, and
    `str` gives the English.
    """

    def __init__(self, template: str, /, **values: Any) -> None:
        super().__init__(template if isinstance(template, Message) else Message(template, **values))

    @property
    def message(self) -> Message:
        """What to tell the user, in any language."""
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
    """The weights are not on this machine and the hub cannot be asked."""


class GatedModel(UserError):
    """The hub wants an access token for these weights."""


class UnsupportedModel(UserError):
    """A model whose attention we cannot replace faithfully: any picture of it would be fiction."""


class DamagedModel(UserError):
    """Files of a model that are missing or broken, or that do not belong together."""


class OutOfMemory(UserError):
    """The model or the run does not fit the memory of this machine."""


class GpuUnavailable(UserError):
    """The GPU that a Space lends to one run at a time is not to be had."""


class ClusterError(UserError):
    """Ray is not installed, its cluster cannot be used, or its workers keep dying."""


class NumericalError(UserError):
    """The model produced numbers that are not numbers."""


class BadTraceFile(UserError):
    """A file that is not a trace of this schema, or not whole."""


class StoreUnavailable(UserError):
    """The directory of stored runs cannot be used."""


class VotesUnavailable(UserError):
    """The file of stories and votes cannot be read or written."""


class JudgeUnavailable(UserError):
    """The language model that is to judge stories cannot be asked."""
