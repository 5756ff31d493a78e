"""The policies that answer a question or write a story, as chosen at the left."""

from core.errors import BadInput
from core.policies import Oracle, Policy, make_policy
from viz.page.asked import Asked


def writers(asked: Asked) -> list[Policy]:
    """The chosen policies without the full model, which answers and writes beside them in any case.

    Raises:
        BadInput: there is none, or the oracle is among them.
    """
    if any(chosen.key == Oracle.key for chosen in asked.finite):
        raise BadInput(
            "The oracle needs to know the whole text beforehand, and here the text is yet to be written. Choose "
            "another policy on its card."
        )
    if not asked.finite:
        raise BadInput("The full model is always beside the others here. Choose a policy with a budget, too.")
    return [make_policy(chosen.key, chosen.budget, **chosen.settings) for chosen in asked.finite]
