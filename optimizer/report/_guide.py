"""The guide: what works for a task and a model, as Markdown to hand on. Same study, same bytes."""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from optimizer.archive import Archive
from optimizer.frozen import FrozenPrompt
from optimizer.plan import StudyPlan
from optimizer.report._arms import Answers, Arm, arms
from optimizer.report._effects import Effects, effects
from optimizer.report._failures import Failed, Failures, failures
from optimizer.report._fronts import study_front
from optimizer.report._genealogy import genealogy
from optimizer.report._importance import importance
from optimizer.report._language import Language, mark
from optimizer.report._markdown import block, code, sentence, table
from optimizer.report._messages import calls
from optimizer.report._reading import items, mapping, number, text
from optimizer.report._study import changed_parts
from optimizer.report._table import Table
from optimizer.report._telling import Teller
from optimizer.report._words import Words, words

_MOST = 8  # examples, confusions or slices that are listed
_SLICES = (mark("slice"), mark("score"), mark("examples"), mark("over the baseline"))


def guide(plan: StudyPlan, frozen: FrozenPrompt, archive: Archive, language: Language) -> str:
    """Return what a study found out, as the text of a Markdown file.

    Text from data is inert in it. Where task or data have changed since, nothing is told of single examples.
    """
    say = Teller(language)
    told = words(frozen, say)
    changed = set(changed_parts(plan.identity, archive.identity)) & {"task", "data"}
    answers: Answers = archive.completions(archive.scores)
    found = arms(plan, frozen, archive, answers, say)
    made = effects(plan, archive, language)
    parts = [
        f"# {sentence(say.t('What works for {task} with {model}', task=text(frozen.task.get('name')), model=told.model))}",
        *_short(told),
        *_section(say.t("What works and what does not"), _works(made, plan, archive, say)),
        *_section(say.t("The prompt to ship"), _prompt(frozen, say)),
        *_section(say.t("How to use it"), _use(frozen, say)),
        *_section(
            say.t("Where it fails"),
            _unknown(sorted(changed), say)
            if changed
            else _fails(failures(plan, frozen, archive), frozen, say),
        ),
        *_section(say.t("What was tried in vain"), _vain(made, archive, frozen, say)),
        *_section(say.t("Score against cost"), _front(plan, frozen, archive, found, answers, say)),
        *_section(say.t("Open questions"), _open(told, made, frozen, say)),
        *_section(say.t("How this was measured"), _measured(plan, frozen, archive, told, say)),
    ]
    return "\n\n".join(parts) + "\n"


def _section(heading: str, parts: Iterator[str]) -> Iterator[str]:
    found = list(parts)
    if found:
        yield f"## {sentence(heading)}"
        yield from found


