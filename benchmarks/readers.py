"""How answers of a real model are read, against how a person reads them.

    python benchmarks/readers.py record --output ANSWERS.jsonl        raw answers of the embedded model, four tasks
    python benchmarks/readers.py sample --answers ANSWERS.jsonl --output SAMPLE.jsonl      200 of them, for a person
    python benchmarks/readers.py compare --answers ANSWERS.jsonl --gold GOLD.jsonl --write benchmarks/results/readers

Answers are free: no format's constraint is sent, so that there is something to read. The sample holds what was asked
and said, and not what was read; a person adds `gold`: the label, number or JSON object that the answer gives, or null
where it gives none, or more than one. Rows come from `../shared/data/tasks` beside the repository, of which nothing is
kept here.
"""

import argparse
import asyncio
import dataclasses
import json
import random
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from optimizer.answer import AnswerFormat
from optimizer.candidate import Candidate, Demonstration, DemonstrationSet, Instruction
from optimizer.formats import FORMATS, Draft
from optimizer.models import ModelSpec
from optimizer.models.embedded import CONTROL_TOKENS, EMBEDDED
from optimizer.prompt import PromptTemplate
from optimizer.significance import wilson
from optimizer.styles import STYLES
from optimizer.targets import canonical_target
from optimizer.task import Task, load_task

DATA = Path(__file__).resolve().parents[2] / "shared" / "data" / "tasks"
ROWS, SAMPLE = 65, 200
# Bytes of an input; longer ones would take the model minutes and teach nothing about reading.
LONGEST = 900

# Task, what its answer is, the wording, bound of an answer in tokens.
TASKS: dict[str, tuple[dict[str, Any], str, int]] = {
    "sst2": (
        {"type": "label", "labels": ["negative", "positive"]},
        "Is the review positive or negative?",
        32,
    ),
    "fr_tweet_sentiment": (
        {"type": "label", "labels": ["négatif", "neutre", "positif"]},
        "Quel est le sentiment du tweet ? Réponds par négatif, neutre ou positif.",
        32,
    ),
    "bbh_object_counting": ({"type": "number"}, "Answer the question with one number.", 32),
    "restaurant8k": (
        {"type": "json"},
        (
            "Extract what the customer says about the booking as a JSON object with the keys people, date, time,"
            " first_name and last_name, as far as they are said."
        ),
        64,
    ),
}
# Format, style and number of demonstrations.
PROMPTS = (
    ("plain", "direct", 0),
    ("plain", "direct", 3),
    ("inline", "direct", 2),
    ("plain", "chain_of_thought", 0),
    ("plain", "chain_of_thought", 2),
    ("json", "direct", 1),
    ("xml", "direct", 1),
    ("xml", "chain_of_thought", 1),
)

_TASK = """schema: 1
name: {name}
language: {language}
dataset: {{inputs: [{input}], target: {target}, path: rows.jsonl}}
output: {output}
metric: exact_match
instruction: {instruction}
"""


