"""Which labels a piece of text names. Standard library only.

Nobody gets credit by luck here. Where a text names two labels, denies the only one or leaves the choice open, there is
no answer: whoever guesses one of them would be right now and then.
Every search is one pass over the text, with bounded looks to both sides of what it finds.
"""

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

# Marks that models put around a bare label; taken off both ends before comparing. No `-`, `+`, `#`: with them `-1` and
# `C#` would be `1` and `C`.
DECORATION = " \t\r\n\"'`*_.,:;!?()[]{}<>|“”‘’«»„‹›。、「」『』【】…–—•·→"

# Characters that nobody sees: soft hyphen, zero-width space, word joiner, byte order mark.
_UNSEEN = dict.fromkeys((0xAD, 0x200B, 0x2060, 0xFEFF))

# How far to both sides of a label its sentence is looked at; a negation stands nearer than this.
_NEAR = 80

# A text that names labels more often than this is no answer, nor is one of more items or of more words that look like
# labels and are none, such as the article for the label A.
_MOST_MENTIONS, _MOST_ITEMS = 100, 2000

# Labels that sentences hold without meaning them. The first are matched as they are written, case included.
_FUNCTION_WORDS = frozenset(
    str.split(
        "a à am an and as at au aux be by can ce de des do du elle en est et go he i if il in is it la le les ma may me mon"
        " my ne ni nous o of on or ou par pas plus pour que qui sa se si so son the to un une up us we will y"
    )
)
_COMMON_WORDS = frozenset(str.split("all any autre autres both no non none not other others some"))

_OPENING = r"[\s\"'“‘«(\[*_`]*\Z"
# A word that goes on with a sentence, unlike those that begin another thought.
_WORD = r"(?:[ \t]+(?!(?:but|mais|so|then|because|since|car|donc|alors)\b)[\w'’-]+)"

# What may stand between a word of lack and what there is none of: "no clear sign of any", "nothing to suggest".
_OF_LACK = "|".join(
    str.split(
        "a an the any all such some thing as of for to that this it there here is are was be been being do with or nor and at"
        " my our your his her its their these those found seen detected whatsoever way"
        " actual apparent clear convincing credible direct explicit further hard known obvious possible potential real"
        " reliable significant solid specific strong sufficient visible"
        " evidence signs? indications? indicators? indicative traces? hints? mentions? reasons? proofs? suspicions? grounds"
        " basis symptoms? elements? markers? suggestions? instances? cases? kinds? sorts? types? forms? chance likelihood"
        " suggest(?:s|ing|ed)? indicat(?:es?|ing|ed) shows? showing points? pointing proves? proving supports? supporting"
        " impl(?:y|ies|ying) resembl(?:es?|ing) looks? like suspect(?:ed)? believe think say consider call classify label"
        " possibility question un une le la les de du des d l qu que c'est qu'il s'agit d'une? moindre signes? preuves? indices?"
        " ne indique suggère prouve montre laisse penser"
        " ein(?:e[mnrs]?)? der die das den dem des um von vom für auf als nach aus wirklich eindeutige[nrs]? klare[nrs]?"
        " anzeichen hinweise? beweise? spur(?:en)? verdacht grund indiz(?:ien)?"
    )
)
_LACKED = rf"(?:[ \t]+(?:[dln]['’])?(?:{_OF_LACK})\b)*"

