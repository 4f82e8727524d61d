"""What a verification found, as lines of text and as figures."""

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from statistics import fmean, median
from typing import TYPE_CHECKING, Any

from optimizer.answer import OUTCOMES
from optimizer.explanation import p_text, percent, score_text, shortened, signed_points
from optimizer.language import ENGLISH

if TYPE_CHECKING:
    from optimizer.models import ModelSpec
    from optimizer.pricing import Price
    from optimizer.recording import Row
    from optimizer.rescoring import Opened, Rescored
    from optimizer.verifying import Verified

# Ids named of those that are left out.
_NAMED = 5

# How each sign of a change is said, with the examples on which it changed.
_SIGNS = {
    "answers": "{changed} of {n} completions have other texts",
    "outcomes": "{changed} of {n} answers could be read one time and not the other",
    "format": "{changed} of {n} answers kept the form one time and not the other",
    "length": "{changed} of {n} answers have another length",
    "reading": "{changed} of {n} requests were read as another number of tokens",
}


def status(found: "Verified") -> str:
    """Return in a word what was found without a model."""
    if found.of("broken"):
        return "broken"
    return "differs" if found.of("differs") else "sound"


def headline(found: "Verified", again: Mapping[str, Any] | None = None) -> str:
    """Return in a line what was found."""
    if found.is_missing:
        return f"{found.path}: missing"
    parts = [status(found)]
    n = len(found.of("broken") + found.of("differs"))
    if n:
        parts[0] += f", {n} finding{'s' * (n != 1)}"
    elif found.rendered is None:
        parts.append("requests not rendered again")
    else:
        n = len(found.rendered.alike)
        parts.append(f"{n} recorded request{'s' * (n != 1)} rendered again, all alike")
    if again is not None:
        told = f": {', '.join(again['telling'])}" if again["telling"] else ""
        parts.append(f"{again['verdict'] or 'no answers to compare'}{told}")
    return f"{found.path}: {'; '.join(parts)}"


def verified_figures(found: "Verified") -> dict[str, Any]:
    """Return the same as `--json` shows it; counts are null where nothing was recorded, or rendered again."""
    findings = [
        {"weight": finding.weight, "about": finding.about, "message": finding.message}
        for finding in found.findings
    ]
    recorded, rendered = found.records, found.rendered
    return {
        "status": status(found),
        "findings": findings,
        "fingerprint": None if found.frozen is None else found.frozen.fingerprint,
        "split": None if recorded is None else recorded.split,
        "recorded": None if recorded is None else len(recorded.rows),
        "rendered": None if rendered is None else len(rendered.alike),
        "reworded": None if rendered is None else list(rendered.reworded),
    }


def rescored_figures(
    found: "Rescored",
    verified: "Verified",
    spec: "ModelSpec",
    price: "Price | None",
    *,
    seconds: Mapping[str, float] | None = None,
) -> dict[str, Any]:
    """Return what asking again came to; `cause` says what changed, null where nothing tells of a change.

    Args:
        seconds: How long examples took then, by id, as far as that is known.
    """
    from optimizer.evidence import comparison_figures

    assert verified.frozen is not None  # what is rescored was read
    assert verified.rendered is not None  # and its examples were found
    assert verified.records is not None  # and recorded
    told, then, now = found.drift, found.then, found.now
    recorded = f"{verified.frozen.model.get('provider')}:{verified.frozen.model.get('name')}"
    asked = f"{spec.provider}:{spec.name}"
    kept = [(a, b) for a, b in zip(then, now, strict=True) if b.id not in found.lost]
    both = [(a, b) for a, b in kept if a.score is not None and b.score is not None]
    score = None if told is None or told.score is None else comparison_figures(told.score)
    seconds_then, seconds_now = _seconds(found, seconds or {})
    return {
        "verdict": None if told is None else told.verdict,
        "cause": _cause(found, reworded=bool(verified.rendered.reworded)),
        "telling": [] if told is None else list(told.telling),
        "signs": [] if told is None else [_sign_figures(sign) for sign in told.signs],
        "model": {"recorded": recorded, "asked": asked},
        "metric": found.metrics[0],
        "metric_now": found.metrics[1],
        "judges": None if found.judges is None else _judges_figures(found.judges),
        "chosen_among": found.chosen_among,
        "difference": score,
        "n": 0 if told is None else told.n,
        "lost": list(found.lost),
        "then": _side([a for a, _ in kept], price)
        | {"score": _mean(a.score for a, _ in both), "seconds": seconds_then},
        "now": _side([b for _, b in kept], price)
        | {"score": _mean(b.score for _, b in both), "seconds": seconds_now},
    }


