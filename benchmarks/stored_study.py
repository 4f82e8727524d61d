"""A finished study of any size, written straight into a database: prompts that are right by their own odds.

For pages that have much to show. No call is made, so thousands of results take a second or two.
"""

import dataclasses
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

from optimizer.cache import SHARED, Cache
from optimizer.candidate import Candidate
from optimizer.completion import Completion
from optimizer.dataset import Example
from optimizer.frozen import FrozenPrompt
from optimizer.history import Stage, TrialRecord
from optimizer.plan import StudyPlan, load_plan
from optimizer.prompt import PromptTemplate
from optimizer.storage import open_storage
from optimizer.store import ScoreRow, Store, StudyStore

LABELS = ("billing", "technical", "account", "shipping", "returns", "sales")
_WORDS = [
    "order",
    "parcel",
    "invoice",
    "refund",
    "password",
    "screen",
    "charger",
    "address",
    "offer",
    "size",
    "label",
    "cable",
    "again",
    "late",
    "blue",
    "slow",
]


@dataclass(frozen=True, kw_only=True, slots=True)
class Stored:
    """A study in a folder, and the prompt that is frozen."""

    plan: StudyPlan
    frozen: FrozenPrompt


def stored_study(folder: Path, *, validation: int, test: int, arms: int) -> Stored:
    """Write task, data, study, database and prompt into an empty folder, and return them.

    Every prompt has a result for every validation example; the first and the best have one for every test example.
    """
    _write_files(folder, validation, test, arms)
    plan = load_plan(folder / "study.yaml")
    rng = Random(0)
    with open_storage(plan.database) as storage:
        store = Store(storage)
        study = store.of(store.add_study(plan.name, plan.identity))
        wordings, sets = plan.space.wordings, plan.space.demonstration_sets
        study.record_all("instruction", {n: dataclasses.asdict(each) for n, each in enumerate(wordings)})
        study.record_all("demonstrations", {n: dataclasses.asdict(each) for n, each in enumerate(sets)})
        prompts = list(_prompts(plan, rng, arms))
        for n, (candidate, template) in enumerate(prompts):
            odds = 0.4 + 0.5 * n / arms
            asked = [*plan.dataset.validation, *(plan.dataset.test if n in (0, arms - 1) else ())]
            rows = _answered(study, template, asked, Random(n), odds)
            stage: Stage = "search" if n else "baseline"
            study.record(
                "trial", n, dataclasses.asdict(_trial(n, stage, candidate, template, rows[:validation]))
            )
    frozen = _frozen(plan, prompts)
    (folder / "prompt.json").write_text(frozen.dumps(), encoding="utf-8")
    return Stored(plan=plan, frozen=frozen)


def _write_files(folder: Path, validation: int, test: int, arms: int) -> None:
    rng = Random(1)
    rows = [
        {
            "id": f"m{n:05d}",
            "message": f"{n} {' '.join(rng.choices(_WORDS, k=rng.randint(6, 30)))} {n * 7919}",
            "language": rng.choice(("en", "fr", "de")),
            "team": LABELS[n % len(LABELS)],
        }
        for n in range(30 + validation + test)
    ]
    (folder / "data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    task = {
        "schema": 1,
        "name": "triage",
        "dataset": {
            "path": "data.jsonl",
            "inputs": ["message"],
            "target": "team",
            "splits": {"train": 30, "validation": validation, "test": test},
        },
        "slices": ["language"],
        "output": {"type": "label", "labels": list(LABELS)},
        "metric": "accuracy",
        "instruction": "Route the customer's message to the right team.",
    }
    study = {
        "schema": 1,
        "task": "task.yaml",
        "model": {"provider": "scripted", "name": "rules", "path": "rules.json"},
        "search": {
            "instructions": {
                "given": [f"Wording {n}: which team is it?" for n in range(arms)],
                "compose": False,
            },
            "demos": {"sizes": [0, 2, 4], "sets": 8, "selectors": ["random", "balanced"]},
            "styles": ["direct", "self_check"],
            "formats": ["plain", "json"],
            "sampler": {"name": "random_search", "seed": 0},
        },
        "budget": {"calls": 100 * (validation + test)},
    }
    (folder / "rules.json").write_text('{"rules": [], "default": "billing"}', encoding="utf-8")
    (folder / "task.yaml").write_text(json.dumps(task), encoding="utf-8")
    (folder / "study.yaml").write_text(json.dumps(study), encoding="utf-8")


