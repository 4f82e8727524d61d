"""What is asked, in the model's own words; then the answer, in a second call.

The two-step variant of Rephrase and Respond (Deng et al. 2023, arXiv:2311.04205).
"""

from optimizer.styles import ReasoningStyle

REPHRASE_THEN_ANSWER = ReasoningStyle(
    request="Do not answer at once. First rephrase in your own words what is asked about this input, and expand it where"
    " that makes it clearer. Give the answer only when you are asked for it.",
    follow_ups=(
        (
            "Now answer what is asked as you have rephrased it. Give the answer alone, in the form that the instruction asks"
            " for."
        ),
    ),
    # A question and what matters in its input: three or four sentences.
    reasoning_tokens=96,
    translations={
        "fr": ReasoningStyle(
            request="Ne répondez pas tout de suite. Reformulez d’abord avec vos propres mots ce qui est demandé au sujet"
            " de cette entrée, et développez-le là où cela le rend plus clair. Ne donnez la réponse que lorsqu’elle vous"
            " sera demandée.",
            follow_ups=(
                (
                    "Répondez maintenant à la demande telle que vous l’avez reformulée. Donnez la réponse seule, sous la"
                    " forme que demande la consigne."
                ),
            ),
            reasoning_tokens=144,  # French takes up to half as many tokens again
        )
    },
)
