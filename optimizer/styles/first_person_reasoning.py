"""A reasoning that the model goes on with, since it has begun one as its own first words.

The trigger of Kojima et al. (2022, arXiv:2205.11916), the one that draws out the reasoning, in the model's own turn: a
model that is only asked to reason may still begin with the answer, one that has begun to reason does not.
"""

from optimizer.styles import ReasoningStyle

FIRST_PERSON_REASONING = ReasoningStyle(
    request="Think aloud, in the first person and in a few short sentences. Then give the answer on a last line that"
    ' starts with "Answer:".',
    opener="Let me think this through.",
    marker="Answer:",
    # As for a chain of thought: three or four sentences.
    reasoning_tokens=96,
    translations={
        "fr": ReasoningStyle(
            request="Réfléchissez à voix haute, à la première personne et en quelques phrases courtes. Donnez ensuite la"
            " réponse sur une dernière ligne qui commence par « Réponse : ».",
            opener="Je vais y réfléchir posément.",
            marker="Réponse :",
            reasoning_tokens=144,  # French takes up to half as many tokens again
        )
    },
)
