"""Reasoning in a draft of a few words for each step (Chain of Draft: Xu et al. 2025, arXiv:2502.18600)."""

from optimizer.styles import ReasoningStyle

FEW_WORD_DRAFT = ReasoningStyle(
    request="Think step by step, but write down only a draft of each step, five words at most. Then give the answer on"
    ' a last line that starts with "Answer:".',
    field_request="In your reasoning, think step by step, but write down only a draft of each step, five words at most.",
    marker="Answer:",
    # Five steps of five words, with their punctuation.
    reasoning_tokens=48,
    translations={
        "fr": ReasoningStyle(
            request="Raisonnez étape par étape, mais ne notez pour chaque étape qu’un brouillon de cinq mots au plus."
            " Donnez ensuite la réponse sur une dernière ligne qui commence par « Réponse : ».",
            field_request="Dans votre raisonnement, procédez étape par étape, mais ne notez pour chaque étape qu’un"
            " brouillon de cinq mots au plus.",
            marker="Réponse :",
            reasoning_tokens=72,  # French takes up to half as many tokens again
        )
    },
)
