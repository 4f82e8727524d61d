"""The two likeliest answers against each other, then the decision: why this one, and why not the other.

Contrastive explanations: Paranjape et al. (2021, arXiv:2106.06823).
"""

from optimizer.styles import ReasoningStyle

CONTRASTIVE = ReasoningStyle(
    request="First name the two likeliest answers. For each, say in one short sentence what speaks for it and what"
    " speaks against it. Decide between them, and say why it is not the other one. Then give the answer on a last line"
    ' that starts with "Answer:".',
    field_request="In your reasoning, first name the two likeliest answers. For each, say in one short sentence what"
    " speaks for it and what speaks against it. Decide between them, and say why it is not the other one.",
    marker="Answer:",
    # Two names, and three sentences of up to thirty-five tokens.
    reasoning_tokens=128,
    translations={
        "fr": ReasoningStyle(
            request="Nommez d’abord les deux réponses les plus probables. Pour chacune, dites en une phrase courte ce qui"
            " plaide pour elle et ce qui plaide contre elle. Choisissez entre les deux et dites pourquoi ce n’est pas"
            " l’autre. Donnez enfin la réponse sur une dernière ligne qui commence par « Réponse : ».",
            field_request="Dans votre raisonnement, nommez d’abord les deux réponses les plus probables. Pour chacune,"
            " dites en une phrase courte ce qui plaide pour elle et ce qui plaide contre elle. Choisissez entre les deux"
            " et dites pourquoi ce n’est pas l’autre.",
            marker="Réponse :",
            reasoning_tokens=192,  # French takes up to half as many tokens again
        )
    },
)
