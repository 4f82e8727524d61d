"""The opening of a reasoning, implanted as the model's own first words, which it then completes.

Kojima et al. (2022, arXiv:2205.11916) put their trigger into the question; here it stands in the model's own turn.
Made for answers that name what an input is about. A small model that is asked for a label in a turn of its own falls
back on the likeliest first letters; in the middle of a sentence of its own it weighs whole words.
"""

from optimizer.styles import ReasoningStyle

FIRST_PERSON = ReasoningStyle(
    opener="I think this is about",
    translations={
        # A colon: in the middle of a French sentence a label would want an article or an elision of its own.
        "fr": ReasoningStyle(opener="Je pense que le sujet est le suivant :")
    },
)
