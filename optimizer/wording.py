"""Wordings to start from, made of the names of the columns, in the language of the data."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice

from optimizer.taskfile import OutputType

# Names of a target that say nothing of what is asked.
_GENERIC = frozenset(
    {"label", "labels", "target", "answer", "expected", "gold", "truth", "class", "tag", "output", "y"}
)

_LONGEST_NAME = 60  # characters of a column's name in a wording

# Frequent words of the two languages. Texts are French if one word in twenty is, and more of them than are English;
# running text has one in four.
_FRENCH = frozenset(
    str.split(
        "le la les des du de et est une un dans pour que qui pas sur avec il elle nous vous je ne se ce au aux sont mais ou"
        " plus par cette son ses combien"
    )
)
_ENGLISH = frozenset(
    str.split(
        "the of and is in to that it for you with was are this be have from by at not they his her how many what which"
    )
)
# Half of the French ones are as frequent in other languages ("de la que se un" in Spanish). So one in five must be
# hardly met elsewhere, and they must be more than the frequent words of other languages that French has not.
_FRENCH_ALONE = frozenset(
    str.split(
        "les des du est une dans pour pas sur avec elle nous vous aux sont cette combien qu n j où très être ils leur suis fait"
        " tout même aussi comme quand chez cet ça quel quelle comment pourquoi"
    )
)
_FRENCH_ALONE_ONE_IN = 5
_FOREIGN = frozenset(
    str.split(
        # Spanish, Portuguese, Catalan and Occitan
        "el los las con por una como más muy pero mi no sin del o não uma com em do da um mas muito meu els amb més però lo"
        # Italian, Romanian, Latin
        " in ad cum di che è gli della per sono alla nel mi questo nu și să este cu din"
        # Dutch, German
        " het een van niet ik op met voor zijn aan der die das und ist nicht ich zu den ein eine auf"
        # Danish, Norwegian, Swedish, Estonian
        " ja ei og det ikke til på av af för och att som inte jag"
    )
)
_FRENCH_ONE_IN = 20
_MOST_TEXTS = 500  # that are looked at
_WORD = re.compile(r"[^\W\d_]+")

# What columns are called, with their articles in French; any other name is put between quotes.
_IN_FRENCH = {
    "text": "le texte",
    "texte": "le texte",
    "input": "le texte",
    "message": "le message",
    "question": "la question",
    "context": "le contexte",
    "contexte": "le contexte",
    "title": "le titre",
    "titre": "le titre",
    "tweet": "le tweet",
    "sentence": "la phrase",
    "phrase": "la phrase",
    "review": "l’avis",
    "avis": "l’avis",
    "document": "le document",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """What a wording asks for.

    Attributes:
        inputs: Names of the columns that are read.
        target: Name of the column of right answers.
        keys: Keys of an answer that is an object.
    """

    inputs: tuple[str, ...]
    target: str
    output: OutputType
    labels: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()

    @property
    def noun(self) -> str:
        """Return what is asked for by its name, "" where the name says nothing."""
        noun = _spoken(self.target)
        return "" if noun.casefold() in _GENERIC else noun


def language_of(texts: Iterable[str]) -> str:
    """Return "fr" where texts look French by their frequent words, else "en"."""
    words = Counter(word for text in islice(texts, _MOST_TEXTS) for word in _WORD.findall(text.casefold()))
    french, english, alone, foreign = (
        sum(words[word] for word in known) for known in (_FRENCH, _ENGLISH, _FRENCH_ALONE, _FOREIGN)
    )
    frequent = french > english and french * _FRENCH_ONE_IN >= words.total()
    return "fr" if frequent and alone > foreign and alone * _FRENCH_ALONE_ONE_IN >= french else "en"


def wordings(asked: Asked, language: str) -> tuple[str, str]:
    """Return two wordings, in French or else in English."""
    return _french(asked) if language == "fr" else _english(asked)


def _english(asked: Asked) -> tuple[str, str]:
    names = [_spoken(name) or "text" for name in asked.inputs]
    what = _enumerated(names, ", the ", " and the ")
    noun, labels = asked.noun, ", ".join(asked.labels)
    if asked.output == "label":
        question = f": which {noun}?" if noun else "."
        first = f"Classify the {what}{question} Answer with one of {labels}."
        return first, f"Which {noun or 'label'} fits the {what} best?"
    if asked.output == "labels":
        first = (
            f"Read the {what} and name all that apply of {labels}. Answer with none, one or several of them."
        )
        return first, f"Which of these fit the {what}: {labels}?"
    if asked.output == "json":
        keys = f"an object with the keys {', '.join(asked.keys)}" if asked.keys else "nothing else"
        first = f"Read the {what} and give {f'the {noun}' if noun else 'the answer'} as JSON: {keys}."
        return first, f"Extract {', '.join(asked.keys) or 'what is asked for'} from the {what}, as JSON."
    noun = noun or "right answer"
    as_number = ", as a number" if asked.output == "number" else ""
    return f"Read the {what} and give the {noun}{as_number}.", f"What is the {noun} for the {what}?"


def _french(asked: Asked) -> tuple[str, str]:
    names = [
        _IN_FRENCH.get(_spoken(name).casefold()) or f"« {_spoken(name) or 'texte'} »" for name in asked.inputs
    ]
    what = _enumerated(names, ", ", " et ")
    noun, labels = f"« {asked.noun} »" if asked.noun else "", ", ".join(asked.labels)
    if asked.output == "label":
        question = f" selon {noun}" if noun else ""
        first = f"Classez {what}{question}. Répondez par une seule de ces étiquettes : {labels}."
        return first, f"Parmi ces étiquettes, laquelle convient le mieux : {labels} ?"
    if asked.output == "labels":
        first = f"Lisez {what} et donnez toutes les étiquettes qui conviennent, parmi : {labels}."
        return first, f"Parmi ces étiquettes, lesquelles conviennent : {labels} ?"
    if asked.output == "json":
        keys = f"un objet avec les clés {', '.join(asked.keys)}" if asked.keys else "rien d’autre"
        first = f"Lisez {what} et répondez en JSON : {keys}."
        return first, f"Lisez {what} et relevez {', '.join(asked.keys) or 'ce qui est demandé'}, en JSON."
    answer = f"la valeur de {noun}" if noun else "la bonne réponse"
    as_number = ", sous forme de nombre" if asked.output == "number" else ""
    short = "par un seul nombre" if asked.output == "number" else "brièvement"
    return f"Lisez {what} et donnez {answer}{as_number}.", f"Lisez {what}. Répondez {short}."


def _enumerated(names: Sequence[str], between: str, last: str) -> str:
    return last.join(filter(None, (between.join(names[:-1]), names[-1])))


def _spoken(name: str) -> str:
    return " ".join(re.findall(r"[^\W_]+", name))[:_LONGEST_NAME].strip()