def _listed(lines: Sequence[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)


def _sentences(said: Sequence[str]) -> str:
    return _listed([sentence(each) for each in said])


def _short(told: Words) -> Iterator[str]:
    decision = f" ({sentence(told.decision)})" if told.decision else ""
    yield f"**{sentence(told.heading)}**{decision}"
    if told.sentences:
        yield _sentences(told.sentences)


def _shown(found: Table) -> str:
    headings = [sentence(column.name) for column in found.columns]
    return table(headings, [[sentence(cell) for cell in row.cells] for row in found.rows])


def _works(made: Effects, plan: StudyPlan, archive: Archive, say: Teller) -> Iterator[str]:
    if made.helped:
        yield _sentences(made.helped)
    elif made.found:
        yield sentence(
            say.t(
                "No single choice stands out beyond chance: what was gained came from the prompt as a whole, or not at all."
            )
        )
    if made.table.rows:
        yield _shown(made.table)
    yield sentence(made.note)
    ranked = importance(plan, archive, say.language)
    if ranked.bars:
        listed = ", ".join(f"{name} {say.share(share)}" for name, share in ranked.bars)
        yield sentence(say.t("What set the best prompts apart: {choices}.", choices=listed))
    yield sentence(ranked.note)


def _prompt(frozen: FrozenPrompt, say: Teller) -> Iterator[str]:
    shown = calls(frozen.template, say)
    for k, call in enumerate(shown, start=1):
        if len(shown) > 1:
            yield f"### {sentence(say.t('Call {n}', n=k))}"
        for role, parts in call.messages:
            yield f"**{sentence(role)}**"
            yield block("".join(part.text for part in parts))
        facts = [
            *([say.t("Settings: {settings}.", settings=call.settings)] if call.settings else []),
            *call.notes,
        ]
        if call.choice:
            facts.append(say.t("The answer is held to one of: {choices}.", choices=", ".join(call.choice)))
        if facts:
            yield _sentences(facts)
        if call.json_schema:
            yield sentence(say.t("The answer is held to this JSON Schema:"))
            yield block(call.json_schema, "json")


def _use(frozen: FrozenPrompt, say: Teller) -> Iterator[str]:
    yield sentence(
        say.t(
            "The prompt is in prompt.json, beside the study. Loading it takes the standard library of Python alone; send "
            "what it makes with any client, and have it read the answer."
        )
    )
    yield block(_code(frozen), "python")
    if frozen.capabilities:
        listed = ", ".join(frozen.capabilities)
        yield sentence(say.t("The model must be capable of: {capabilities}.", capabilities=listed))
    yield sentence(say.t("For other tools, the command export writes it in their formats."))


def _code(frozen: FrozenPrompt) -> str:
    inputs = ", ".join(f"{json.dumps(name, ensure_ascii=True)}: ..." for name in frozen.inputs)
    given = [f"answer_{k}" for k in range(1, len(frozen.template.calls) + 1)]
    lines = [
        "from optimizer.frozen import FrozenPrompt",
        "",
        'prompt = FrozenPrompt.load("prompt.json")',
        f"inputs = {{{inputs}}}",
    ]
    for k, name in enumerate(given):
        before = "".join(f"{each}, " for each in given[:k])
        lines += [
            f"request = prompt.request({before}**inputs)",
            f"{name} = ...  # the text that the model answers to request.messages, with request.parameters",
        ]
    lines.append(f"print(prompt.parse({', '.join(given)}).text)")
    return "\n".join(lines)


def _unknown(changed: Sequence[str], say: Teller) -> Iterator[str]:
    yield sentence(
        say.t(
            "The examples cannot be shown: since the study ran, {parts} has changed, and what was asked then is not known.",
            parts=", ".join(changed),
        )
    )


def _fails(found: Failures, frozen: FrozenPrompt, say: Teller) -> Iterator[str]:
    if not found.n:
        return
    told = (
        "Of {n} test examples {wrong} are not right with it."
        if found.split == "test"
        else "Of {n} validation examples {wrong} are not right with it."
    )
    yield sentence(say.t(told, n=found.n, wrong=len(found.wrong)))
    slices = list(_slices(frozen, say))
    if slices:
        yield table(
            [sentence(say.t(name)) for name in _SLICES],
            slices[:_MOST],
        )
    if found.confusions:
        yield sentence(say.t("What was taken for what, most often first:"))
        yield _listed([_confusion(each, say) for each in found.confusions[:_MOST]])
    listed = found.worse or (() if _other(frozen) else found.wrong)
    if listed:
        yield sentence(
            say.plural(
                len(listed),
                "{n} example got worse than with the baseline:",
                "{n} examples got worse than with the baseline:",
            )
            if found.worse
            else say.t("Examples that are not right:")
        )
        yield _listed([_example(each, say) for each in listed[:_MOST]])
    if found.split == "test" and (listed or found.confusions):
        yield sentence(
            say.t(
                "These are test examples. Whoever changes the prompt because of them needs new ones to find out what the "
                "change brought."
            )
        )


def _other(frozen: FrozenPrompt) -> bool:
    """Return whether the frozen prompt is another than the baseline."""
    return frozen.evidence.get("baseline_fingerprint") != frozen.fingerprint


def _slices(frozen: FrozenPrompt, say: Teller) -> Iterator[list[str]]:
    """Yield the slices as rows, the worst first."""
    arm = "winner" if frozen.evidence.get("frozen") == "winner" else "baseline"
    found = []
    for column in map(mapping, items(frozen.evidence.get("slices"))):
        for value in map(mapping, items(column.get("values"))):
            figures = mapping(mapping(value.get("scores")).get(arm))
            if (score := number(figures.get("score"))) is not None:
                found.append((score, text(column.get("column")), text(value.get("value")), figures, value))
    for _, column_name, value_name, figures, value in sorted(found, key=lambda each: each[:3]):
        loss = mapping(value.get("difference"))
        flag = f" ({say.t('worse')})" if loss.get("worse") is True else ""
        yield [
            f"{code(column_name)} = {code(value_name)}",
            f"{say.score(figures.get('score'))} ({say.score_interval(figures)})",
            say.count(figures.get("n")),
            sentence(say.gain(loss.get("value")) + flag),
        ]


def _confusion(each: tuple[str, str | None, int], say: Teller) -> str:
    target, answer, n = each
    told = sentence(say.t("unreadable")) if answer is None else code(answer)
    return f"{code(target)} → {told}: {n}"


def _example(each: Failed, say: Teller) -> str:
    quoted = "; ".join(f"{code(name)}: {code(value)}" for name, value in each.example.inputs)
    answers = [
        (say.t("answer"), each.after),
        *([(say.t("before"), each.before)] if each.before is not None else []),
    ]
    told = ", ".join(
        f"{sentence(name)} {sentence(say.t(row.outcome)) if row.answer is None else code(row.answer)} ({say.score(row.score)})"
        for name, row in answers
    )
    return (
        f"{code(each.example.id)}: {quoted}; {sentence(say.t('target'))} {code(each.example.target)}; {told}"
    )


def _vain(made: Effects, archive: Archive, frozen: FrozenPrompt, say: Teller) -> Iterator[str]:
    tree = genealogy(archive, frozen.fingerprint, say.language)
    if made.vain:
        yield _sentences(made.vain)
    tried = [each for each in tree.instructions if each.prompts]
    if len(tried) > 1:
        yield sentence(say.t("The wordings that were tried, and the best score of a prompt with each:"))
        yield _listed(
            [
                f"{code(each.id)} ({sentence(each.origin)}, {sentence(each.best)}): {code(each.told)}"
                for each in tried
            ]
        )
    if tree.untried:
        yield sentence(tree.untried)


def _front(
    plan: StudyPlan,
    frozen: FrozenPrompt,
    archive: Archive,
    found: Sequence[Arm],
    answers: Answers,
    say: Teller,
) -> Iterator[str]:
    front = study_front(plan, frozen, archive, found, answers, say.language)
    if front.table.rows:
        yield _shown(front.table)
    said = [each for each in (front.rule, front.break_even) if each]
    if said:
        yield _sentences(said)


def _open(told: Words, made: Effects, frozen: FrozenPrompt, say: Teller) -> Iterator[str]:
    said = [*told.cautions]
    if told.provable:
        said.append(told.provable)
    unsure = sum(not each.claimed for each in made.found)
    if unsure:
        said.append(
            say.t(
                "{n} of {all} choices could not be told from what they were compared with. That is no proof that they "
                "make no difference: their intervals say how large a difference the data leave possible.",
                n=unsure,
                all=len(made.found),
            )
        )
    if not mapping(frozen.evidence.get("robustness")):
        said.append(
            say.t(
                "What upsets the prompt was not tried: typing errors, another language, instructions in the input."
            )
        )
    if not items(frozen.evidence.get("slices")):
        said.append(
            say.t(
                "Whether it does alike on all kinds of examples was not looked at: the task names no slices."
            )
        )
    said.append(
        say.t(
            "Whether it holds for another model, or for the same model next month, the data cannot say; the command verify finds out."
        )
    )
    yield _sentences(said)


def _measured(
    plan: StudyPlan, frozen: FrozenPrompt, archive: Archive, told: Words, say: Teller
) -> Iterator[str]:
    dataset: Mapping[str, Any] = mapping(frozen.task.get("dataset"))
    splits = mapping(dataset.get("splits"))
    scored = [row for row in archive.trials if row.score is not None]
    said = [
        say.t("Model: {model}.", model=told.model),
        say.t("Metric: {metric}.", metric=text(frozen.task.get("metric"))),
        say.t(
            "Examples: {train} for demonstrations, {validation} for the search, {test} for the test.",
            **{name: text(splits.get(name)) for name in ("train", "validation", "test")},
        ),
        say.t(
            "{trials} trials of {prompts} prompts had a score, on {fewest} to {most} validation examples each.",
            trials=len(scored),
            prompts=len({row.fingerprint for row in scored}),
            fewest=min((row.n for row in scored), default=0),
            most=max((row.n for row in scored), default=0),
        ),
        *([told.opened] if told.opened else []),
        *told.methods,
        say.t("Seed of the search: {seed}.", seed=str(plan.seed)),
        say.t("Fingerprint of the prompt: {fingerprint}.", fingerprint=frozen.fingerprint),
        say.t("Fingerprint of the data: {fingerprint}.", fingerprint=text(dataset.get("fingerprint"))),
    ]
    yield _sentences(said)
