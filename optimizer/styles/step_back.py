"""The general principle first, the case at hand in a second call (Zheng et al. 2023, arXiv:2310.06117)."""

from optimizer.styles import ReasoningStyle

STEP_BACK = ReasoningStyle(
    request="Do not answer at once. First take a step back: state, in one or two sentences, the general principle or the"
    " broader question that decides such cases. Give the answer only when you are asked for it.",
    follow_ups=(
        "Now apply this principle to the input. Give the answer alone, in the form that the instruction asks for.",
    ),
    # Two sentences of about thirty tokens.
    reasoning_tokens=64,
    translations={
        "fr": ReasoningStyle(
            request="Ne répondez pas tout de suite. Prenez d’abord du recul : énoncez, en une ou deux phrases, le principe"
            " général ou la question plus large qui permet de trancher ce genre de cas. Ne donnez la réponse que"
            " lorsqu’elle vous sera demandée.",
            follow_ups=(
                (
                    "Appliquez maintenant ce principe à l’entrée. Donnez la réponse seule, sous la forme que demande la"
                    " consigne."
                ),
            ),
            reasoning_tokens=96,  # French takes up to half as many tokens again
        )
    },
)
