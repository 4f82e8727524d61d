"""A study as one looks back at it: its prompts by name, what each made of every example, and the examples.

A prompt is named by the number of its trial, or as `baseline`, `winner` or `wording`, the three that a test compares.
What there is to see depends on what is left: the database knows all, a frozen prompt its own evidence, and inputs and
targets are in the data alone.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from optimizer.archive import Archive, open_archive
from optimizer.cache import SHARED
from optimizer.candidate import Candidate, Instruction
from optimizer.completion import Completion, Request
from optimizer.dataset import Example
from optimizer.document import load_yaml
from optimizer.errors import InputError, Problem
from optimizer.exporters import frozen_side
from optimizer.formats import FORMATS, Draft
from optimizer.frozen import FrozenPrompt
from optimizer.history import TrialRecord
from optimizer.metrics import METRICS
from optimizer.plan import load_examples, task_path
from optimizer.prompt import PromptTemplate
from optimizer.recording import digests_of, read_records
from optimizer.registry import did_you_mean
from optimizer.space import NO_DEMONSTRATIONS
from optimizer.store import ScoreRow
from optimizer.styles import STYLES
from optimizer.task import Task
from optimizer.taskfile import SPLITS
from optimizer.viewed import Viewed, best_so_far, frozen_prompt, model_of, same_example

NAMES = ("baseline", "winner", "wording")

_STUDY_FILES = (".yaml", ".yml")


@dataclass(frozen=True, kw_only=True)
class View:
    """What is left of a study.

    Attributes:
        name: Its name: that of its folder.
        path: The file that was found first: the database, else the frozen prompt.
        archive: Its database; None where there is none.
        frozen: The prompt it came to; None where it came to none yet, or another study of the folder did.
        task: What was asked; None where that is not found.
        examples: By id; none where the data are not found.
        splits: The split of each example, by id.
        missing: What is not there, and what cannot be told therefore, in sentences.
    """

    name: str
    path: Path
    archive: Archive | None
    frozen: FrozenPrompt | None
    task: Task | None
    examples: Mapping[str, Example]
    splits: Mapping[str, str]
    missing: tuple[str, ...]

    @property
    def trials(self) -> tuple[TrialRecord, ...]:
        """Return the trials that the database holds."""
        return () if self.archive is None else self.archive.trials

    @property
    def metric(self) -> str:
        """Return what the scores of single examples are of; "" where that is not known."""
        if self.frozen is not None and self.frozen.records is not None:
            return str(self.frozen.records.get("metric", ""))
        if self.task is None:
            return ""
        known = self.task.metric in list(METRICS)
        return (known and METRICS[self.task.metric].proxy) or self.task.metric

    @property
    def objective(self) -> str:
        """Return the name of what was maximised, "" where that is not known."""
        if self.frozen is not None:
            return str(self.frozen.task.get("metric", ""))
        return "" if self.task is None else self.task.metric

    def came_to(self, frozen: FrozenPrompt) -> bool:
        """Return whether a prompt is what this study came to, by the trials of its history."""
        digests = [row.digest for row in self.trials]
        stated = [str(row.get("digest")) for row in frozen.history]
        return bool(stated) and digests[: len(stated)] == stated

    def trial(self, name: str) -> TrialRecord:
        """Return the trial that a name means.

        Raises:
            InputError: When there is none.
        """
        if name.isascii() and name.isdigit():
            found = [row for row in self.trials if row.trial == int(name)]
        else:
            wanted = self._fingerprint(name)
            # The last one saw the most examples: a confirmation has the prompt of a screening.
            found = [row for row in self.trials if row.fingerprint == wanted]
        if not found:
            raise InputError([self._unknown(name)])
        return found[-1]

    def prompt(self, name: str) -> Viewed:
        """Return the prompt that a name means.

        Raises:
            InputError: When there is none, or its messages were not kept.
        """
        if self.archive is None:
            return self._lone(name)
        if name in NAMES and not self._has_trial(name) and self._fingerprint(name):
            return self._untried(name, self._fingerprint(name))
        row = self.trial(name)
        template = self._template(row.fingerprint)
        shown = self.archive.demonstrations.get(str(row.point["demonstrations"]))
        return Viewed(
            name=f"{name} (trial {row.trial})" if name in NAMES else f"trial {row.trial}",
            template=template,
            style=str(row.point["style"]),
            format=str(row.point["format"]),
            demonstration_ids=() if shown is None else tuple(e.example_id for e in shown.demonstrations),
            trial=row,
            instruction=self.archive.instructions.get(str(row.point["instruction"])),
            demonstrations=shown,
            **self._known(template),
        )

    def chosen(self) -> Viewed:
        """Return the prompt that the study came to, or the best one so far.

        Raises:
            InputError: When there is none yet.
        """
        if self.frozen is None:
            return self.prompt("winner")
        if self.archive is None:
            return frozen_prompt(self.frozen, self.path)
        return self.prompt("baseline" if frozen_side(self.frozen) == "baseline" else "winner")

    def prompts(self) -> tuple[Viewed, ...]:
        """Return every prompt whose messages are known, each once under its best name, in the order of the trials."""
        if self.archive is None:
            return () if self.frozen is None else (frozen_prompt(self.frozen, self.path),)
        named: dict[str, str] = {}
        for name in NAMES:
            if self._fingerprint(name):
                named.setdefault(self._fingerprint(name), name)
        known = set(self.archive.templates)
        for row in self.trials:
            if row.fingerprint in known:
                named.setdefault(row.fingerprint, str(row.trial))
        order = {row.fingerprint: -row.trial for row in reversed(self.trials)}
        asked = sorted(named, key=lambda each: -order.get(each, -len(self.trials)))
        return tuple(self.prompt(named[each]) for each in asked if each in known)

    def _has_trial(self, name: str) -> bool:
        wanted = self._fingerprint(name)
        return any(row.fingerprint == wanted for row in self.trials)

    def _lone(self, name: str) -> Viewed:
        """Return the frozen prompt itself, all that is known without the database."""
        frozen = self.frozen
        known = name in NAMES and frozen is not None and self._fingerprint(name) == frozen.fingerprint
        if frozen is None or not known:
            message = f"there is no study.db beside it, so the prompt {name!r} of this study is not known"
            raise InputError([Problem(file=str(self.path), message=message)])
        return frozen_prompt(frozen, self.path)

    def _untried(self, name: str, fingerprint: str) -> Viewed:
        """Return a prompt of the test that was no trial: the baseline's wording in the winner's format."""
        template = self._template(fingerprint)
        baseline, winner = self.trial("baseline"), self.trial("winner")
        assert self.archive is not None  # the caller saw to it
        wording = self.archive.instructions.get(str(baseline.point["instruction"]))
        styles = [str(row.point["style"]) for row in (baseline, winner)]
        layout = str(winner.point["format"])
        return Viewed(
            name=name,
            template=template,
            style=_style_of(template, styles, layout, wording, self.task),
            format=layout,
            demonstration_ids=(),
            instruction=wording,
            demonstrations=self.archive.demonstrations.get(str(baseline.point["demonstrations"])),
            **self._known(template),
        )

    def _known(self, template: PromptTemplate) -> Mapping[str, Any]:
        """Return what the database and the data know of a prompt that was scored."""
        assert self.archive is not None  # the caller saw to it
        results = self.archive.scores.get(template.fingerprint, {})
        model = "" if self.frozen is None else model_of(self.frozen)
        takes = set(template.inputs)
        same = {
            name: same_example(digests_of(template, self.examples[name]))
            for name in results
            if name in self.examples and takes <= self.examples[name].values.keys()
        }
        known = {name: self.splits[name] for name in results if name in self.splits}
        return {
            "source": self.archive.path.resolve(),
            "model": model,
            "metric": self.metric,
            "results": results,
            "same": same,
            "splits": known or self._recorded(results),
        }

    def _recorded(self, results: Mapping[str, ScoreRow]) -> dict[str, str]:
        """Return the splits of examples as far as the frozen prompt knows them: those it was judged on."""
        records = None if self.frozen is None else read_records(self.frozen.records, file=str(self.path))
        judged = {row.id: records.split for row in records.rows} if records is not None else {}
        return {name: judged[name] for name in results if name in judged}

    def _template(self, fingerprint: str) -> PromptTemplate:
        assert self.archive is not None  # the caller saw to it
        if fingerprint in self.archive.templates:
            return self.archive.templates[fingerprint]
        if self.frozen is not None and self.frozen.fingerprint == fingerprint:
            return self.frozen.template
        message = "the messages of this prompt were not kept; an older version scored it, `optimizer run --fresh` scores anew"
        raise InputError([Problem(file=str(self.path), message=message)])

    def _fingerprint(self, name: str) -> str:
        """Return the fingerprint of one of the three; "" where it has none.

        Raises:
            InputError: When it is none of them.
        """
        if name not in NAMES:
            raise InputError([self._unknown(name)])
        stated = "" if self.frozen is None else str(self.frozen.evidence.get(f"{name}_fingerprint", ""))
        if stated:
            return stated
        if name == "winner":
            best = best_so_far(self.trials)
            return "" if best is None else best.fingerprint
        return self.trials[0].fingerprint if name == "baseline" and self.trials else ""

    def _unknown(self, name: str) -> Problem:
        numbers = f"a trial from 0 to {self.trials[-1].trial}, " if self.trials else ""
        hint = did_you_mean(name, NAMES)
        # All names are said already, so nothing but a near one is added.
        near = hint if hint.endswith("?") else ""
        message = f"expected {numbers}baseline, winner or wording, found {name!r}{near}"
        return Problem(file=str(self.path), message=message)


def _style_of(
    template: PromptTemplate,
    styles: Sequence[str],
    layout: str,
    wording: Instruction | None,
    task: Task | None,
) -> str:
    """Return which of some styles makes these calls of a wording alone, whatever they are sent with; else the first."""
    if task is None or wording is None or layout not in list(FORMATS):
        return styles[0]
    tokens = next((hole.neutralise for hole in template.holes() if hole.neutralise), ())
    calls = tuple(replace(call, parameters=()) for call in template.calls)
    for name in (name for name in styles if name in list(STYLES)):
        shown = Candidate(instruction=wording, demonstrations=NO_DEMONSTRATIONS, style=name, format=layout)
        style = STYLES[name].in_language(task.language)
        draft = Draft(task=task, candidate=shown, style=style, parameters=(), control_tokens=tokens)
        if not FORMATS[layout].misfit(task, style) and FORMATS[layout].render(draft).calls == calls:
            return name
    return styles[0]


@dataclass(frozen=True, kw_only=True, slots=True)
class Exchange:
    """One call: what was sent, and what came back.

    Attributes:
        request: None where the inputs are not known, or an earlier answer is no longer stored.
        completion: None where it is no longer stored.
    """

    request: Request | None
    completion: Completion | None


def exchanges(view: View, viewed: Viewed, example: str) -> tuple[Exchange, ...]:
    """Return every call that a prompt made about an example, its messages rendered again, in order."""
    row, known = viewed.results.get(example), view.examples.get(example)
    keys = () if row is None else row.completions
    stored = {} if view.archive is None or not keys else _stored(view.archive, keys)
    texts, found = list[str](), list[Exchange]()
    values = {} if known is None else {name: known.values.get(name, "") for name in viewed.template.inputs}
    for number in range(len(viewed.template.calls)):
        sayable = known is not None and len(texts) == number
        completion = stored.get(keys[number]) if number < len(keys) else None
        request = viewed.template.request(values, texts) if sayable else None
        found.append(Exchange(request=request, completion=completion))
        texts += [] if completion is None else [completion.text]
    return tuple(found)


@contextmanager
def open_view(path: Path, *, task: Path | None = None) -> Iterator[View]:
    """Look at what is left of a study: its folder, study file, database or frozen prompt.

    Args:
        path: Any of them.
        task: Where the data are named; None looks for `study.yaml` beside.

    Raises:
        InputError: When there is nothing to look at, or the named task cannot be read.
    """
    if not path.exists():
        raise InputError([Problem(file=str(path), message="there is no such file or folder")])
    folder = path if path.is_dir() else path.parent
    database = path if path.suffix == ".db" else folder / "study.db"
    named = path.is_file() and path.suffix not in (*_STUDY_FILES, ".db", ".csv", ".parquet")
    prompt = path if named else folder / "prompt.json"
    if not database.is_file() and not prompt.is_file():
        study = path if path.suffix in _STUDY_FILES else folder / "study.yaml"
        made = f"; `optimizer run {study}` makes them" if study.is_file() else f", nor {study} to make them"
        message = f"no result yet: there is neither {database} nor {prompt}{made}"
        raise InputError([Problem(file=str(path), message=message)])
    with ExitStack() as stack:
        frozen = FrozenPrompt.load(prompt) if prompt.is_file() else None
        archive = stack.enter_context(open_archive(database)) if database.is_file() else None
        missing = list[str]()
        found, splits, examples = _data(folder, task, archive, missing)
        view = View(
            name=folder.resolve().name,
            path=prompt if archive is None else database,
            archive=archive,
            frozen=frozen,
            task=found,
            examples=examples,
            splits=splits,
            missing=tuple(missing),
        )
        yield _of_one_study(view, prompt if named else None)


def _of_one_study(view: View, named: Path | None) -> View:
    """Return a view without what is of another study of the same folder.

    Args:
        view: All that was found.
        named: The frozen prompt, if that is what was asked for; the database goes then, and else the prompt.
    """
    if view.archive is None:
        told = (
            "There is no study.db here: only the prompt that was found, its evidence and its history are known, not the "
            "other prompts and no answers."
        )
        return replace(view, missing=(told, *view.missing))
    if view.frozen is None or view.came_to(view.frozen):
        return view
    if named is not None:
        told = "The study.db beside this prompt is that of another study, and is left out."
        return replace(view, archive=None, path=named, missing=(told, *view.missing))
    told = "The prompt.json beside this study.db is that of another study, and is left out."
    return replace(view, frozen=None, missing=(told, *view.missing))


def _stored(archive: Archive, keys: Sequence[str]) -> dict[str, Completion]:
    """Return completions by key, as far as they are still stored whole."""
    found = archive.cache.completions(keys, SHARED)
    return found | archive.cache.completions([key for key in keys if key not in found], archive.store.study)


def _data(
    folder: Path, task: Path | None, archive: Archive | None, missing: list[str]
) -> tuple[Task | None, dict[str, str], dict[str, Example]]:
    """Return task, splits and examples as far as they are found; what is missing is told."""
    study = folder / "study.yaml"
    if task is None and not study.is_file():
        missing.append(
            "No study.yaml lies here, so inputs and targets are not known; name the task with --task."
        )
        return None, {}, {}
    try:
        found, dataset = load_examples(task_path(load_yaml(study), study) if task is None else task)
    except InputError as error:
        if task is not None:
            raise
        missing.append(f"Inputs and targets are not known, since the data cannot be read: {error}")
        return None, {}, {}
    if archive is not None and archive.identity.get("data") != dataset.digest:
        missing.append(
            "The data are no longer those that the study saw: inputs and targets are those of today."
        )
    splits: dict[str, str] = {example.id: name for name in SPLITS for example in getattr(dataset, name)}
    examples = {example.id: example for name in SPLITS for example in getattr(dataset, name)}
    return found, splits, examples