# What stands before a label that is not meant: "not", within the clause; "no", right before it or with words of lack
# between; "or", undecided.
_NOT_MEANT_BEFORE = re.compile(
    rf"(?:(?:\b(?:not|cannot|never|nor|neither|either|both|hardly|pas|ni|jamais|aucune?|nullement)|n['’]t)\b"
    rf"(?![ \t]+(?:only|just|seulement|simplement|doute)\b){_WORD}{{0,5}}"
    # "No this is spam", "no doubt it is spam" and "nothing but spam" say that it is.
    rf"|\b(?:(?:no|non)\b(?![ \t]+(?:this|that|it|there|here|c['’]est)\b)|nothing\b(?![ \t]+(?:but|short)\b)"
    rf"|rien\b(?![ \t]+que\b)|(?:without|sans|zero|nicht|niemals|kein(?:e[mnrs]?|erlei)?|geen|niet|nessun[ao]?|не|нет)\b)"
    rf"(?![ \t]+(?:doubts?|doutes?|aucun doute|questions?\b(?![ \t]+of\b)|wonder|zweifel|nur)\b)"
    rf"(?:{_LACKED}|[ \t]+[\w'’]+)"
    rf"|\b(?:lack(?:s|ing)?|absen(?:t|ce)|free (?:of|from)|devoid of|opposite of|fails? to|unlikely|doubtful|improbable"
    rf"|(?:i|we) (?:really )?doubt|(?:mistake|wrong|incorrect) to)\b{_LACKED}"
    rf"|\b(?:rather than|other than|instead of|anything but|all but|except(?: for)?|excluding|far from|rule[sd]? out"
    rf"|plutôt que|autre que|au lieu d[eu]|sauf|hormis|excepté|loin d[eu]){_WORD}{{0,2}}"
    # A comparison says how something is to be, or was, and not what it is: "a more positive tone".
    rf"|\b(?:more|less|plus|moins)\b|\b(?:or|ou)\b{_WORD}?|\w[ \t]*/){_OPENING}|\b(?:non|un|in|anti|not|pseudo|quasi|ex)-\Z",
    re.IGNORECASE,
)
_CLOSING = r"[\s\"'”’»)\]*_`]*"
# "No" and nothing more.
_NOT_SO = rf"(?:no|non|none|not|false|faux|nein|absent|0){_CLOSING}(?:[.,;!}}](?!\d)|\Z|(?<=[\r\n]))"
_NOT_MEANT_AFTER = re.compile(
    rf"-(?:free|less)\b|{_CLOSING}[?:=]\s*[*_`]*(?:no|non|not|pas|false|faux)\b"
    # "fraud detected: no" says that there is none, "spam confirmed: no sender is named" why it is spam.
    rf"|{_CLOSING}(?:(?:is|was|been|detected|found|present|confirmed|suspected|flag(?:ged)?){_CLOSING}){{0,2}}[?:=]"
    rf"[\s\"'“‘«*_`]*{_NOT_SO}|[ \t]*[-–—]+[ \t]*{_NOT_SO}"
    r"|[\"'”’»)\]*_`]*(?:[ \t]*/[ \t]*\w|[ \t]+(?:or|ou)\b"
    r"|[ \t]+(?:(?:is|was|are|were|seems|looks|would be|could be|does|did|do|can|could|would|should|est|serait|semble)[ \t]*)?"
    r"(?:n['’]t|not|cannot|wrong|incorrect|false|absent|excluded|ruled out|impossible|unlikely|pas|n['’]est|ne|faux|fausse"
    r"|exclue?|(?:ha[sd]|have)(?:n['’]t|[ \t]+not)[ \t]+been|(?:may|might)[ \t]+not[ \t]+be|(?:ist|liegt)[ \t]+nicht)\b)",
    re.IGNORECASE,
)
# What follows an ordinary word that is meant as a label: the end of the line, a mark, or the reason for it.
_SET_OFF = re.compile(
    r"[ \t]*(?:\Z|[\r\n]|[^\w\s'’-]|['’](?!\w)|-+(?!\w)|(?:is|est|was|because|since|as|car)\b)", re.IGNORECASE
)
# A letter that is a piece of a word, as in C'est, I'd, e.g., a-t-il, C++.
_PIECE_BEFORE, _PIECE_AFTER = re.compile(r"\w['’.-]\Z"), re.compile(r"['’.-]\w|[+#]")
# A figure that is a piece of a number, as in 4.5, 3/4, 3-4, -1, $5, 10%.
_FIGURE_BEFORE = re.compile(r"\d[.,:/–-]\Z|(?:\A|[\s(:=])[-+−.,]\Z|[$€£]\Z")
_FIGURE_AFTER = re.compile(r"[.,:/–-]\d|[ \t]?[%€]")

# How a list says that nothing is in it, and how a sentence does.
_NOTHING = frozenset(("none", "aucun", "aucune", "nothing", "rien", "no label", "no labels", "none of them"))
_NONE_OF = re.compile(r"\W*(?:none|no labels?|aucune?)\b", re.IGNORECASE)
_BULLET = re.compile(r"^\s*(?:[-*•+]|\d{1,3}[.)])\s+")
_AND = re.compile(r"\b(?:and|et)\b|&", re.IGNORECASE)

# What Markdown has a backslash before, so that it stands for itself: `bug\_report`.
_ESCAPED = re.compile(r"\\([-_*#.+!~`|<>&()\[\]])")

# An example of the model's own making: after an empty line, at least two lines of a caption and its text.
_EXAMPLE = re.compile(r"\n[ \t]*\n(?=[^\W\d][\w ]{0,30}: ?[^\n]*\n[^\W\d][\w ]{0,30}:)")


