"""What optuna-dashboard is shown of a study: a copy in memory, prepared so that it reads well.

The study's own database is only read. What the copy has that the study's trials in Optuna do not: plain names of
parameters and values, short figures, a note for the study and for its best prompts, and the results by example as
artifacts, made when they are asked for. It is made anew whenever the study has gone on.

The dashboard (0.21) knows neither named constraints nor how a prompt is chosen, and calls the highest value the best.
Here it is handed the trial that we call the best.
"""

import dataclasses
import io
import json
import re
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, BinaryIO

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.storages import InMemoryStorage
from optuna.trial import FrozenTrial, TrialState, create_trial

from optimizer.explanation import percent, score_text
from optimizer.flips import result_figures
from optimizer.frozen import FrozenPrompt
from optimizer.history import TrialRecord
from optimizer.prompt import Hole, PromptTemplate
from optimizer.viewed import best_so_far
from optimizer.viewing import View

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

# Trials with a note of their own: the dashboard hands all notes over with each look, and stores them in pieces.
MOST_NOTES = 100

# Characters of an instruction among a trial's attributes; the whole text is in its note and its artifact.
_SHORT = 80

_MARKDOWN = re.compile(r"([\\`*_{}\[\]()#+\-.!|<>~&$:])")
_NAMES = {"instruction": "instruction", "demonstrations": "demos", "style": "style", "format": "format"}
_STATES = {"complete": TrialState.COMPLETE, "pruned": TrialState.PRUNED, "failed": TrialState.FAIL}
_RESULTS, _PROMPT = 0, 1  # which artifact of a trial

# Under which attribute Optuna keeps what an artifact is, and where the dashboard looks for a list of constraints.
_ARTIFACT, _CONSTRAINTS = "artifacts:", "constraints"

_MOST_NAMED = 20  # numbers of trials in a sentence

_HIGHEST = (
    "- The highest value is not the best prompt: trials saw different numbers of examples (`n`), and the luckiest of many "
    "looks best. The best trial here is the one that the study chose."
)

# Names that this machine has for itself.
LOOPBACK = ("127.0.0.1", "localhost")

Answer = tuple[str, list[tuple[str, str]], bytes]


class _Storage(InMemoryStorage):
    """Trials in memory, of which the best is the one that we call so."""

    best: int | None = None

    def get_best_trial(self, study_id: int) -> FrozenTrial:
        if self.best is None:
            return super().get_best_trial(study_id)
        return self.get_all_trials(study_id, deepcopy=False)[self.best]


def prepared(view: View) -> InMemoryStorage:
    """Return the trials of a study as the dashboard reads them well, under their own numbers."""
    from optuna_dashboard import save_note

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    storage, trials = _Storage(), view.trials
    study = optuna.create_study(study_name=view.name, storage=storage, direction="maximize")
    if view.objective:
        study.set_user_attr("metric", view.objective)
    distributions = _distributions(trials)
    constrained = any(not row.feasible for row in trials)
    rows = {row.trial: row for row in trials}
    study.add_trials(
        _trial(view, rows[k], distributions, constrained=constrained) if k in rows else _unscored(view)
        for k in range(max(rows, default=-1) + 1)
    )
    best = best_trial(view)
    storage.best = None if best is None else best.trial
    save_note(study, study_note(view))
    ranked = sorted(trials, key=lambda row: (row is not best, row.stage != "baseline", -(row.score or 0.0)))
    shown = study.get_trials(deepcopy=False)
    for row in ranked[:MOST_NOTES]:
        # A finished trial has no handle of its own; this is what a note is told of one.
        handle: Any = SimpleNamespace(storage=storage, study=study, _trial_id=shown[row.trial]._trial_id)  # noqa: SLF001  # no public way
        save_note(handle, trial_note(view, row))
    return storage


def best_trial(view: View) -> TrialRecord | None:
    """Return the trial whose prompt was chosen, or the best one so far; None where there is none."""
    if view.frozen is None:
        return best_so_far(view.trials)
    kept = str(view.frozen.evidence.get("frozen_digest", ""))
    found = [row for row in view.trials if row.digest == kept and row.state == "complete"]
    return found[-1] if found else best_so_far(view.trials)


