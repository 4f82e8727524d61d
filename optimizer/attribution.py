"""Where a difference comes from, in words: the answer format, the rest, or answers that could not be read."""

from collections.abc import Iterator, Mapping
from typing import Any

from optimizer.language import Language, mark

_NOT_SHOWN = mark("which the data cannot tell from none")


def format_in_words(evidence: Mapping[str, Any], say: Language) -> Iterator[str]:
    """Yield what the winner's answer format brings and what the rest does; nothing where that was not scored."""
    over, wording = evidence.get("difference_over_format"), evidence.get("wording_fingerprint")
    if over is None or evidence["reason"] == "same prompt":
        return
    if wording is not None and wording == evidence.get("winner_fingerprint"):
        yield say.t(
            "The new prompt is the baseline's wording in another answer format (and in another style, where that format "
            "takes no other): all of the difference comes from that."
        )
    elif wording is not None and wording == evidence.get("baseline_fingerprint"):
        yield say.t(
            "The new prompt has the answer format of the baseline: none of the difference comes from that."
        )
    else:
        yield _parted(evidence, over, say)


def _parted(evidence: Mapping[str, Any], over: Mapping[str, Any], say: Language) -> str:
    rest: dict[str, object] = {
        "rest": say.signed_points(over["value"]),
        **{end: say.signed_points(over[end]) for end in ("lower", "upper")},
        "p": say.p(over["p_value"]),
        "what": say.t(_weight(over)),
    }
    # A choice that is judged by cross-validation is another one each time, so its format has no score of its own.
    if evidence["protocol"] != "test":
        return say.t(
            "Against the baseline's wording in the answer format of the new prompt, the choice makes a difference of "
            "{rest} points ({lower} to {upper}, {p}), {what}.",
            **rest,
        )
    alone, before = (evidence["test"][arm]["score"] for arm in ("wording", "baseline"))
    return say.t(
        "With the answer format of the new prompt alone (and its style, where that format takes no other), the baseline's "
        "wording scores {score}, a difference of {gain} points to the baseline. All else that is new makes a difference "
        "of {rest} points to that ({lower} to {upper}, {p}), {what}.",
        score=say.score(alone),
        gain=say.signed_points(alone - before),
        **rest,
    )


def _weight(over: Mapping[str, Any]) -> str:
    """Return what a difference amounts to, by the rule of the decision: test and interval must agree."""
    if over["p_value"] >= 1 - over["level"] or over["lower"] <= 0 <= over["upper"]:
        return _NOT_SHOWN
    return mark("more than chance explains") if over["value"] > 0 else mark("a loss beyond chance")


def unread_in_words(evidence: Mapping[str, Any], say: Language) -> Iterator[str]:
    """Yield that most answers of the baseline could not be read, where that is so."""
    tested = evidence.get("test", {}).get("baseline", {}).get("outcomes")
    outcomes = tested or evidence.get("cross_validation", {}).get("outcomes", {}).get("baseline", {})
    cut, others = outcomes.get("truncated", 0), outcomes.get("invalid", 0) + outcomes.get("refused", 0)
    unread, n = cut + others, cut + others + outcomes.get("ok", 0)
    if 2 * unread <= n:
        return
    told = (
        "Most answers of the baseline could not be read: {unread} of {n}, {cut} of them cut off at the most tokens that it "
        "may write (max_tokens). Its score says that, and little of its wording."
        if cut
        else "Most answers of the baseline could not be read: {unread} of {n}. Its score says that, and little of its "
        "wording."
    )
    yield say.t(told, unread=unread, n=n, cut=cut)
