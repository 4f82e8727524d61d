"""Texts compared as a corpus: the metrics of machine translation, and cosines of character n-grams.

An answer that could not be read is an empty text: it has nothing in common with its target, whose length still counts.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from optimizer.answer import Answer

if TYPE_CHECKING:
    from sacrebleu.metrics.base import Metric as Published

_STRICT: dict[str, object] = {"extra": "forbid"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Bleu:
    """How BLEU is counted, in the words of sacrebleu.

    Attributes:
        tokenize: How a text is cut into tokens; `zh` and `char` are for texts without spaces.
        lowercase: Whether capitals do not matter.
    """

    __pydantic_config__: ClassVar[dict[str, object]] = _STRICT

    tokenize: Literal["13a", "intl", "zh", "char", "none"] = "13a"
    lowercase: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Chrf:
    """How chrF is counted, in the words of sacrebleu.

    Attributes:
        word_order: Up to how many words in a row count beside characters; 2 is chrF++.
        lowercase: Whether capitals do not matter.
    """

    __pydantic_config__: ClassVar[dict[str, object]] = _STRICT

    word_order: int = 0
    lowercase: bool = False

    def problem(self) -> str | None:
        """Return what is wrong with the order, or None."""
        return None if 0 <= self.word_order <= 4 else f"word_order: expected 0 to 4, found {self.word_order}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Ter:
    """How TER is counted, in the words of sacrebleu.

    Attributes:
        normalized: Whether punctuation is parted from words first.
        case_sensitive: Whether capitals matter.
    """

    __pydantic_config__: ClassVar[dict[str, object]] = _STRICT

    normalized: bool = False
    case_sensitive: bool = False


def published(options: object, *, single: bool = False) -> "Published":
    """Return sacrebleu's metric of these options.

    Args:
        single: Whether it scores single texts: BLEU then leaves out runs longer than a text, which would make it 0.
    """
    from sacrebleu.metrics.bleu import BLEU
    from sacrebleu.metrics.chrf import CHRF
    from sacrebleu.metrics.ter import TER

    if isinstance(options, Bleu):
        # `force` keeps it from warning of texts that look tokenised.
        return BLEU(
            tokenize=options.tokenize, lowercase=options.lowercase, effective_order=single, force=True
        )
    if isinstance(options, Chrf):
        return CHRF(word_order=options.word_order, lowercase=options.lowercase)
    assert isinstance(options, Ter)
    return TER(normalized=options.normalized, case_sensitive=options.case_sensitive)


def said(answers: Sequence[Answer]) -> list[str]:
    """Return the texts of answers, "" for one that could not be read."""
    return [answer.text or "" for answer in answers]


def corpus_score(answers: Sequence[Answer], targets: Sequence[str], options: object) -> float:
    """Return the score of all answers together as sacrebleu has it, 100 and not 1 being the usual unit."""
    return float(published(options).corpus_score(said(answers), [list(targets)]).score)


def sentence_score(answer: str, target: str, options: object) -> float:
    """Return the score of one answer as sacrebleu has it."""
    return float(published(options, single=True).sentence_score(answer, [target]).score)


def share(percent: float) -> float:
    """Return a score in [0, 100] as one in [0, 1]; the last digit of a full score may be over it."""
    return min(1.0, max(0.0, percent / 100))


def error_share(percent: float) -> float:
    """Return 1 minus an error rate in percent, which has no upper bound; at least 0."""
    return 1.0 - share(percent)


def cosines(answers: Sequence[str], targets: Sequence[str], *, weighted: bool) -> list[float]:
    """Return the cosine of each answer and its target, of runs of 3 to 5 characters within words; 0 for an empty text.

    Args:
        weighted: Whether runs count the more the fewer targets have them.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer

    made = TfidfVectorizer(analyzer="char_wb", ngram_range=(3, 5), sublinear_tf=True, use_idf=weighted)
    # Without weights nothing is learnt but which runs there are, and those of an answer lengthen it, too.
    made.fit(targets if weighted else [*answers, *targets])
    found = made.transform(answers).multiply(made.transform(targets)).sum(axis=1)
    # The sum of squares of a unit vector may be a digit off 1, and a full score must be one.
    return [min(1.0, max(0.0, round(float(value), 12))) for value in found.flat]
