"""The tables of the page: every figure of the evidence, and where the prompt comes from."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from optimizer.answer import OUTCOMES
from optimizer.exporters import frozen_side
from optimizer.frozen import FrozenPrompt
from optimizer.metrics import METRICS
from optimizer.report._behaviour import gaps_table, robustness_table, slices_table
from optimizer.report._history import history_table
from optimizer.report._language import mark
from optimizer.report._reading import (
    ABSENT,
    ARMS,
    GUESSED,
    HELD_OUT,
    gains,
    held_out,
    items,
    known_prompts,
    mapping,
    number,
    short,
    text,
)
from optimizer.report._table import Table, make_table
from optimizer.report._telling import Teller

# What is installed, and what it is called by.
DISTRIBUTION, COMMAND = "promptstudy", "optimizer"

_DECIMALS = {mark("characters"): 1, mark("seconds"): 3}  # by unit of a measure

# Outcomes of answers, as the page names them.
OUTCOME_NAMES = {
    name: name
    for name in (
        *(mark("ok"), mark("invalid"), mark("refused"), mark("truncated"), mark("error"), mark("unscored")),
    )
}


def tables(frozen: FrozenPrompt, say: Teller, answering: Mapping[str, Any] | None = None) -> dict[str, Table]:
    """Return the tables of the page by name.

    Args:
        answering: What the study recorded of the model that answered, beside its name.
    """
    made = (
        _scores(frozen, say),
        _measures(frozen.evidence, say),
        _differences(frozen.evidence, say),
        slices_table(frozen.evidence, say),
        gaps_table(frozen.evidence, say),
        robustness_table(frozen.evidence, say),
        _search(frozen, say),
        _picked(frozen.evidence, say),
        _cost(frozen.evidence, say),
        history_table(frozen, say),
        _provenance(frozen, mapping(answering), say),
    )
    return {table.id: table for table in made}


def _scores(frozen: FrozenPrompt, say: Teller) -> Table:
    evidence = frozen.evidence
    metric = text(evidence.get("metric", frozen.task.get("metric")))
    if held_out(evidence):
        found = mapping(evidence.get("cross_validation"))
        rows = [
            {
                say.t("prompt"): say.t(name),
                say.t("score"): say.score(found.get(key)),
                say.t("examples"): text(found.get("n")),
            }
            for key, name in HELD_OUT
        ]
        caption = say.t("Scores of cross-validation: {metric}", metric=metric)
        return make_table("scores", caption, rows, words=(say.t("prompt"),))
    test = mapping(evidence.get("test"))
    arms = [(key, name) for key, name in ARMS if key in test]
    return make_table(
        "scores",
        say.t("Scores on the test examples: {metric}", metric=metric),
        [{say.t("prompt"): say.t(name), **_arm(mapping(test[key]), say)} for key, name in arms],
        words=(say.t("prompt"), say.t("outcomes")),
        frozen=[k for k, (key, _) in enumerate(arms) if key == frozen_side(frozen)],
    )


def _arm(figures: Mapping[str, Any], say: Teller) -> dict[str, str]:
    outcomes = [
        f"{text(n)} {say.t(OUTCOME_NAMES[name]) if name in OUTCOME_NAMES else name}"
        for name, n in _ordered(figures.get("outcomes"), OUTCOMES)
        if n
    ]
    return {
        say.t("score"): say.score(figures.get("score")),
        say.t("95 % interval"): say.score_interval(figures),
        say.t("examples"): text(figures.get("n")),
        say.t("invalid"): text(figures.get("invalid")),
        say.t("errors"): text(figures.get("errors")),
        say.t("outcomes"): ", ".join(outcomes) or ABSENT,
    }


def _ordered(value: object, first: Sequence[str]) -> list[tuple[str, Any]]:
    """Return the entries of a mapping in a given order, unknown names last: a file keeps no order of its own."""
    found = mapping(value)
    return [(name, found[name]) for name in (*first, *sorted(set(found) - set(first))) if name in found]


def _measures(evidence: Mapping[str, Any], say: Teller) -> Table:
    test = mapping(evidence.get("test"))
    arms = {name: mapping(mapping(test.get(key)).get("metrics")) for key, name in ARMS if key in test}
    rows = [
        {
            say.t("measure"): text(measure),
            **{say.t(name): _measure(measure, found.get(measure), say) for name, found in arms.items()},
        }
        for measure in sorted({measure for found in arms.values() for measure in found})
    ]
    caption = say.t("What else was measured on the test")
    return make_table("measures", caption, rows, words=(say.t("measure"),))


def _measure(name: str, value: object, say: Teller) -> str:
    if name not in METRICS:
        return say.score(value)
    unit = METRICS[name].unit
    if unit == "share":
        return say.share(value)
    if unit == "USD":
        return say.amount(value, "usd")
    if unit == "tokens":
        return say.amount(value, unit)
    if unit in _DECIMALS and number(value) is not None:
        return say.t("{amount} {unit}", amount=say.decimal(value, _DECIMALS[unit]), unit=say.t(unit))
    return say.score(value)


def _differences(evidence: Mapping[str, Any], say: Teller) -> Table:
    named = gains(evidence)
    levels = {say.share(figures.get("level")) for _, _, figures in named}
    # What all rows share is said once.
    interval = say.t("interval, in points")
    if len(levels) == 1:
        interval = say.t("{level} interval, in points", level=levels.pop())
    # A guessed answer is worth what the guess is right at: an example is better or worse by it whatever was answered.
    counted = [{} if key == GUESSED else figures for key, _, figures in named]
    rows = [
        {
            say.t("new prompt"): say.t(name),
            say.t("difference"): say.gain(figures.get("value")),
            interval: say.gain_interval(figures),
            say.t("confidence"): say.share(figures.get("level")) if levels else ABSENT,
            say.t("chance"): say.chance(figures.get("p_value")),
            say.t("better"): text(counts.get("wins")),
            say.t("equal"): text(counts.get("ties")),
            say.t("worse"): text(counts.get("losses")),
            say.t("smallest provable gain"): say.size(figures.get("smallest_provable")),
        }
        for (_, name, figures), counts in zip(named, counted, strict=True)
    ]
    caption = say.t("The new prompt against others, example by example")
    return make_table("differences", caption, rows, words=(say.t("new prompt"),))


def _search(frozen: FrozenPrompt, say: Teller) -> Table:
    evidence = frozen.evidence
    judged = say.t("held-out score") if held_out(evidence) else say.t("test score")
    found = mapping(evidence.get("cross_validation" if held_out(evidence) else "test"))
    later = {
        "baseline": found.get("baseline"),
        "winner": found.get("chosen") if held_out(evidence) else found.get("winner"),
    }
    arms = [arm for arm in ("baseline", "winner") if mapping(mapping(evidence.get("validation")).get(arm))]
    rows = []
    for arm in arms:
        row = mapping(mapping(evidence.get("validation"))[arm])
        rows.append(
            {
                say.t("prompt"): say.t(arm),
                say.t("validation score"): say.score(row.get("score")),
                say.t("95 % interval"): say.score_interval(row),
                say.t("examples"): text(row.get("n")),
                say.t("errors"): text(row.get("errors")),
                say.t("expected score"): say.score(row.get("estimate")),
                judged: say.score(later[arm] if held_out(evidence) else mapping(later[arm]).get("score")),
            }
        )
    return make_table(
        "search",
        say.t("Scores of the search, and after it"),
        rows,
        words=(say.t("prompt"),),
        frozen=[k for k, arm in enumerate(arms) if arm == frozen_side(frozen)],
    )


def _picked(evidence: Mapping[str, Any], say: Teller) -> Table:
    picked = mapping(mapping(evidence.get("cross_validation")).get("picked"))
    known = known_prompts(evidence)
    total = sum(int(number(times) or 0) for times in picked.values())
    rows = [
        {
            say.t("prompt"): short(prompt),
            say.t("in this study"): say.t(known.get(prompt, mark("another"))),
            say.t("chosen"): say.t("{n} of {total} times", n=text(times), total=total),
        }
        for prompt, times in sorted(picked.items(), key=lambda item: (-(number(item[1]) or 0), item[0]))
    ]
    words = (say.t("prompt"), say.t("in this study"))
    return make_table("picked", say.t("What was chosen on parts of the data"), rows, words=words)


def _cost(evidence: Mapping[str, Any], say: Teller) -> Table:
    saving = mapping(evidence.get("saving"))
    unit, level = saving.get("unit"), say.share(saving.get("level"))
    interval = say.t("interval") if level == ABSENT else say.t("{level} interval", level=level)
    ends = [say.amount(saving.get(end), unit) for end in ("lower", "upper")]
    between = {interval: say.between(*ends), say.t("chance"): say.chance(saving.get("p_value"))}
    named = (
        ("baseline", mark("baseline")),
        ("winner", mark("winner")),
        ("value", mark("winner minus baseline")),
    )
    rows = [
        {
            say.t("prompt"): say.t(name),
            say.t("cost"): say.amount(saving.get(key), unit),
            **(between if key == "value" else dict.fromkeys(between, ABSENT)),
        }
        for key, name in named
        if saving
    ]
    return make_table("cost", say.t("Cost of an example"), rows, words=(say.t("prompt"),))


def _provenance(frozen: FrozenPrompt, answering: Mapping[str, Any], say: Teller) -> Table:
    task, dataset = frozen.task, mapping(frozen.task.get("dataset"))
    splits = _ordered(dataset.get("splits"), ("train", "validation", "test"))
    named = {"name": text(task.get("name")), "version": text(task.get("version"))}
    facts = {
        say.t("study"): frozen.name,
        say.t("task"): say.t("{name}, version {version}", **named),
        say.t("metric"): text(task.get("metric")),
        say.t("task fingerprint"): text(task.get("fingerprint")),
        say.t("data fingerprint"): text(dataset.get("fingerprint")),
        say.t("examples"): ", ".join(f"{name} {text(n)}" for name, n in splits) or ABSENT,
        say.t("groups in the judging examples"): text(frozen.evidence.get("groups")),
        say.t("seed of the splits"): text(dataset.get("seed")),
        say.t("model"): f"{text(frozen.model.get('provider'))}:{text(frozen.model.get('name'))}",
        say.t("server of the model"): text(answering.get("server")),
        say.t("weights of the model"): text(answering.get("weights")),
        say.t("style"): frozen.style,
        say.t("format"): frozen.format,
        say.t("demonstrations"): ", ".join(items(frozen.demonstration_ids)) or say.t("none"),
        say.t("the model must be capable of"): ", ".join(frozen.capabilities) or ABSENT,
        say.t("made with"): ", ".join(_tools(frozen.tool_versions)) or ABSENT,
        say.t("prompt fingerprint"): frozen.fingerprint,
        say.t("checksum of the file"): text(frozen.to_dict()["checksum"]),
    }
    rows = [{say.t("what"): what, say.t("which"): value} for what, value in facts.items() if value != ABSENT]
    caption = say.t("Where this prompt comes from")
    return make_table("provenance", caption, rows, words=(say.t("what"), say.t("which")))


def _tools(versions: Mapping[str, Any]) -> Iterator[str]:
    """Yield what made the prompt, ourselves first: the command bears another name than the distribution."""
    for name, version in _ordered(versions, (DISTRIBUTION,)):
        told = f"{name} {text(version)}"
        yield f"{COMMAND} ({told})" if name == DISTRIBUTION else told
