"""Reasoning implanted as the model's own first words, which it then continues.

The trigger of zero-shot-CoT (Kojima et al. 2022, arXiv:2205.11916), moved from the user's turn into the model's.
"""

from optimizer.styles import ReasoningStyle

FIRST_PERSON = ReasoningStyle(
    request='Give the answer on a last line that starts with "Answer:".',
    opener="Let me think about what this is mainly about. I",
    marker="Answer:",
    # One sentence is what the opener asks to be finished, and a line for the answer.
    reasoning_tokens=40,
)
