"""What DSPy's optimizers claim where there is nothing to find, and what a fresh test makes of the claim.

    python benchmarks/phantom_rivals.py --runs 100 --optimizer mipro --output FILE.json

The task: reviews of two labels, and a model that answers each of them right with the same probability, whatever the
prompt. It draws once for every pair of prompt and review, by a digest of the whole request: the same request has the
same answer, and another prompt is another draw. So all prompts are equally good, and every gain is chance.

Each run has examples, draws and a seed of its own. The optimizer runs on `TRAIN + VALIDATION` labelled examples in
its smallest setting and reports two scores on its selection data, that of the prompt it began with and that of the
one it returns; their difference is the gain it claims. Then both prompts are asked about fresh examples, and
`compare_paired` and `decide` say what these show. Where the prompt returned is the one begun with, the difference
is 0.

The model writes an instruction, no two alike, whenever it is asked for one. Both reported scores are computed once
more from single answers, and a difference ends the run: no failed call can pass for a wrong answer.
"""

import argparse
import hashlib
import io
import json
import logging
import math
import re
import statistics
import sys
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from statistics import NormalDist
from typing import TYPE_CHECKING, Any, Literal, Self, TypedDict

from optimizer.significance import Decision, compare_paired, decide, wilson

if TYPE_CHECKING:
    from dspy import lm15

INSTRUCTION = "Say whether the review is negative or positive."
LABELS = ("negative", "positive")

# MIPROv2 takes the last 80 % of 125 examples for validation; GEPA is given the same split.
TRAIN, VALIDATION = 25, 100
# A gain that a user would act on, in points.
NOTABLE = 3.0
LEVEL = 0.95

# How DSPy's adapter begins a message about one review, and where its adapters name the fields they want filled.
_HEAD = "[[ ## review ## ]]\n"
_WANTED = re.compile(r"`(?:\[\[ ## )?(\w+)(?: ## \]\])?`")


@dataclass(frozen=True, kw_only=True, slots=True)
class Claim:
    """What one run claims, and what the test says of it; scores and differences are in points.

    Attributes:
        reported_gain: Best score less the score begun with, both on the data it selects by.
        test_difference: Prompt returned less the prompt begun with, on the same fresh examples.
        lower: Of the interval of `test_difference`.
        calls: Requests to the model before the test, proposals included.
        prompts: Distinct prompts that it scored on the data it selects by, the one begun with included.
        reported_baseline: The score begun with; None where it is not told, as for `reported_best`.
    """

    run: int
    reported_gain: float
    test_difference: float
    lower: float
    upper: float
    decision: Decision
    calls: int
    prompts: int
    reported_baseline: float | None = None
    reported_best: float | None = None


class Estimate(TypedDict):
    """A mean or a share over runs, with its 95 % interval."""

    value: float
    lower: float
    upper: float


class Summary(TypedDict):
    """All runs of one optimizer; gains and differences are in points."""

    runs: int
    reported_gain: Estimate
    reports_notable_gain: Estimate
    test_difference: Estimate
    improved: Estimate
    calls: float
    prompts: float


def main() -> None:
    """Run one optimizer many times and print what it claims and what the test says."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=100, help="at least 2")
    parser.add_argument("--optimizer", choices=sorted(RIVALS), required=True)
    parser.add_argument("--output", type=Path, help="a file for all runs, as JSON")
    options = parser.parse_args()
    started = time.monotonic()
    claims = []
    for run in range(1, options.runs + 1):
        claims.append(RIVALS[options.optimizer](run))
        if run % 10 == 0:
            print(f"{run} of {options.runs} runs, {time.monotonic() - started:.0f} s", file=sys.stderr)
    found = summary(claims)
    print_summary(options.optimizer, found)
    if options.output:
        document = {
            "optimizer": options.optimizer,
            "versions": {name: version(name) for name in ("dspy", "gepa", "optuna")},
            "seconds": round(time.monotonic() - started, 1),
            "summary": found,
            "claims": [asdict(claim) for claim in claims],
        }
        options.output.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


# ---- The optimizers -------------------------------------------------------------------------------------------------


def mipro(run: int, *, n_test: int = 300, accuracy: float = 0.7) -> Claim:
    """Return what MIPROv2 claims in its light setting, given all examples as its training set.

    Args:
        run: Its examples, draws and seed; 1 or more, because MIPROv2 takes another seed for 0.
        n_test: Fresh examples.
        accuracy: Of every prompt, in [0, 1].
    """
    import dspy

    model = _Model(run, accuracy)
    texts = reviews(run, TRAIN + VALIDATION)
    with _session(model):
        start = dspy.Predict(_signature())
        optimizer = dspy.MIPROv2(metric=_right, auto="light", num_threads=1, seed=run)
        returned = optimizer.compile(start, trainset=[_example(text) for text in texts])
        reported = (returned.trial_logs[1]["full_eval_score"], returned.score)
        return _tested(model, (start, returned), reported, selection=texts[TRAIN:], n_test=n_test)


def gepa(run: int, *, n_test: int = 300, accuracy: float = 0.7) -> Claim:
    """Return what GEPA claims in its light setting; the model also writes its reflections.

    Arguments are those of `mipro`.
    """
    import dspy

    model = _Model(run, accuracy)
    texts = reviews(run, TRAIN + VALIDATION)
    examples = [_example(text) for text in texts]
    with _session(model) as lm:
        start = dspy.Predict(_signature())
        optimizer = dspy.GEPA(
            metric=_right, auto="light", reflection_lm=lm, num_threads=1, track_stats=True, seed=run
        )
        returned = optimizer.compile(start, trainset=examples[:TRAIN], valset=examples[TRAIN:])
        scores = returned.detailed_results.val_aggregate_scores
        reported = (100 * scores[0], 100 * max(scores))
        return _tested(model, (start, returned), reported, selection=texts[TRAIN:], n_test=n_test)


RIVALS: dict[str, Callable[[int], Claim]] = {"gepa": gepa, "mipro": mipro}


@contextmanager
def _session(model: "_Model") -> Iterator[Any]:
    """Yield the model as DSPy's, for programs called in the block; nothing is printed, logged or cached there."""
    import dspy

    dspy.configure_cache(enable_disk_cache=False, enable_memory_cache=False)
    lm = dspy.LM("phantom", engine=model, cache=False, num_retries=0)
    nowhere, disabled = io.StringIO(), logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    quiet = warnings.catch_warnings(action="ignore")
    try:
        with redirect_stdout(nowhere), redirect_stderr(nowhere), quiet, dspy.context(lm=lm):
            yield lm
    finally:
        logging.disable(disabled)


