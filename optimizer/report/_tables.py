"""The tables of the page: every figure of the evidence, and where the prompt comes from."""

from collections.abc import Mapping, Sequence
from typing import Any

from optimizer.answer import OUTCOMES
from optimizer.frozen import FrozenPrompt
from optimizer.report._behaviour import gaps_table, robustness_table, slices_table
from optimizer.report._history import history_table
from optimizer.report._reading import (
    ABSENT,
    ARMS,
    GAINS,
    HELD_OUT,
    amount,
    chance,
    gain,
    gain_interval,
    held_out,
    items,
    known_prompts,
    mapping,
    number,
    score,
    score_interval,
    share,
    short,
    size,
    text,
    which,
)
from optimizer.report._table import Table, make_table


def tables(frozen: FrozenPrompt) -> dict[str, Table]:
    """Return the tables of the page by name."""
    made = (
        _scores(frozen),
        _measures(frozen.evidence),
        _differences(frozen.evidence),
        slices_table(frozen.evidence),
        gaps_table(frozen.evidence),
        robustness_table(frozen.evidence),
        _search(frozen),
        _picked(frozen.evidence),
        _cost(frozen.evidence),
        history_table(frozen),
        _provenance(frozen),
    )
    return {table.id: table for table in made}


def _scores(frozen: FrozenPrompt) -> Table:
    evidence = frozen.evidence
    metric = text(evidence.get("metric", frozen.task.get("metric")))
    if held_out(evidence):
        found = mapping(evidence.get("cross_validation"))
        rows = [
            {"prompt": name, "score": score(found.get(key)), "examples": text(found.get("n"))}
            for key, name in HELD_OUT
        ]
        return make_table("scores", f"Scores of cross-validation: {metric}", rows, words=("prompt",))
    test = mapping(evidence.get("test"))
    arms = [(key, name) for key, name in ARMS if key in test]
    rows = [{"prompt": name, **_arm(mapping(test[key]))} for key, name in arms]
    return make_table(
        "scores",
        f"Scores on the test examples: {metric}",
        rows,
        words=("prompt", "outcomes"),
        frozen=[k for k, (key, _) in enumerate(arms) if key == which(frozen)],
    )


def _arm(figures: Mapping[str, Any]) -> dict[str, str]:
    return {
        "score": score(figures.get("score")),
        "95 % interval": score_interval(figures),
        "examples": text(figures.get("n")),
        "invalid": text(figures.get("invalid")),
        "errors": text(figures.get("errors")),
        "outcomes": ", ".join(
            f"{text(n)} {name}" for name, n in _ordered(figures.get("outcomes"), OUTCOMES) if n
        )
        or ABSENT,
    }


def _ordered(value: object, first: Sequence[str]) -> list[tuple[str, Any]]:
    """Return the entries of a mapping in a given order, unknown names last: a file keeps no order of its own."""
    found = mapping(value)
    return [(name, found[name]) for name in (*first, *sorted(set(found) - set(first))) if name in found]


def _measures(evidence: Mapping[str, Any]) -> Table:
    test = mapping(evidence.get("test"))
    arms = {name: mapping(mapping(test.get(key)).get("metrics")) for key, name in ARMS if key in test}
    rows = [
        {
            "measure": text(measure),
            **{name: _measure(measure, found.get(measure)) for name, found in arms.items()},
        }
        for measure in sorted({measure for found in arms.values() for measure in found})
    ]
    return make_table("measures", "What else was measured on the test", rows, words=("measure",))


def _measure(name: str, value: object) -> str:
    return {"tokens": lambda: amount(value, name), "valid": lambda: share(value)}.get(
        name, lambda: score(value)
    )()


def _differences(evidence: Mapping[str, Any]) -> Table:
    kinds = [(name, mapping(evidence.get(key))) for key, name in GAINS]
    named = [(name, figures) for name, figures in kinds if figures]
    levels = {share(figures.get("level")) for _, figures in named}
    # What all rows share is said once.
    interval = f"{levels.pop()} interval, in points" if len(levels) == 1 else "interval, in points"
    rows = [
        {
            "new prompt": name,
            "difference": gain(figures.get("value")),
            interval: gain_interval(figures),
            "confidence": share(figures.get("level")) if levels else ABSENT,
            "chance": chance(figures.get("p_value")),
            "better": text(figures.get("wins")),
            "equal": text(figures.get("ties")),
            "worse": text(figures.get("losses")),
            "smallest provable gain": size(figures.get("smallest_provable")),
        }
        for name, figures in named
    ]
    return make_table(
        "differences", "The new prompt against others, example by example", rows, words=("new prompt",)
    )


