"""The guide: what works for a task and a model, as Markdown to hand on. Same study, same bytes."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from optimizer.archive import Archive
from optimizer.exporters import frozen_side
from optimizer.frozen import FrozenPrompt
from optimizer.plan import StudyPlan
from optimizer.report._arms import Answers, Arm, arms
from optimizer.report._behaviour import stand_in_in_words
from optimizer.report._effects import Effects, effects
from optimizer.report._failures import Failed, Failures, failures
from optimizer.report._fronts import study_front
from optimizer.report._genealogy import genealogy
from optimizer.report._guide_prompt import prompt_section, use_section
from optimizer.report._importance import importance
from optimizer.report._labels import NOTHING, ByLabel, by_label
from optimizer.report._language import Language, mark
from optimizer.report._markdown import code, sentence, sentences, table
from optimizer.report._reading import items, mapping, number, stand_in_of, text
from optimizer.report._study import changed_parts, unknown_in_words
from optimizer.report._table import Table
from optimizer.report._telling import Teller
from optimizer.report._words import Words, words

_MOST = 8  # examples, confusions or slices that are listed
_SLICES = (mark("slice"), mark("score"), mark("examples"), mark("over the baseline"))
_STAND_IN = mark("over the baseline, in {metric}")


def guide(plan: StudyPlan, frozen: FrozenPrompt, archive: Archive, language: Language) -> str:
    """Return what a study found out, as the text of a Markdown file.

    Text from data is inert in it. Where task or data have changed since, nothing is told of single examples.
    """
    say = Teller(language)
    told = words(frozen, say)
    changed = set(changed_parts(plan.identity, archive.identity)) & {"task", "data"}
    answers: Answers = archive.completions(archive.scores)
    found = arms(plan, frozen, archive, answers, say)
    made = effects(plan, frozen, archive, language)
    labels = NOTHING if changed else by_label(plan, frozen, archive, say)
    parts = [
        f"# {sentence(say.t('What works for {task} with {model}', task=text(frozen.task.get('name')), model=told.model))}",
        *_short(told, labels),
        *_section(say.t("What works and what does not"), _works(made, frozen, plan, archive, say)),
        *_section(say.t("The prompt to ship"), prompt_section(frozen, say)),
        *_section(say.t("How to use it"), use_section(frozen, say)),
        *_section(
            say.t("Where it fails"),
            _unknown(sorted(changed), say)
            if changed
            else _fails(failures(plan, frozen, archive), labels, frozen, say),
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


def _short(told: Words, labels: ByLabel) -> Iterator[str]:
    decision = f" ({sentence(told.decision)})" if told.decision else ""
    yield f"**{sentence(told.heading)}**{decision}"
    said = [*told.sentences, *labels.cautions]
    if said:
        yield sentences(said)


def _shown(found: Table) -> str:
    headings = [sentence(column.name) for column in found.columns]
    return table(headings, [[sentence(cell) for cell in row.cells] for row in found.rows])


def _works(
    made: Effects, frozen: FrozenPrompt, plan: StudyPlan, archive: Archive, say: Teller
) -> Iterator[str]:
    if made.scope:
        yield sentence(made.scope)
    if made.helped:
        yield sentences(made.helped)
    elif made.found:
        told = (
            "No single choice stands out beyond chance. That the prompt as a whole is better was found by comparing it "
            "with the baseline, not here."
            if frozen.evidence.get("decision") == "improved"
            else "No single choice stands out beyond chance: what was gained came from the prompt as a whole, or not at all."
        )
        yield sentence(say.t(told))
    if made.own:
        yield sentence(made.own)
    if made.table.rows:
        yield _shown(made.table)
    yield sentence(made.note)
    ranked = importance(plan, archive, say.language)
    if ranked.bars:
        listed = ", ".join(f"{name} {say.share(share)}" for name, share in ranked.bars)
        yield sentence(say.t("What set the best prompts apart: {choices}.", choices=listed))
    yield sentence(ranked.note)


def _unknown(changed: Sequence[str], say: Teller) -> Iterator[str]:
    yield sentence(unknown_in_words(changed, say))


def _fails(found: Failures, labels: ByLabel, frozen: FrozenPrompt, say: Teller) -> Iterator[str]:
    if not found.n:
        return
    told = (
        "Of {n} test examples {wrong} are not right with it."
        if found.split == "test"
        else "Of {n} validation examples {wrong} are not right with it."
    )
    yield sentence(say.t(told, n=found.n, wrong=len(found.wrong)))
    yield from _labelled(labels)
    slices = list(_slices(frozen, say))
    if slices:
        # What is told beyond the figures is of the new prompt; the baseline is not compared with itself.
        shown = len(_SLICES) if _won(frozen) else len(_SLICES) - 1
        yield table(
            [sentence(name) for name in _slice_heads(frozen, say)[:shown]],
            [row[:shown] for row in slices[:_MOST]],
        )
        yield from _more(len(slices), say)
        if _won(frozen) and (told := stand_in_in_words(frozen.evidence, say)):
            yield sentence(told)
    if found.confusions:
        yield sentence(say.t("What was taken for what, most often first:"))
        rest = sum(n for _, _, n in found.confusions[_MOST:])
        yield _listed([_confusion(each, say) for each in found.confusions[:_MOST]])
        yield from _more(len(found.confusions), say, rest)
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
        yield from _more(len(listed), say)
    if found.split == "test" and (listed or found.confusions):
        yield sentence(
            say.t(
                "These are test examples. Whoever changes the prompt because of them needs new ones to find out what the "
                "change brought."
            )
        )


def _labelled(labels: ByLabel) -> Iterator[str]:
    if labels.table.rows:
        yield sentence(f"{labels.table.caption}:")
        yield _shown(labels.table)
    if labels.more:
        yield sentence(labels.more)


def _more(n: int, say: Teller, examples: int | None = None) -> Iterator[str]:
    """Yield how many of some rows are not listed, and of how many examples they are where that is given."""
    if n > _MOST and examples is None:
        yield sentence(say.t("And {n} more.", n=n - _MOST))
    elif n > _MOST:
        yield sentence(
            say.t("And {n} more, of {examples} examples together.", n=n - _MOST, examples=examples)
        )


def _other(frozen: FrozenPrompt) -> bool:
    """Return whether the frozen prompt is another than the baseline."""
    return frozen.evidence.get("baseline_fingerprint") != frozen.fingerprint


def _won(frozen: FrozenPrompt) -> bool:
    """Return whether the frozen prompt is the new one, whose differences from the baseline the evidence tells."""
    return frozen_side(frozen) == "winner"


def _slice_heads(frozen: FrozenPrompt, say: Teller) -> list[str]:
    *heads, over = [say.t(name) for name in _SLICES]
    stand_in = stand_in_of(frozen.evidence)
    return [*heads, say.t(_STAND_IN, metric=stand_in) if stand_in else over]


def _slices(frozen: FrozenPrompt, say: Teller) -> Iterator[list[str]]:
    """Yield the slices as rows, the worst first, in columns as `_SLICES` names them."""
    arm = "winner" if _won(frozen) else "baseline"
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
        yield sentences(made.vain)
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
    said = [each for each in (front.rule, front.break_even, *front.notes) if each]
    if said:
        yield sentences(said)


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
    yield sentences(said)


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
            fewest=min((row.n - row.errors for row in scored), default=0),
            most=max((row.n - row.errors for row in scored), default=0),
        ),
        *([told.opened] if told.opened else []),
        *told.methods,
        say.t("Seed of the search: {seed}.", seed=str(plan.seed)),
        say.t("Fingerprint of the prompt: {fingerprint}.", fingerprint=frozen.fingerprint),
        say.t("Fingerprint of the data: {fingerprint}.", fingerprint=text(dataset.get("fingerprint"))),
    ]
    yield sentences(said)
