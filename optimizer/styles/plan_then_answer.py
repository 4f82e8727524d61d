"""A plan, then its execution, then the answer, in one turn (Plan-and-Solve: Wang et al. 2023, arXiv:2305.04091)."""

from optimizer.styles import ReasoningStyle

PLAN_THEN_ANSWER = ReasoningStyle(
    request="First make a plan of two or three short steps that lead to the answer. Then carry the plan out, one short"
    ' sentence for each step. Then give the answer on a last line that starts with "Answer:".',
    field_request="In your reasoning, first make a plan of two or three short steps that lead to the answer. Then carry"
    " the plan out, one short sentence for each step.",
    marker="Answer:",
    # Three steps of about fifteen tokens, and three sentences of about twenty-five.
    reasoning_tokens=128,
    translations={
        "fr": ReasoningStyle(
            request="Établissez d’abord un plan de deux ou trois étapes courtes qui mènent à la réponse. Suivez ensuite ce"
            " plan, une phrase courte pour chaque étape. Donnez enfin la réponse sur une dernière ligne qui commence par"
            " « Réponse : ».",
            field_request="Dans votre raisonnement, établissez d’abord un plan de deux ou trois étapes courtes qui mènent"
            " à la réponse. Suivez ensuite ce plan, une phrase courte pour chaque étape.",
            marker="Réponse :",
            reasoning_tokens=192,  # French takes up to half as many tokens again
        )
    },
)