def _distributions(trials: Iterable[TrialRecord]) -> dict[str, BaseDistribution]:
    """Return every parameter as the list of the texts that it had."""
    values: dict[str, set[str]] = {}
    for row in trials:
        for name, text in _params(row).items():
            values.setdefault(name, set()).add(text)
    return {name: CategoricalDistribution(sorted(texts)) for name, texts in values.items()}


def _params(row: TrialRecord) -> dict[str, str]:
    """Return where a trial lies, in texts that begin with a letter: the dashboard takes others for numbers."""
    own = {_NAMES[name]: str(row.point[name]) for name in _NAMES if name in row.point}
    decoding = {name: f"{name} {value}" for name, value in row.point.items() if name not in _NAMES}
    return {**own, **decoding}


def _trial(
    view: View, row: TrialRecord, distributions: Mapping[str, BaseDistribution], *, constrained: bool
) -> FrozenTrial:
    params = _params(row)
    system: dict[str, object] = {
        f"{_ARTIFACT}{_artifact_id(row.trial, kind)}": json.dumps(
            {
                "artifact_id": _artifact_id(row.trial, kind),
                "filename": name.format(row.trial),
                "mimetype": "text/plain",
                "encoding": None,
            }
        )
        for kind, name in ((_RESULTS, "trial_{:04d}.jsonl"), (_PROMPT, "trial_{:04d}_prompt.txt"))
    }
    if constrained:
        system[_CONSTRAINTS] = [0.0 if row.feasible else 1.0]
    return create_trial(
        state=_STATES[row.state],
        value=row.score,
        params=params,
        distributions={name: distributions[name] for name in params},
        user_attrs=_attributes(view, row),
        system_attrs=system,
        intermediate_values={row.n: row.score} if row.state == "pruned" and row.score is not None else {},
    )


def _unscored(view: View) -> FrozenTrial:
    """Return what stands under a number without a row, since Optuna counts without gaps."""
    if view.frozen is not None:
        return create_trial(state=TrialState.FAIL, user_attrs={"stage": "asked for, never scored"})
    # An open page looks again at what waits, and never again at what failed.
    return create_trial(state=TrialState.WAITING, user_attrs={"stage": "asked for, not scored so far"})


def _attributes(view: View, row: TrialRecord) -> dict[str, object]:
    """Return the short figures of a trial."""
    archive = view.archive
    wording = None if archive is None else archive.instructions.get(str(row.point["instruction"]))
    shown = None if archive is None else archive.demonstrations.get(str(row.point["demonstrations"]))
    text = "" if wording is None else " ".join(wording.text.split())
    figures: dict[str, object] = {
        "stage": row.stage,
        "n": row.n,
        "lower": row.lower,
        "upper": row.upper,
        "valid": row.valid,
        "errors": row.errors,
        "n_demos": None if shown is None else shown.size,
        "tokens": round(row.tokens / row.n, 1) if row.n and row.tokens is not None else None,
        "cost_usd": row.cost_usd,
        "feasible": "yes" if row.feasible else "no",
        "wording": text if len(text) <= _SHORT else f"{text[: _SHORT - 1]}…",
    }
    return {name: value for name, value in figures.items() if value is not None}


def _artifact_id(trial: int, kind: int) -> str:
    # The dashboard's addresses have room for hex digits and hyphens alone.
    return f"{trial:08x}-{kind}"