def _cause(found: "Rescored", *, reworded: bool) -> str | None:
    """Return what changed, as far as the figures tell; None where none tells.

    A metric, and a judge that it asks, explain the scores alone. So where only the score tells, and a judge gives it, that
    is the judge where equal answers are scored otherwise, and else either of the two.
    """
    changed, judges = "wording" if reworded else "model", found.judges
    telling = () if found.drift is None else found.drift.telling
    if set(telling) - {"score"}:
        return changed
    if not found.same_metric:
        only_judge = judges is not None and judges.differ and found.metrics[0] == found.metrics[1]
        return "judge" if only_judge else "metric"
    if not telling or judges is None:
        return changed if telling else None
    return "judge" if judges.tells else changed if reworded else "model or judge"


def used_figures(opened: "Opened") -> dict[str, Any]:
    """Return what a scoring has used, with what the models that metrics ask have; dollars are null without a price."""
    from optimizer.runs import spent_figures

    spent = spent_figures(opened.caller.spent, opened.ledger)
    if opened.job.price is None:
        spent["usd"] = None
    return {"spent": spent, **opened.bench.figures()}


def _sign_figures(sign: Any) -> dict[str, Any]:  # noqa: ANN401  # a `Told`, whose module is heavy
    return {
        "sign": sign.sign,
        "n": sign.n,
        "changed": sign.changed,
        "p_value": sign.p_value,
        "adjusted": sign.adjusted,
        "tells": sign.tells,
    }


def _judges_figures(judges: Any) -> dict[str, Any]:  # noqa: ANN401  # `Judges`, whose module is heavy
    return {
        "roles": list(judges.roles),
        "replaced": list(judges.replaced),
        "n": judges.n,
        "changed": judges.changed,
        "p_value": judges.p_value,
        "tells": judges.tells,
    }


def _side(rows: "Sequence[Row]", price: "Price | None") -> dict[str, Any]:
    """Return the figures of one round; its cost is what its tokens cost at the price of today.

    Tokens that the endpoint did not state are not known, and are left out.
    """
    outcomes = Counter(row.outcome for row in rows)
    known = [row for row in rows if row.counted and row.measured]
    cost = None if price is None else (price(row.prompt_tokens, row.completion_tokens) for row in known)
    return {
        "outcomes": {name: outcomes[name] for name in OUTCOMES},
        "strict": fmean(row.strict for row in rows) if rows else None,
        "prompt_tokens": _mean(row.prompt_tokens for row in rows if row.counted),
        "completion_tokens": _mean(row.completion_tokens for row in rows if row.measured),
        "cost_usd": None if cost is None else _mean(cost),
    }


def _mean(figures: Iterable[float | None]) -> float | None:
    known = [figure for figure in figures if figure is not None]
    return fmean(known) if known else None


def _seconds(found: "Rescored", then: Mapping[str, float]) -> tuple[float | None, float | None]:
    """Return the median seconds of an example, all of its calls together, then and now.

    Both are of the examples whose time is known both times; where none is known of then, now is of all.
    """
    now = {
        each.example.id: math.fsum(call.seconds for call in each.completions)
        for each in found.evaluation.scored
        if each.completions
    }
    both = now.keys() & then.keys()
    if both:
        return _rounded(then[name] for name in both), _rounded(now[name] for name in both)
    return None, _rounded(now.values()) if now else None


def _rounded(seconds: Iterable[float]) -> float:
    return round(median(seconds), 3)


def rescored_lines(figures: Mapping[str, Any]) -> Iterator[str]:
    """Yield what asking again came to."""
    if figures["lost"]:
        listed = ", ".join(shortened(name) for name in figures["lost"][:_NAMED])
        lost = ENGLISH.plural(
            len(figures["lost"]),
            "{n} example has no answer or no score now and is left out",
            "{n} examples have no answer or no score now and are left out",
        )
        yield f"{lost}: {listed}"
    if figures["verdict"] is None:
        return
    yield from _why(figures)
    yield from _judging(figures)
    if figures["chosen_among"] > 1:
        yield (
            f"the recorded answers chose this prompt among {figures['chosen_among']}, so they are lucky, too: what differs"
            " has to be as rare as of the luckiest of so many"
        )
    difference = figures["difference"]
    if difference is None:
        yield from _uncompared(figures)
    else:
        ends = f"{signed_points(difference['lower'])} to {signed_points(difference['upper'])}"
        yield (
            f"{figures['metric']} {score_text(figures['then']['score'])} then,"
            f" {score_text(figures['now']['score'])} now: {signed_points(difference['value'])} points ({ends}),"
            f" {_chance(figures)}, n={difference['n']}, {difference['wins']} better,"
            f" {difference['losses']} worse"
        )
    for sign in figures["signs"]:
        if sign["tells"] and sign["sign"] in _SIGNS:
            yield f"{sign['sign']}: {_SIGNS[sign['sign']].format(**sign)}, {p_text(sign['adjusted'])} corrected"
        elif sign["sign"] == "answers" and sign["changed"]:
            yield f"answers: {_SIGNS['answers'].format(**sign)}, which tells of no change"
    yield from _changes(figures["then"], figures["now"])


