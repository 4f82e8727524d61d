"""The answer, then a second call that checks it (Self-Refine: Madaan et al. 2023, arXiv:2303.17651).

Both calls write the answer alone, so that the second costs little and a format can hold it to the labels. A check
without anything new to go by also turns right answers into wrong ones (Huang et al. 2023, arXiv:2310.01798).
"""

from optimizer.styles import ReasoningStyle

SELF_CHECK = ReasoningStyle(
    follow_ups=(
        (
            "Check your answer against the instruction and the input. If it is right, repeat it; if it is wrong, correct it."
            " Give the answer alone, in the same form as before."
        ),
    ),
    translations={
        "fr": ReasoningStyle(
            follow_ups=(
                (
                    "Vérifiez votre réponse à partir de la consigne et de l’entrée. Si elle est juste, répétez-la ; si elle"
                    " est fausse, corrigez-la. Donnez la réponse seule, sous la même forme que précédemment."
                ),
            )
        )
    },
)