def study_note(view: View) -> str:
    """Return what the dashboard says of the study, as Markdown."""
    trials, best = view.trials, best_trial(view)
    broke = [row.trial for row in trials if not row.feasible and row.state != "failed"]
    lines = [
        f"# {plain(view.name)}",
        "This is a copy. It follows the study while that runs; nothing that is changed here is kept.",
    ]
    if view.frozen is not None:
        words = view.frozen.evidence.get("in_words", ())
        lines += [plain(str(sentence)) for sentence in (words if isinstance(words, list | tuple) else ())]
    elif best is not None:
        lines.append(
            f"Of all these trials no prompt is chosen yet. The best trial so far is trial {best.trial}."
        )
    lines += [
        "## What this page does not know",
        _HIGHEST,
        "- How sure a score is: `lower` and `upper` are the ends of its 95 % interval.",
        "- Which prompts are ties, and what the test said. Times and durations here are those of this copy.",
    ]
    if broke:
        numbers = ", ".join(map(str, broke[:_MOST_NAMED])) + (", ..." if len(broke) > _MOST_NAMED else "")
        lines.append(
            f"- Constraints by name: {len(broke)} of {len(trials)} trials break one and cannot win ({numbers}). They "
            "are in every plot; `feasible` is `no`."
        )
    lines += [
        "## The leaderboard",
        "`optimizer show STUDY --history --top 20`, and `optimizer report STUDY` for the evidence.",
    ]
    return "\n\n".join(lines).replace("\n\n- ", "\n- ")


def trial_note(view: View, row: TrialRecord) -> str:
    """Return what the dashboard says of a trial, as Markdown; its prompt is text in it and nothing else."""
    n = row.n - row.errors
    score = "no score" if row.score is None else f"score {score_text(row.score)} on {n} examples"
    interval = ""
    if row.lower is not None and row.upper is not None:
        interval = f" ({score_text(row.lower)} to {score_text(row.upper)})"
    valid = "" if row.valid is None else f", {percent(row.valid)} valid"
    lines = [plain(f"{row.stage}, {row.state}: {score}{interval}{valid}")]
    if not row.feasible and row.state != "failed":
        lines.append("**It breaks a constraint of the study, and cannot win.**")
    template = None if view.archive is None else view.archive.templates.get(row.fingerprint)
    missing = "Its messages were not kept; an older version scored it."
    lines.append(missing if template is None else fenced(prompt_text(template)))
    return "\n\n".join(lines)


def plain(text: str) -> str:
    """Return a text that Markdown shows as it is, in one line."""
    return _MARKDOWN.sub(r"\\\1", " ".join(text.split()))


def fenced(text: str) -> str:
    """Return a text as a block of code, whose fence no line of it can end."""
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}text\n{text}\n{fence}"


def prompt_text(template: PromptTemplate) -> str:
    """Return the messages of every call as text; a hole is its name in angle quotes."""
    return "\n\n".join(_call_texts(template))


def _call_texts(template: PromptTemplate) -> Iterator[str]:
    for number, call in enumerate(template.calls, start=1):
        if len(template.calls) > 1:
            yield f"call {number}"
        for message in call.messages:
            text = "".join(
                f"{part.lead}‹{part.shown}›{part.tail}" if isinstance(part, Hole) else part
                for part in message.parts
            )
            yield f"{message.role}:\n{text}"


class Artifacts:
    """The artifacts of every trial, made when they are read: Optuna's `ArtifactStore`."""

    def __init__(self, view: View, lock: threading.Lock) -> None:
        self._view = view
        self._lock = lock

    def open_reader(self, artifact_id: str) -> BinaryIO:
        """Return an artifact: results by example as JSON lines, or the text of the prompt.

        Raises:
            ArtifactNotFound: When there is none.
        """
        from optuna.artifacts.exceptions import ArtifactNotFound

        number, _, kind = artifact_id.partition("-")
        found = [row for row in self._view.trials if f"{row.trial:08x}" == number]
        if not found or kind not in (str(_RESULTS), str(_PROMPT)):
            raise ArtifactNotFound(artifact_id)
        with self._lock:
            text = self._results(found[0]) if kind == str(_RESULTS) else self._prompt(found[0])
        return io.BytesIO(text.encode())

    def write(self, artifact_id: str, content_body: BinaryIO) -> None:  # noqa: ARG002  # as the store of artifacts has it
        """Refuse: nothing is kept.

        Raises:
            PermissionError: Always.
        """
        raise PermissionError(f"{artifact_id}: nothing is kept here")

    def remove(self, artifact_id: str) -> None:
        """Refuse: nothing is kept.

        Raises:
            PermissionError: Always.
        """
        raise PermissionError(f"{artifact_id}: nothing is kept here")

    def _results(self, row: TrialRecord) -> str:
        archive = self._view.archive
        results = {} if archive is None else archive.scores.get(row.fingerprint, {})
        lines = []
        for name, result in results.items():
            example = self._view.examples.get(name)
            values = {} if example is None else {f"input:{key}": text for key, text in example.values.items()}
            known = {} if example is None else {"target": example.target, **values}
            told = {"id": name, "split": self._view.splits.get(name)}
            document = {**told, **result_figures(result), **known}
            lines.append(json.dumps(document, ensure_ascii=False) + "\n")
        return "".join(lines)

    def _prompt(self, row: TrialRecord) -> str:
        archive = self._view.archive
        template = None if archive is None else archive.templates.get(row.fingerprint)
        return "" if template is None else prompt_text(template) + "\n"


