"""What the data of a study can show, what in them would deceive, and what does not do what it seems to, in words."""

import re
from collections.abc import Iterator, Sequence

from optimizer.dataset import Dataset, group_sizes
from optimizer.explanation import provable_in_words
from optimizer.importing import imported_in_words
from optimizer.plan import StudyPlan
from optimizer.power import smallest_provable_difference
from optimizer.roles import role_cautions
from optimizer.screening import pruner_cautions
from optimizer.splits import FEWEST_FOR_TEST
from optimizer.styles import STYLES


def plan_in_words(plan: StudyPlan) -> tuple[str, ...]:
    """Return what the data of a study can show, what in them would deceive, and what does not do what it seems to."""
    name = None if plan.file.search.pruner is None else plan.file.search.pruner.name
    idle = pruner_cautions(name, first=plan.first, examples=len(plan.dataset.validation))
    splits = (plan.dataset.train, plan.dataset.validation, plan.dataset.test)
    misread = plan.space.misread(example.target for split in splits for example in split)
    cautions = (*plan.leaks, *role_cautions(plan.file, plan.task), *idle, *misread)
    return (
        *data_in_words(plan.dataset),
        *imported_in_words(plan.space.imported),
        *(f"Caution: {each}" for each in cautions),
        *_places_in_words(plan),
        *_language_in_words(plan.file.search.styles, plan.task.language),
        *_robustness_in_words(plan),
    )


def data_in_words(dataset: Dataset) -> tuple[str, ...]:
    """Return the smallest gain that the data can prove, advice where it is too large, and what else is to know."""
    judged, sizes = dataset.test or dataset.validation, group_sizes(dataset.test or dataset.validation)
    shown = provable_in_words(
        smallest_provable_difference(len(judged), clusters=sizes),
        len(judged),
        groups=None if sizes is None else len(sizes),
        test=bool(dataset.test),
    )
    n = sum(map(len, (dataset.train, dataset.validation, dataset.test)))
    small = (
        f"There are {n} examples in all. Below {FEWEST_FOR_TEST} a test split leaves too little on either side: without "
        "`splits`, or with `test: 0`, the choice is judged by cross-validation on more of them."
    )
    return (
        *shown,
        *([small] if dataset.test and n < FEWEST_FOR_TEST else []),
        *(f"Caution: {warning}" for warning in dataset.warnings),
    )


def _places_in_words(plan: StudyPlan) -> Iterator[str]:
    """Yield a caution for each wording that names an input as a template of another tool does: it is sent as it stands."""
    given = plan.file.search.instructions.given
    wordings = {"the task's instruction": plan.task.instruction}
    wordings |= {f"search.instructions.given[{n}]": text for n, text in enumerate(given)}
    names = "|".join(map(re.escape, plan.task.inputs))
    place = re.compile(rf"\$?\{{\{{?\s*(?:{names})\s*\}}\}}?")
    for where, text in wordings.items():
        if found := place.search(text):
            yield f"Caution: {where} holds {found[0]}; a wording has no places to fill in, so it is sent as it stands."


def _language_in_words(styles: Sequence[str], language: str) -> Iterator[str]:
    """Yield a caution where styles have no words in the task's language; they ask in English then."""
    if foreign := [name for name in styles if not STYLES[name].speaks(language)]:
        yield f"Caution: the task's language is {language!r}; {', '.join(foreign)} will ask in English."


def _robustness_in_words(plan: StudyPlan) -> Iterator[str]:
    """Yield what is asked after the test, and what is set aside for it."""
    probes, calls = plan.probes, plan.bounds.robustness.calls
    asked = [f"{probe.perturbation} on {len(probe.examples)} examples" for probe in probes.probes]
    if probes.repeats:
        asked.append(f"the winner {probes.repeats} more times on {len(probes.repeated)} examples")
    if asked:
        yield f"For robustness, {calls} calls are set aside: {', '.join(asked)}."
