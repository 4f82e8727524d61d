"""The language of the page: every text goes through `Language.t`, whose key is the English sentence."""

from optimizer.language import ENGLISH, LANGUAGES, Language, mark, script_texts

__all__ = ["ENGLISH", "LANGUAGES", "Language", "mark", "script_texts"]
