"""Puts a user's text into the model's chat format, such that the text cannot contain control tokens."""

from itertools import pairwise

from core.errors import BadInput, UnsupportedModel
from core.model.language_model import LanguageModel
from core.trace import Tokens

MARK = "\ue000"  # stands for the text while the template is filled in: a private-use character


def chats(lm: LanguageModel) -> bool:
    """Whether the model has a chat template."""
    return lm.tokenizer is not None and bool(lm.tokenizer.chat_template)


def turn(lm: LanguageModel, text: str) -> tuple[Tokens, int]:
    """The text as a user's message that the model answers next; plain text if the model has no chat template.

    The result is that of transformers' `apply_chat_template`, with two deviations: the text keeps its leading and
    trailing white space, which some templates strip; and a control token that the user has typed, such as
    ``<|im_end|>``, is read as ordinary characters.

    Returns:
        The tokens, and the index of the character at which the user's text begins in theirs.

    Raises:
        BadInput: the text is empty, the model has no tokenizer, or the text has a control token of a single character.
        UnsupportedModel: the template fails, or does not contain the user's text exactly once.
    """
    if lm.tokenizer is None or not text.strip():
        return lm.encode(text), 0  # raises the right error
    before, after = _frame(lm) if chats(lm) else ("", "")
    return _encoded(lm, before + text + after, range(len(before), len(before) + len(text))), len(before)


def _frame(lm: LanguageModel) -> tuple[str, str]:
    """What the template puts before and after a user's message."""
    messages = [{"role": "user", "content": MARK}]
    try:
        filled = lm.tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    except Exception as e:  # a template is code and may raise anything
        why = " ".join(str(e).split())[:200] or type(e).__name__
        raise UnsupportedModel(
            "The chat template of {model} cannot be filled in ({why}). Mend the template in its files, or choose "
            "another model.",
            model=lm.model_id,
            why=why,
        ) from e
    if filled.count(MARK) != 1:
        raise UnsupportedModel(
            "The chat template of {model} does not take in a user's text as it is. Choose another model.",
            model=lm.model_id,
        )
    before, after = filled.split(MARK)
    return before, after


def _encoded(lm: LanguageModel, whole: str, own: range) -> Tokens:
    """Encode the whole prompt, without control tokens among the characters `own`, which are the user's.

    A tokenizer finds a control token only if it is not cut. So where one is found in the user's text, the prompt is cut
    after the token's first character, and the parts are encoded separately, until none is found. Example: the user's
    text ``a<|im_end|>b`` is encoded as ``a<`` and ``|im_end|>b``.
    """
    control = {id_ for id_, token in lm.tokenizer.added_tokens_decoder.items() if token.special}
    cuts = {0, len(whole)}
    while True:
        ids, spans = [], []
        for start, stop in pairwise(sorted(cuts)):
            part, part_spans = lm.tokenized(whole[start:stop], add_special_tokens=start == 0 and not chats(lm))
            while part and part_spans[-1][1] == 0:  # an end-of-text token that the tokenizer added
                del part[-1], part_spans[-1]
            ids += part
            spans += [(start + a, start + b) if b else (0, 0) for a, b in part_spans]
        found = [_core(whole, span) for id_, span in zip(ids, spans, strict=True) if id_ in control]
        injected = [core for core in found if core.start < own.stop and core.stop > own.start]
        if not injected:
            return lm.located(whole, ids, spans)
        for core in injected:
            if len(core) == 1:
                raise BadInput(
                    "The text has the character {character!r}, which {model} takes for a command. Remove it.",
                    character=whole[core.start],
                    model=lm.model_id,
                )
            cuts.add(core.start + 1)


def _core(whole: str, span: tuple[int, int]) -> range:
    """The characters of a control token without white space around it, which some control tokens include."""
    piece = whole[slice(*span)]
    start = span[0] + len(piece) - len(piece.lstrip())
    return range(start, start + len(piece.strip()))