def _tested(
    model: "_Model",
    programs: tuple[Any, Any],
    reported: tuple[float, float],
    *,
    selection: Sequence[str],
    n_test: int,
) -> Claim:
    """Return the claim of the optimizer that has just run, after checking its scores and testing its program."""
    # Prompts that met training examples alone are no candidates: MIPROv2 makes demonstrations with them, and GEPA
    # dropped them after three examples.
    calls, prompts = model.calls, model.prompts_on(selection)
    for program, score in zip(programs, reported, strict=True):
        ours = 100 * statistics.mean(_scores(program, selection))
        assert math.isclose(ours, score, abs_tol=0.01), f"reported {score}, but the answers make {ours}"
    fresh = reviews(model.run, n_test, first=TRAIN + VALIDATION)
    start, returned = (_scores(program, fresh) for program in programs)
    return tested_claim(model.run, reported, (start, returned), calls=calls, prompts=prompts)


def _scores(program: Any, texts: Iterable[str]) -> list[float]:  # noqa: ANN401  # DSPy ships no types
    """Return the scores of single answers; what `Evaluate` does, without its threads."""
    return [_right(_example(text), program(review=text)) for text in texts]


def _signature() -> Any:  # noqa: ANN401  # DSPy ships no types
    import dspy

    label = Literal["negative", "positive"]
    fields = {"review": (str, dspy.InputField()), "label": (label, dspy.OutputField())}
    return dspy.Signature(fields, INSTRUCTION)


def _example(text: str) -> Any:  # noqa: ANN401  # DSPy ships no types
    import dspy

    return dspy.Example(review=text, label=label_of(text)).with_inputs("review")


def _right(example: Any, prediction: Any, *_others: object) -> float:  # noqa: ANN401  # DSPy ships no types
    return float(example.label == prediction.label)


# ---- The task -------------------------------------------------------------------------------------------------------


def reviews(run: int, n: int, *, first: int = 0) -> list[str]:
    """Return the texts of `n` examples, which no other run has."""
    return [f"Review {number} of collection {run}." for number in range(first, first + n)]


def label_of(text: str) -> str:
    """Return the label of a review, drawn evenly."""
    return LABELS[draw("label", text) < 0.5]


def draw(*parts: str) -> float:
    """Return a number in [0, 1) that the parts determine, uniform over different parts."""
    digest = hashlib.sha256("\0".join(parts).encode()).digest()
    return int.from_bytes(digest[:6]) / 2**48