@dataclass(frozen=True, kw_only=True, slots=True)
class _Mention:
    """A label in a text, and whether the text stands by it."""

    label: str | None
    meant: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class _Lexicon:
    """Some labels, prepared: what is equal to which of them, and a pattern of all as whole words, longest first."""

    raw: Mapping[str, str | None]
    folded: Mapping[str, str | None]
    bare: Mapping[str, str | None]
    plain: Mapping[str, str | None]
    pattern: re.Pattern[str] | None


def exact_label(text: str, labels: tuple[str, ...]) -> str | None:
    """Return the one label that a text is: as it is written, or else without the marks around it.

    Case does not matter, nor do the width of characters, how accents are encoded, or how wide the spaces are. A label
    without its accents is the label, where no other is it as well.
    """
    lexicon, folded = _lexicon(labels), _folded(text)
    raw, bare = text.strip().casefold(), folded.strip(DECORATION)
    found = lexicon.raw.get(raw) or lexicon.folded.get(folded) or lexicon.bare.get(bare)
    return found or lexicon.plain.get(_unaccented(bare))


def lone_label(text: str, labels: tuple[str, ...]) -> str | None:
    r"""Return the one label that a text is, also as Markdown writes it: `bug\_report` is the label `bug_report`."""
    return exact_label(_unescaped(text, labels), labels)


def ends_itself(label: str, text: str, labels: tuple[str, ...]) -> bool:
    """Return whether a label in a text that was cut off is whole: no longer one could have gone on at the end."""
    short, end = label.casefold(), _unescaped(text, labels).casefold()
    end = end if short.endswith("\\") else end.removesuffix("\\")
    longer = [name.casefold() for name in labels if name.casefold().startswith(short)]
    return not any(end.endswith(name[:cut]) for name in longer for cut in range(len(short), len(name)))


def find_label(text: str, labels: tuple[str, ...]) -> str | None:
    """Return the one label that a text names, or None when it names none or several, or does not stand by it.

    A text that is nothing but a label, give or take case and punctuation, names it. Otherwise labels are
    looked for as whole words, longer ones first, so that `card payment` is not also `card`. Two different
    labels are no answer: to take either would be luck. Neither is `not spam`, nor `spam or something else`.
    """
    text = _unescaped(text, labels)
    exact = exact_label(text, labels)
    if exact is not None:
        return exact
    found = _mentions(_EXAMPLE.split(_normal(text), maxsplit=1)[0], labels)
    named = {mention.label for mention in found}
    return named.pop() if len(named) == 1 and all(mention.meant for mention in found) else None


def listed_labels(text: str, labels: tuple[str, ...]) -> tuple[tuple[str, ...], bool] | None:
    """Return the labels that a text lists, in their own order, and whether it is nothing but that list.

    A list has its items on one line or on several, with or without bullets; all of them are labels. What a model runs
    on with after an empty line is not read. A word such as "none" lists nothing. Failing that, prose is looked at.
    """
    plain = _unescaped(text, labels)
    found = _read_list(plain, labels)
    return found and (found[0], found[1] and plain == text)


def _read_list(text: str, labels: tuple[str, ...]) -> tuple[tuple[str, ...], bool] | None:
    if (exact := exact_label(text, labels)) is not None:
        return (exact,), True
    if _folded(text).strip(DECORATION) in _NOTHING:
        return (), True
    if found := _items(text, labels):
        return found
    first, _, rest = text.strip().partition("\n\n")
    if rest and (found := _read_list(first, labels)):
        return found[0], False
    normal = _normal(text)
    if _NONE_OF.match(normal) and not _mentions(normal, labels):
        return (), False
    named = find_labels(text, labels)
    return None if named is None else (named, False)


def find_labels(text: str, labels: tuple[str, ...]) -> tuple[str, ...] | None:
    """Return the labels that some prose names, in their own order, or None when it names none or denies one.

    Prose cannot say that there is no label; that takes a word of its own or an empty list. A list with an unknown
    item is not what the known ones alone say, so it is None as well.
    """
    normal = _normal(text)
    items = [
        item for item in re.split(r"[,;|\n]", normal, maxsplit=_MOST_ITEMS) if item.strip(DECORATION + "-")
    ]
    known = [exact_label(item, labels) is not None for item in items]
    short = [len(item.split()) <= 2 for item in items]
    if any(known) and any(brief and not hit for brief, hit in zip(short, known, strict=True)):
        return None
    found = _mentions(normal, labels)
    named = {mention.label for mention in found}
    if not found or None in named or not all(mention.meant for mention in found):
        return None
    return tuple(label for label in labels if label in named)