class Dashboard:
    """The dashboard of one study as a WSGI application that only shows.

    It answers on names of this machine alone, so that no page from elsewhere can read it under a name of its own, and
    refuses whatever would change something.

    Args:
        view: The study, which stays open meanwhile.
    """

    def __init__(self, view: View) -> None:
        self._view = view
        self._lock = threading.Lock()
        self._seen: object = None
        self._app: WSGIApplication | None = None

    def __call__(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        """Answer one request."""
        refused = _refusal(environ)
        if refused is not None:
            status, headers, body = refused
            start_response(status, headers)
            return [body]

        def start(status: str, headers: list[tuple[str, str]], *further: Any) -> Callable[[bytes], object]:  # noqa: ANN401  # what WSGI hands on
            # Artifacts are handed to every page of the web otherwise.
            own = [(name, text) for name, text in headers if not name.lower().startswith("access-control-")]
            return start_response(status, [*own, ("X-Content-Type-Options", "nosniff")], *further)

        return self._current()(environ, start)

    def _current(self) -> "WSGIApplication":
        """Return the dashboard of the study as it is now; made anew when it has gone on."""
        from optuna_dashboard import wsgi

        with self._lock:
            view = fresh(self._view)
            seen = (view.trials, view.frozen)
            if self._app is None or seen != self._seen:
                self._app = wsgi(prepared(view), artifact_store=Artifacts(view, self._lock))
                self._seen, self._view = seen, view
            return self._app


def fresh(view: View) -> View:
    """Return a study as it is now; where trials came after the prompt that it came to, it goes on, and has none yet."""
    if view.archive is None:
        return view
    path = view.path.with_name("prompt.json")
    now = dataclasses.replace(view, archive=dataclasses.replace(view.archive))  # nothing read is remembered
    known = (FrozenPrompt.load(path) if path.is_file() else None, view.frozen)
    covering = (each for each in known if each is not None and len(each.history) >= len(now.trials))
    return dataclasses.replace(now, frozen=next(filter(now.came_to, covering), None))


def _refusal(environ: "WSGIEnvironment") -> Answer | None:
    """Return why a request is not answered, or None where it is."""
    host = str(environ.get("HTTP_HOST", "")).rpartition(":")[0] or str(environ.get("HTTP_HOST", ""))
    if host not in LOOPBACK:
        return _refused("403 Forbidden", "This page is for this machine alone; open it as http://127.0.0.1.")
    origin = str(environ.get("HTTP_ORIGIN", ""))
    if origin and origin.partition("://")[2] != environ.get("HTTP_HOST"):
        return _refused("403 Forbidden", "This page answers to itself alone.")
    if environ.get("REQUEST_METHOD") not in ("GET", "HEAD"):
        return _refused("405 Method Not Allowed", "This is a copy of the study; nothing can be changed here.")
    return None


def _refused(status: str, reason: str) -> Answer:
    # The dashboard shows the reason of a refused change.
    body = json.dumps({"reason": reason}).encode()
    return status, [("Content-Type", "application/json"), ("Content-Length", str(len(body)))], body