def _chance(figures: Mapping[str, Any]) -> str:
    """Return the p value of the scores by which the verdict was given: the corrected one, where they are a sign."""
    found = (sign["adjusted"] for sign in figures["signs"] if sign["sign"] == "score")
    adjusted = next(found, None)
    return p_text(figures["difference"]["p_value"]) if adjusted is None else f"{p_text(adjusted)} corrected"


def _uncompared(figures: Mapping[str, Any]) -> Iterator[str]:
    """Yield why scores that are there both times are not compared."""
    if figures["then"]["score"] is None or figures["now"]["score"] is None:
        return
    then, now = figures["metric"], figures["metric_now"]
    if figures["cause"] == "judge":
        return  # told already
    if then == now:
        yield f"{then} scores equal answers otherwise now than then, so the scores are not compared"
    else:
        yield f"scored by {then} then, by {now} now, so the scores are not compared"


def _why(figures: Mapping[str, Any]) -> Iterator[str]:
    """Yield what may be blamed."""
    model = figures["model"]
    other = model["recorded"] != model["asked"]
    if figures["cause"] == "wording":
        yield "the wording of the requests changed, so this says nothing of the model"
    elif figures["cause"] == "model" and other:
        yield f"the requests are those that were recorded; {model['asked']} was asked, not {model['recorded']}"
    elif figures["cause"] == "model":
        yield "the requests are those that were recorded, so the model, its sampling or its context changed"
    elif figures["cause"] == "model or judge":
        yield (
            "the requests are those that were recorded and the score alone tells, so the model, its sampling, its context"
            f" or {_asked(figures)} that scores it changed"
        )
    elif figures["cause"] == "judge" and figures["verdict"] == "drifted":
        yield f"the score alone tells, and by equal answers: {_asked(figures)} that scores them changed, not the model"
    elif other:
        yield f"{model['asked']} was asked, not {model['recorded']}"


def _judging(figures: Mapping[str, Any]) -> Iterator[str]:
    """Yield what equal answers tell of who scores them, where it tells of a change."""
    judges = figures["judges"]
    if judges is None:
        return
    differ = ENGLISH.plural(
        judges["n"],
        "{changed} of {n} equal answer",
        "{changed} of {n} equal answers",
        changed=judges["changed"],
    )
    if judges["replaced"] and judges["changed"]:
        yield f"{_asked(figures)} is another than then and scores {differ} otherwise, so the scores are not compared"
    elif judges["tells"] and figures["cause"] is not None:
        yield f"{_asked(figures)} scores {differ} otherwise now than then, {p_text(judges['p_value'])}"


def _asked(figures: Mapping[str, Any]) -> str:
    """Return who is asked for the scores, in words."""
    names = {"judge": "the judge", "embeddings": "the model of embeddings"}
    return " or ".join(names[role] for role in figures["judges"]["roles"])


def _changes(then: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    """Yield the figures of both rounds, where there are any."""
    names = [name for name in OUTCOMES if then["outcomes"][name] or now["outcomes"][name]]
    yield "outcomes " + ", ".join(
        f"{name} {then['outcomes'][name]} to {now['outcomes'][name]}" for name in names
    )
    if then["strict"] is not None:
        yield f"form kept {percent(then['strict'])} to {percent(now['strict'])}"
    for name, words in (("prompt_tokens", "read"), ("completion_tokens", "written")):
        sides = [None if side[name] is None else f"{side[name]:.1f}" for side in (then, now)]
        if any(sides):
            yield f"tokens {words} {' to '.join(side or 'not known' for side in sides)}"
    if then["cost_usd"] and now["cost_usd"] is not None:
        ratio = _ratio(then["cost_usd"], now["cost_usd"])
        yield f"cost of an example {ENGLISH.dollars(then['cost_usd'])} to {ENGLISH.dollars(now['cost_usd'])} US dollars{ratio}, at the price of today"
    if now["seconds"] is not None and then["seconds"] is None:
        yield f"seconds for an example {now['seconds']:.3f} now (median), not known then"
    elif now["seconds"] is not None:
        ratio = _ratio(then["seconds"], now["seconds"])
        yield f"seconds for an example {then['seconds']:.3f} to {now['seconds']:.3f} (median){ratio}"


def _ratio(then: float, now: float) -> str:
    """Return how many times as much it is, or "" where that is no number."""
    return f", {now / then:.2f} times" if then > 0 else ""