class _Model:
    """DSPy's engine: right with the same probability on every review under every prompt."""

    def __init__(self, run: int, accuracy: float) -> None:
        if run < 1:
            raise ValueError(f"runs are numbered from 1, but got {run}")
        self.run = run
        self.calls = 0
        self._accuracy = accuracy
        self._proposals = 0
        self._asked: set[tuple[str, str]] = set()  # prompt without its review, review

    def __deepcopy__(self, _memo: object) -> Self:
        """Return itself: copies of a program share the model and its counts."""
        return self

    def complete(self, request: "lm15.Request") -> "lm15.Response":
        """Return an answer to a review, or to any other request a text for each field that it wants filled."""
        from dspy.lm15 import Message, Response, Usage

        self.calls += 1
        messages = [str(request.system), *("".join(p.text for p in m.parts) for m in request.messages)]
        last = messages[-1]
        text = self._label(messages) if last.startswith(_HEAD) else self._proposal(last)
        return Response(
            id=None,
            model=request.model,
            message=Message.assistant(text),
            finish_reason="stop",
            usage=Usage(input_tokens=0, output_tokens=0),
        )

    def prompts_on(self, texts: Iterable[str]) -> int:
        """Return how many distinct prompts were asked about any of these reviews."""
        wanted = set(texts)
        return len({prompt for prompt, review in self._asked if review in wanted})

    def _label(self, messages: list[str]) -> str:
        review, _, rest = messages[-1].removeprefix(_HEAD).partition("\n\n")
        self._asked.add(("\0".join([*messages[:-1], rest]), review))
        truth = LABELS.index(label_of(review))
        right = draw("answer", str(self.run), *messages) < self._accuracy
        return _filled({"label": LABELS[truth if right else 1 - truth]})

    def _proposal(self, message: str) -> str:
        """Return texts that no request before got: with a model, too, two proposals are hardly ever the same."""
        self._proposals += 1
        wanted = message.rpartition("Respond with ")[2]
        names = [name for name in _WANTED.findall(wanted) if name != "completed"]
        assert names, f"neither a review nor a request for fields: {message[-200:]}"
        text = f"Read the review in manner {self._proposals}, then say whether it is negative or positive."
        fields = dict.fromkeys(names, text)
        return json.dumps(fields) if wanted.startswith("a JSON object") else _filled(fields)


def _filled(fields: dict[str, str]) -> str:
    """Return fields in the form that DSPy's ChatAdapter reads."""
    parts = [f"[[ ## {name} ## ]]\n{text}" for name, text in fields.items()]
    return "\n\n".join([*parts, "[[ ## completed ## ]]"])


# ---- The claims -----------------------------------------------------------------------------------------------------


def tested_claim(
    run: int,
    reported: tuple[float, float],
    test: tuple[Sequence[float], Sequence[float]],
    *,
    calls: int,
    prompts: int,
) -> Claim:
    """Return a claim with the verdict of the test.

    Args:
        reported: Scores in points, of the prompt begun with and of the one returned.
        test: Scores in [0, 1] on the same fresh examples, of the same two prompts.
    """
    comparison = compare_paired(*test, seed=run, level=LEVEL)
    baseline, best = reported
    return Claim(
        run=run,
        reported_gain=round(best - baseline, 6),
        test_difference=round(100 * comparison.difference, 6),
        lower=round(100 * comparison.interval.lower, 6),
        upper=round(100 * comparison.interval.upper, 6),
        decision=decide(comparison, level=LEVEL),
        calls=calls,
        prompts=prompts,
        reported_baseline=round(baseline, 6),
        reported_best=round(best, 6),
    )


def summary(claims: Sequence[Claim]) -> Summary:
    """Return what the runs have in common: means with normal intervals over runs, shares with Wilson's.

    Raises:
        ValueError: Fewer than two claims, which have no spread.
    """
    if len(claims) < 2:
        raise ValueError(f"a summary needs at least 2 claims, but got {len(claims)}")
    return Summary(
        runs=len(claims),
        reported_gain=_mean([claim.reported_gain for claim in claims]),
        reports_notable_gain=_share([claim.reported_gain >= NOTABLE for claim in claims]),
        test_difference=_mean([claim.test_difference for claim in claims]),
        improved=_share([claim.decision == "improved" for claim in claims]),
        calls=statistics.mean(claim.calls for claim in claims),
        prompts=statistics.mean(claim.prompts for claim in claims),
    )


def print_summary(name: str, found: Summary) -> None:
    """Print a summary, a line for each figure."""
    lines = {
        "reported gain, points": _in_words(found["reported_gain"], "+.2f"),
        f"runs that report {NOTABLE:g} points or more": _in_words(found["reports_notable_gain"], ".0%"),
        "difference on the test, points": _in_words(found["test_difference"], "+.2f"),
        "runs that the test calls improved": _in_words(found["improved"], ".0%"),
        "calls a run, distinct prompts scored": f"{found['calls']:.0f}, {found['prompts']:.1f}",
    }
    print(f"{name}, {found['runs']} runs; intervals at {LEVEL:.0%}")
    for what, value in lines.items():
        print(f"{what:<40}{value}")


def _mean(values: Sequence[float]) -> Estimate:
    mean = statistics.mean(values)
    reach = NormalDist().inv_cdf((1 + LEVEL) / 2) * statistics.stdev(values) / math.sqrt(len(values))
    return Estimate(value=mean, lower=mean - reach, upper=mean + reach)


def _share(cases: Sequence[bool]) -> Estimate:
    interval = wilson(sum(cases), len(cases), level=LEVEL)
    return Estimate(value=sum(cases) / len(cases), lower=interval.lower, upper=interval.upper)


def _in_words(estimate: Estimate, form: str) -> str:
    return f"{estimate['value']:{form}} ({estimate['lower']:{form}} to {estimate['upper']:{form}})"


if __name__ == "__main__":
    main()
