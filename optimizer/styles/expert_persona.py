"""The answer that an expert on the subject would give (ExpertPrompting: Xu et al. 2023, arXiv:2305.14688).

Theirs writes an expert's portrait for each question; this one leaves it to the model, at no further call.
"""

from optimizer.styles import ReasoningStyle

EXPERT_PERSONA = ReasoningStyle(
    request="Answer as an expert on the subject would: one who has decided thousands of such cases and knows the mistakes"
    " that beginners make.",
    translations={
        "fr": ReasoningStyle(
            request="Répondez comme le ferait un spécialiste du sujet, qui a tranché des milliers de cas semblables et"
            " connaît les erreurs que font les débutants."
        )
    },
)