def main() -> None:
    """Run what the command line asks."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("record", "sample", "compare"):
        one = commands.add_parser(name)
        one.add_argument("--answers", type=Path)
        one.add_argument("--output", type=Path)
        one.add_argument("--gold", type=Path)
        one.add_argument("--write", type=Path)
        one.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    {"record": _record, "sample": _sample, "compare": _compare}[options.command](options)


def _record(options: argparse.Namespace) -> None:
    done = _lines(options.output) if options.output.exists() else []
    asyncio.run(_answers(options.output, {answer["key"] for answer in done}, options.seed))


async def _answers(path: Path, done: set[str], seed: int) -> None:
    spec = ModelSpec(provider="embedded", name="smollm2-135m", options={"threads": 1, "slots": 1})
    async with EMBEDDED.connect(spec) as connection:
        with tempfile.TemporaryDirectory() as folder, path.open("a", encoding="utf-8") as file:
            # Prompt by prompt, so that the model reads what is common to its requests once.
            for key, template, row in _asked(Path(folder), seed):
                if key in done:
                    continue
                request = dataclasses.replace(template.request({row["input"]: row["text"]}), constraint=None)
                completion = await connection.model.complete(request)
                answer = {
                    "key": key,
                    "task": key.partition("/")[0],
                    "format": template.answer.to_dict(),
                    "asked": request.messages[-1].content[-1500:],
                    "text": completion.text,
                    "finish_reason": completion.finish_reason,
                    "target": row["target"],
                }
                file.write(json.dumps(answer, ensure_ascii=False) + "\n")
                file.flush()


def _asked(folder: Path, seed: int) -> Iterator[tuple[str, PromptTemplate, dict[str, str]]]:
    for name in TASKS:
        task, rows = _task(folder / name, name)
        drawn = random.Random(f"{seed} {name}").sample(rows, ROWS + 20)
        for layout, style, n in PROMPTS:
            template = _template(task, drawn[ROWS:], layout=layout, style=style, n=n)
            for row in drawn[:ROWS]:
                yield f"{name}/{layout}/{style}/{n}/{row['id']}", template, row


def _task(folder: Path, name: str) -> tuple[Task, list[dict[str, str]]]:
    """Return a task and its rows, the longest left out."""
    source = DATA / name
    if not source.is_dir():
        raise SystemExit(f"this benchmark reads shared/data/tasks/{name} beside the repository; it is absent")
    meta = json.loads((source / "meta.json").read_text(encoding="utf-8"))
    (given,), target = meta["inputs"][:1], meta["output"]
    output, instruction, _ = TASKS[name]
    rows = [
        {"id": row["id"], "input": given, "text": row[given].strip(), "target": _text(row[target])}
        for row in _lines(source / "train.jsonl")
        if len(row[given].encode()) <= LONGEST and row[given].strip()
    ]
    folder.mkdir(parents=True)
    (folder / "rows.jsonl").write_text("{}\n", encoding="utf-8")
    text = _TASK.format(
        name=name,
        language="fr" if name.startswith("fr_") else "en",
        input=given,
        target=target,
        output=json.dumps(output),
        instruction=json.dumps(instruction, ensure_ascii=False),
    )
    (folder / "task.yaml").write_text(text, encoding="utf-8")
    return load_task(folder / "task.yaml"), rows


def _text(value: object) -> str:
    return value.strip() if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _template(task: Task, rows: list[dict[str, str]], *, layout: str, style: str, n: int) -> PromptTemplate:
    shots = tuple(
        Demonstration(
            example_id=row["id"],
            inputs=((row["input"], row["text"]),),
            target=canonical_target(row["target"], task.output, task.labels),
        )
        for row in rows[:n]
    )
    candidate = Candidate(
        instruction=Instruction(id="i0000", text=task.instruction, origin="given"),
        demonstrations=DemonstrationSet(id="d0001", demonstrations=shots, selector="random"),
        style=style,
        format=layout,
    )
    draft = Draft(
        task=task,
        candidate=candidate,
        style=STYLES[style].in_language(task.language),
        parameters=(("max_tokens", TASKS[task.name][2]), ("temperature", 0)),
        control_tokens=CONTROL_TOKENS,
    )
    return FORMATS[layout].render(draft)


def _sample(options: argparse.Namespace) -> None:
    """Write a sample with as many answers of each task and prompt as possible, in random order."""
    answers = _lines(options.answers)
    drawn = random.Random(options.seed).sample(answers, len(answers))
    rounds: Counter[str] = Counter()
    ranked = []
    for answer in drawn:
        cell = answer["key"].rpartition("/")[0]
        ranked.append((rounds[cell], answer))
        rounds[cell] += 1
    chosen = [answer for _, answer in sorted(ranked, key=lambda pair: pair[0])[:SAMPLE]]
    kept = ("key", "asked", "text", "finish_reason")
    lines = [
        json.dumps(
            {name: answer[name] for name in kept}
            | {"kind": answer["format"]["kind"], "labels": answer["format"]["labels"]},
            ensure_ascii=False,
        )
        for answer in random.Random(options.seed).sample(chosen, len(chosen))
    ]
    options.output.write_text("\n".join([*lines, ""]), encoding="utf-8")


def _compare(options: argparse.Namespace) -> None:
    answers = {answer["key"]: answer for answer in _lines(options.answers)}
    gold = {row["key"]: row["gold"] for row in _lines(options.gold)}
    read = {key: _read(answer) for key, answer in answers.items()}
    agreed = {key: read[key] == _canonical(answers[key], value) for key, value in gold.items()}
    luck = [key for key in gold if read[key] is not None and gold[key] is None]
    document = {
        "answers": len(answers),
        "checked": len(gold),
        "agreed": sum(agreed.values()),
        "interval": dataclasses.asdict(wilson(sum(agreed.values()), len(gold))),
        "credited_without_an_answer": len(luck),
        "read": {task: _shares(answers, read, task) for task in TASKS},
        "disagreements": Counter(key.rpartition("/")[0] for key, same in agreed.items() if not same),
    }
    options.write.with_suffix(".json").write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    for key, same in agreed.items():
        if not same:
            print(key, repr(answers[key]["text"]), "read", read[key], "gold", gold[key])
    print(json.dumps(document, indent=1))


def _read(answer: dict[str, Any]) -> str | None:
    return AnswerFormat.from_dict(answer["format"]).read(answer["text"], answer["finish_reason"]).text


def _shares(answers: dict[str, dict[str, Any]], read: dict[str, str | None], task: str) -> dict[str, float]:
    mine = [key for key in answers if answers[key]["task"] == task]
    formats = {key: AnswerFormat.from_dict(answers[key]["format"]) for key in mine}
    strict = [formats[key].read(answers[key]["text"], answers[key]["finish_reason"]).strict for key in mine]
    return {
        "answers": len(mine),
        "lenient": sum(read[key] is not None for key in mine) / len(mine),
        "strict": sum(strict) / len(mine),
    }


def _canonical(answer: dict[str, Any], value: object) -> str | None:
    if value is None:
        return None
    form = AnswerFormat.from_dict(answer["format"])
    return canonical_target(_text(value), form.kind, form.labels)


def _lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]


if __name__ == "__main__":
    main()