def _prompts(plan: StudyPlan, rng: Random, n: int) -> Iterator[tuple[Candidate, PromptTemplate]]:
    """Yield different prompts, the baseline first."""
    seen = set[str]()
    candidates = [plan.space.baseline, *map(plan.space.candidate, plan.space.draw(rng, 20 * n))]
    for candidate in candidates:
        template = plan.space.render(candidate)
        if template is not None and template.fingerprint not in seen and len(seen) < n:
            seen.add(template.fingerprint)
            yield candidate, template


def _answered(
    study: StudyStore, template: PromptTemplate, examples: Sequence[Example], rng: Random, odds: float
) -> list[ScoreRow]:
    """Store what a prompt made of some examples, and return it."""
    fingerprint, rows = template.fingerprint, []
    completions: dict[str, Completion] = {}
    for example in examples:
        said = example.target if rng.random() < odds else rng.choice((*LABELS, "I cannot say."))
        keys = [f"{fingerprint[:16]} {example.id} {k}".replace(" ", "-") for k in range(len(template.calls))]
        for key in keys:
            completions[key] = Completion(
                text=f"It is {said}", prompt_tokens=60 + rng.randrange(40), completion_tokens=5, seconds=0.2
            )
        known = said in LABELS
        rows.append(
            ScoreRow(
                example=example.id,
                outcome="ok" if known else "invalid",
                answer=said if known else None,
                score=float(said == example.target),
                strict=False,
                reader="label" if known else "",
                completions=tuple(keys),
            )
        )
    with study.whole.engine.begin() as connection:
        Cache(study.whole).keep(connection, completions, model="scripted:rules", scope=SHARED)
    study.keep_scores({(fingerprint, row.example): row for row in rows}, {fingerprint: template.to_dict()})
    return rows


def _trial(
    n: int, stage: Stage, candidate: Candidate, template: PromptTemplate, rows: Sequence[ScoreRow]
) -> TrialRecord:
    score = sum(row.score or 0.0 for row in rows) / len(rows)
    return TrialRecord(
        trial=n,
        stage=stage,
        state="complete",
        digest=candidate.digest,
        fingerprint=template.fingerprint,
        point=candidate.point,
        n=len(rows),
        score=score,
        lower=max(0.0, score - 0.03),
        upper=min(1.0, score + 0.03),
        valid=sum(row.outcome == "ok" for row in rows) / len(rows),
        errors=0,
        feasible=True,
        outage=False,
        calls=len(rows),
        cached=0,
        prompt_tokens=80 * len(rows),
        completion_tokens=5 * len(rows),
        cost_usd=0.0,
        parents=(),
    )


def _frozen(plan: StudyPlan, prompts: Sequence[tuple[Candidate, PromptTemplate]]) -> FrozenPrompt:
    winner, template = prompts[-1]
    return FrozenPrompt(
        name=plan.name,
        template=template,
        style=winner.style,
        format=winner.format,
        capabilities=(),
        demonstration_ids=(),
        model={"provider": "scripted", "name": "rules"},
        task={"name": plan.task.name},
        evidence={
            "baseline_fingerprint": prompts[0][1].fingerprint,
            "winner_fingerprint": template.fingerprint,
            "decision": "improved",
            "frozen": "winner",
        },
        history=(),
        tool_versions={},
    )