def _search(frozen: FrozenPrompt) -> Table:
    evidence = frozen.evidence
    judged = "held-out score" if held_out(evidence) else "test score"
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
                "prompt": arm,
                "validation score": score(row.get("score")),
                "95 % interval": score_interval(row),
                "examples": text(row.get("n")),
                "errors": text(row.get("errors")),
                "expected without luck": score(row.get("estimate")),
                judged: score(later[arm] if held_out(evidence) else mapping(later[arm]).get("score")),
            }
        )
    return make_table(
        "search",
        "Scores of the search, and after it",
        rows,
        words=("prompt",),
        frozen=[k for k, arm in enumerate(arms) if arm == which(frozen)],
    )


def _picked(evidence: Mapping[str, Any]) -> Table:
    picked = mapping(mapping(evidence.get("cross_validation")).get("picked"))
    known = known_prompts(evidence)
    total = sum(int(number(times) or 0) for times in picked.values())
    rows = [
        {
            "prompt": short(prompt),
            "in this study": known.get(prompt, "another"),
            "chosen": f"{text(times)} of {total} times",
        }
        for prompt, times in sorted(picked.items(), key=lambda item: (-(number(item[1]) or 0), item[0]))
    ]
    return make_table(
        "picked", "What was chosen on parts of the data", rows, words=("prompt", "in this study")
    )


def _cost(evidence: Mapping[str, Any]) -> Table:
    saving = mapping(evidence.get("saving"))
    unit, level = saving.get("unit"), share(saving.get("level"))
    interval = "interval" if level == ABSENT else f"{level} interval"
    ends = [amount(saving.get(end), unit) for end in ("lower", "upper")]
    between = {
        interval: ABSENT if ABSENT in ends else " to ".join(ends),
        "chance": chance(saving.get("p_value")),
    }
    named = (("baseline", "baseline"), ("winner", "winner"), ("value", "winner minus baseline"))
    rows = [
        {
            "prompt": name,
            "cost": amount(saving.get(key), unit),
            **(between if key == "value" else dict.fromkeys(between, ABSENT)),
        }
        for key, name in named
        if saving
    ]
    return make_table("cost", "Cost of an example", rows, words=("prompt",))


def _provenance(frozen: FrozenPrompt) -> Table:
    task, dataset = frozen.task, mapping(frozen.task.get("dataset"))
    splits = _ordered(dataset.get("splits"), ("train", "validation", "test"))
    facts = {
        "study": frozen.name,
        "task": f"{text(task.get('name'))}, version {text(task.get('version'))}",
        "metric": text(task.get("metric")),
        "task fingerprint": text(task.get("fingerprint")),
        "data fingerprint": text(dataset.get("fingerprint")),
        "examples": ", ".join(f"{name} {text(n)}" for name, n in splits) or ABSENT,
        "groups in the judging examples": text(frozen.evidence.get("groups")),
        "seed of the splits": text(dataset.get("seed")),
        "model": f"{text(frozen.model.get('provider'))}:{text(frozen.model.get('name'))}",
        "style": frozen.style,
        "format": frozen.format,
        "demonstrations": ", ".join(items(frozen.demonstration_ids)) or "none",
        "the model must be capable of": ", ".join(frozen.capabilities) or ABSENT,
        "made with": ", ".join(f"{name} {text(v)}" for name, v in _ordered(frozen.tool_versions, ()))
        or ABSENT,
        "prompt fingerprint": frozen.fingerprint,
        "checksum of the file": text(frozen.to_dict()["checksum"]),
    }
    rows = [{"what": what, "which": value} for what, value in facts.items() if value != ABSENT]
    return make_table("provenance", "Where this prompt comes from", rows, words=("what", "which"))