def _items(text: str, labels: tuple[str, ...]) -> tuple[tuple[str, ...], bool] | None:
    """Return the labels of a list all of whose items are labels, and whether it came without a caption and an "and"."""
    pieces = [
        # A label may itself begin as an item does: `1. foo`.
        piece if exact_label(piece, labels) is not None else _BULLET.sub("", piece)
        for piece in re.split(r"[,;|\n]", _normal(text), maxsplit=_MOST_ITEMS)
    ]
    pieces = [piece for piece in pieces if piece.strip(DECORATION)]
    bare = True
    if pieces and exact_label(pieces[0], labels) is None and ":" in pieces[0]:
        bare, pieces[0] = False, pieces[0].partition(":")[2]
    named: set[str | None] = set()
    for piece in pieces:
        whole = exact_label(piece, labels)
        if whole is None:
            bare = False
            named |= {exact_label(part, labels) for part in _AND.split(piece) if part.strip(DECORATION)}
        else:
            named.add(whole)
    if not named or None in named:
        return None
    return tuple(label for label in labels if label in named), bare


def _unescaped(text: str, labels: tuple[str, ...]) -> str:
    """Return a text without the backslashes of Markdown, or as it is where a label has a backslash itself."""
    return text if "\\" not in text or any("\\" in label for label in labels) else _ESCAPED.sub(r"\1", text)


def _normal(text: str) -> str:
    return unicodedata.normalize("NFKC", text).translate(_UNSEEN)


def _folded(text: str) -> str:
    return " ".join(_normal(text).split()).casefold()


def _unaccented(text: str) -> str:
    if text.isascii():
        return text
    apart = unicodedata.normalize("NFD", text)
    return "".join(character for character in apart if not unicodedata.combining(character))


@lru_cache(maxsize=64)
def _lexicon(labels: tuple[str, ...]) -> _Lexicon:
    longest_first = sorted({_normal(label).strip() for label in labels} - {""}, key=len, reverse=True)
    words = "|".join(r"\s+".join(map(re.escape, label.split())) for label in longest_first)
    return _Lexicon(
        raw=_by_form(labels, [label.strip().casefold() for label in labels]),
        folded=_by_form(labels, [_folded(label) for label in labels]),
        bare=_by_form(labels, [_folded(label).strip(DECORATION) for label in labels]),
        plain=_by_form(labels, [_unaccented(_folded(label).strip(DECORATION)) for label in labels]),
        # Looked for at every place, so that a label that begins within another one is seen as well.
        pattern=re.compile(rf"(?<!\w)(?=({words})(?!\w))", re.IGNORECASE) if words else None,
    )


def _by_form(labels: tuple[str, ...], forms: list[str]) -> dict[str, str | None]:
    """Return the label of each form, None where several share it."""
    found: dict[str, str | None] = {}
    for label, form in zip(labels, forms, strict=True):
        found[form] = label if found.setdefault(form, label) == label else None
    return {form: label for form, label in found.items() if form}


def _mentions(text: str, labels: tuple[str, ...]) -> list[_Mention]:
    """Return the labels that a normal text names, in order; one that lies within a longer one is not named."""
    pattern, found, reached = _lexicon(labels).pattern, [], 0
    for place, match in enumerate(pattern.finditer(text) if pattern is not None else ()):
        start, end = match.span(1)
        if end > reached:
            reached = end
            label = exact_label(match[1], labels)
            before, after = text[max(0, start - _NEAR) : start], text[end : end + _NEAR]
            if _is_named(label or match[1], match[1], before, after):
                meant = not (_NOT_MEANT_BEFORE.search(before) or _NOT_MEANT_AFTER.match(after))
                found.append(_Mention(label=label, meant=meant))
        if len(found) > _MOST_MENTIONS or place > _MOST_ITEMS:
            return [_Mention(label=None, meant=False)]
    return found


def _is_named(label: str, written: str, before: str, after: str) -> bool:
    """Return whether a word that looks like a label is one, and no piece or common word of a sentence."""
    if len(label) == 1 and (_PIECE_BEFORE.search(before) or _PIECE_AFTER.match(after)):
        return False
    if label.isdigit() and (_FIGURE_BEFORE.search(before) or _FIGURE_AFTER.match(after)):
        return False
    word = label.casefold()
    if word in _FUNCTION_WORDS:
        capitals = len(label) > 1 and label.isupper()
        return written == label and (capitals or _SET_OFF.match(after) is not None)
    return word not in _COMMON_WORDS or _SET_OFF.match(after) is not None
