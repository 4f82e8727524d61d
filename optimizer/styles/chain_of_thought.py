"""Reasoning before the answer, asked for in the prompt (Wei et al. 2022, arXiv:2201.11903)."""

from optimizer.styles import ReasoningStyle

CHAIN_OF_THOUGHT = ReasoningStyle(
    request="Think step by step in a few short sentences. Then give the answer on a last line that starts with"
    ' "Answer:".',
    marker="Answer:",
    # Three or four sentences; a longer chain is rarely finished by the models that need the bound.
    reasoning_tokens=96,
    translations={
        "fr": ReasoningStyle(
            request="Raisonnez étape par étape en quelques phrases courtes. Donnez ensuite la réponse sur une dernière"
            " ligne qui commence par « Réponse : ».",
            marker="Réponse :",
            # The same sentences: French takes up to half as many tokens again.
            reasoning_tokens=144,
        )
    },
)
