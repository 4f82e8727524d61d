"""Worked examples picked anew for each input: those of a pool that are most like it. Standard library only.

Likeness is the cosine of TF-IDF weights, as scikit-learn's `TfidfVectorizer` has them by default: the count of a word
times ln((1 + n) / (1 + texts with it)) + 1, scaled to length 1. Words are runs of letters, digits and underscores
after NFKC and case folding, so that `l’été` is `l` and `été` in any spelling. A script without spaces has few words
to compare, and its likenesses are coarse. The content of images is not compared.
"""

import math
import re
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

RULE = "tfidf_cosine"

_WORD = re.compile(r"\w+")

# Digits of a likeness that count: the last ones differ between machines, and a tie must be one on all of them.
_DIGITS = 12

# What an image begins with that is shipped whole: its base64 has more words than any text, and they mean nothing.
_IMAGE = "data:image/"

_KEYS = {"rule", "shown", "inputs", "pool"}


class Likeness:
    """How alike a text is to each of some texts, in [0, 1]; 0 where they share no word."""

    def __init__(self, texts: Sequence[str]) -> None:
        counts = [Counter(words(text)) for text in texts]
        found = Counter(word for each in counts for word in each)
        self._n = len(texts)
        self._idf = {word: math.log((1 + self._n) / (1 + n)) + 1 for word, n in found.items()}
        self._places: dict[str, list[tuple[int, float]]] = {word: [] for word in found}
        for place, each in enumerate(counts):
            for word, weight in self._weights(each).items():
                self._places[word].append((place, weight))

    def to(self, text: str) -> list[float]:
        """Return the likeness of a text to each of the texts, in their order."""
        found = [0.0] * self._n
        for word, weight in self._weights(Counter(words(text))).items():
            for place, other in self._places[word]:
                found[place] += weight * other
        return [round(likeness, _DIGITS) for likeness in found]

    def _weights(self, counts: Mapping[str, int]) -> dict[str, float]:
        """Return the weights of known words, scaled to length 1; the order of the texts does not touch them."""
        weights = {word: n * self._idf[word] for word, n in counts.items() if word in self._idf}
        length = math.sqrt(math.fsum(weight * weight for weight in weights.values()))
        return {word: weight / length for word, weight in weights.items()}


@dataclass(frozen=True, kw_only=True, slots=True)
class Shot:
    """One worked example of a pool.

    Attributes:
        values: A text for each input, in the order of the retrieval's `inputs`.
        reply: What the model's turn says, as the format lays it out.
    """

    values: tuple[str, ...]
    reply: str


@dataclass(frozen=True, kw_only=True)
class Retrieval:
    """A pool of worked examples, and how many of them are shown with each input: the most alike, the best one last.

    An input that is itself in the pool gets its own row, which is right in production. In a search it cannot occur,
    because the pool is of train and validation holds none of it; whoever runs such a prompt on training examples
    measures nothing.

    Attributes:
        inputs: Names of the inputs, all of which are compared but for the content of images.
        pool: At least `shown`; of equally alike ones the earlier counts as more alike.
        shown: At least 1.
    """

    inputs: tuple[str, ...]
    pool: tuple[Shot, ...]
    shown: int

    @property
    def in_words(self) -> str:
        """Return what is shown with an input, as a sentence."""
        n, of = self.shown, len(self.pool)
        return f"Each input is shown the {n} most alike of {of} training examples, the most alike last."

    def nearest(self, inputs: Mapping[str, str]) -> tuple[Mapping[str, str], ...]:
        """Return what is shown with some inputs, the most alike last: texts by the ends of their holes' names."""
        likeness = self._likeness.to(compared([inputs[name] for name in self.inputs]))
        ranked = sorted(range(len(self.pool)), key=lambda place: (-likeness[place], place))
        return tuple(self.texts(self.pool[place]) for place in reversed(ranked[: self.shown]))

    def texts(self, shot: Shot) -> Mapping[str, str]:
        """Return the texts of one shot: `input:NAME` for each input, and `reply`."""
        shown = {f"input:{name}": text for name, text in zip(self.inputs, shot.values, strict=True)}
        return {**shown, "reply": shot.reply}

    def to_dict(self) -> dict[str, object]:
        """Return the retrieval as plain data."""
        pool = [{"values": list(shot.values), "reply": shot.reply} for shot in self.pool]
        return {"rule": RULE, "shown": self.shown, "inputs": list(self.inputs), "pool": pool}

    @classmethod
    def from_dict(cls, value: object) -> "Retrieval":
        """Return the retrieval that `to_dict` wrote.

        Raises:
            ValueError: When a value is missing or of another type; the message says where.
        """
        if not isinstance(value, dict) or set(value) != _KEYS:
            raise ValueError("retrieval: expected rule, shown, inputs and pool")
        if value["rule"] != RULE:
            raise ValueError(f"retrieval.rule: expected {RULE!r}, found {value['rule']!r}")
        names, pool, shown = value["inputs"], value["pool"], value["shown"]
        if not _are_texts(names) or not names or len(set(names)) < len(names):
            raise ValueError("retrieval.inputs: expected a list of different names, at least one")
        if not isinstance(pool, list):
            raise ValueError("retrieval.pool: expected a list")
        if not isinstance(shown, int) or isinstance(shown, bool) or not 1 <= shown <= len(pool):
            raise ValueError(
                f"retrieval.shown: expected 1 to {len(pool)}, the size of the pool, found {shown!r}"
            )
        shots = tuple(_shot(each, len(names), f"retrieval.pool[{k}]") for k, each in enumerate(pool))
        return cls(inputs=tuple(names), pool=shots, shown=shown)

    @cached_property
    def _likeness(self) -> Likeness:
        return Likeness([compared(shot.values) for shot in self.pool])


def compared(values: Sequence[str]) -> str:
    """Return what is compared of the values of an example: all of their text, and no content of an image."""
    return "\n".join(value for value in values if not value.startswith(_IMAGE))


def words(text: str) -> list[str]:
    """Return the words of a text as they are compared."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    # Folding can undo what was composed: of a Greek iota with two accents it makes three characters.
    return _WORD.findall(unicodedata.normalize("NFKC", folded))


def _shot(value: object, n_inputs: int, where: str) -> Shot:
    if not isinstance(value, dict) or set(value) != {"values", "reply"}:
        raise ValueError(f"{where}: expected values and reply")
    values, reply = value["values"], value["reply"]
    if not _are_texts(values) or len(values) != n_inputs:
        raise ValueError(f"{where}.values: expected a list of {n_inputs} text(s), one for each input")
    if not isinstance(reply, str):
        raise ValueError(f"{where}.reply: expected text, found {type(reply).__name__}")
    return Shot(values=tuple(values), reply=reply)


def _are_texts(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(each, str) for each in value)
