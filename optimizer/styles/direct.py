"""The answer alone, without reasoning."""

from optimizer.styles import ReasoningStyle

DIRECT = ReasoningStyle()
