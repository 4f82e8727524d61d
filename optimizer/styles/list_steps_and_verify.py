"""The steps to the answer as a list, each verified in a second call, the answer in a third.

Chain of verification (Dhuliawala et al. 2023, arXiv:2309.11495), with the steps of a reasoning as what is verified. A
call of its own, because a model that verifies while it writes repeats its mistakes.
"""

from optimizer.styles import ReasoningStyle

LIST_STEPS_AND_VERIFY = ReasoningStyle(
    request="Do not answer at once. First list the steps that lead from the input to the answer: five at most, numbered,"
    " one short line for each. Give the answer only when you are asked for it.",
    follow_ups=(
        (
            "Verify each step of your list against the input: repeat its number, say whether it holds, and correct it where"
            " it does not."
        ),
        (
            "Now draw the conclusion from the steps that hold. Give the answer alone, in the form that the instruction asks"
            " for."
        ),
    ),
    # Five lines of about twenty-five tokens, in each of the first two calls.
    reasoning_tokens=128,
    translations={
        "fr": ReasoningStyle(
            request="Ne répondez pas tout de suite. Énumérez d’abord les étapes qui mènent de l’entrée à la réponse : cinq"
            " au plus, numérotées, une ligne courte pour chacune. Ne donnez la réponse que lorsqu’elle vous sera"
            " demandée.",
            follow_ups=(
                (
                    "Vérifiez chaque étape de votre liste à partir de l’entrée : rappelez son numéro, dites si elle est"
                    " exacte et corrigez-la si elle ne l’est pas."
                ),
                (
                    "Tirez maintenant la conclusion des étapes exactes. Donnez la réponse seule, sous la forme que demande la"
                    " consigne."
                ),
            ),
            reasoning_tokens=192,  # French takes up to half as many tokens again
        )
    },
)
