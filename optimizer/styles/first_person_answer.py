"""The sentence that states the answer, begun as the model's own first words, whatever kind of answer it is.

`first_person` for answers that do not name a topic: the trigger of Kojima et al. (2022, arXiv:2205.11916), the one that
draws out the answer, in the model's own turn.
"""

from optimizer.styles import ReasoningStyle

FIRST_PERSON_ANSWER = ReasoningStyle(
    opener="I think the right answer is",
    translations={"fr": ReasoningStyle(opener="Je pense que la bonne réponse est")},
)
