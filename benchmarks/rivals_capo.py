"""CAPO of promptolution in the live comparison, in an environment of its own.

    python benchmarks/rivals_capo.py ORDER.json RESULT.json

promptolution is none of the project's dependencies: this script runs in an environment that has it (and NumPy, pandas,
scikit-learn, SciPy, openai), started by `live_rivals.py`, and speaks to the counting server alone. The order holds the
rows, the wordings, the settings and the address.

Native: its `MarkerBasedPredictor`, which takes the first class for an answer that it cannot read, and demonstrations
with the model's own reasoning; the wordings ask for its markers. Harmonised: examples as all
methods lay them out, the constraint and the reader of all, and demonstrations without reasoning.

Crossovers and blocks are fewer and smaller than promptolution's defaults, with which the budget ended within the first
step. A step that the budget cuts is lost, as the library has it: the prompts are those of the last whole step. Where no
step was whole, which the library would answer with its first prompt, the best mean of at least `LEAST` answers is taken
instead.
"""

import json
import random
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from promptolution.llms import APILLM  # type: ignore[import-not-found]  # in its own environment
from promptolution.optimizers import CAPO  # type: ignore[import-not-found]
from promptolution.predictors import MarkerBasedPredictor  # type: ignore[import-not-found]
from promptolution.predictors.base_predictor import BasePredictor  # type: ignore[import-not-found]
from promptolution.tasks import ClassificationTask  # type: ignore[import-not-found]
from promptolution.utils import capo_utils  # type: ignore[import-not-found]
from promptolution.utils import prompt as prompt_module

from optimizer.answer import AnswerFormat

CROSSOVERS, BLOCK, BLOCKS, STEPS = 3, 15, 5, 50
LEAST = 15
# Its prompts are texts. In the harmonised mode these two, of no meaning elsewhere, part them into turns again.
SHOT, ANSWER = "\ue000", "\ue001"
# Its layout leaves no room for less: an answer stands between two markers of about 6 tokens each.
NATIVE_TOKENS, PROPOSAL_TOKENS = 48, 256


def main() -> None:
    """Search, then answer the test rows with the prompt that was returned."""
    order = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    random.seed(order["seed"])
    np.random.seed(order["seed"])  # noqa: NPY002  # pandas samples demonstrations from the global generator
    predictor = _predictor(order, f"{order['search']}/v1")
    task = ClassificationTask(
        _frame(order["validation"]),
        task_description=order["instruction"],
        n_subsamples=min(BLOCK, len(order["validation"])),
        eval_strategy="sequential_block",
        seed=order["seed"],
    )
    if order["harmonised"]:
        task.ys = [row["target"] for row in order["validation"]]  # it lowers them, and the reader does not
    meta = _llm(f"{order['search']}/v1", PROPOSAL_TOKENS, temperature=1.0)
    optimizer = CAPO(
        predictor=predictor,
        task=task,
        meta_llm=meta,
        initial_prompts=order["initial"],
        crossovers_per_iter=CROSSOVERS,
        max_n_blocks_eval=BLOCKS,
        create_fs_reasoning=not order["harmonised"],
        df_few_shots=_frame(order["train"]),
    )
    prompts = optimizer.optimize(STEPS)
    best, claimed = _chosen(optimizer, prompts)
    tester = _predictor(order, f"{order['test']}/v1")
    texts = [row["text"] for row in order["test_rows"]]
    answers, _ = tester.predict([str(best)] * len(texts), texts)
    result = {
        "answers": answers,
        "claimed": claimed,
        "whole_steps": bool(optimizer.scores),
        "prompt": {"instruction": best.instruction, "demonstrations": best.few_shots},
    }
    Path(sys.argv[2]).write_text(json.dumps(result, ensure_ascii=False), encoding="utf-8")


def _chosen(optimizer: Any, prompts: list[Any]) -> tuple[Any, float | None]:  # noqa: ANN401  # it ships no types
    """Return the prompt that the library ends with and its score on validation."""
    if optimizer.scores:
        return prompts[0], float(optimizer.scores[0])
    scores: dict[str, list[float]] = {}
    for (text, _, _), score in optimizer.task.eval_cache.items():
        scores.setdefault(text, []).append(score)
    means = {text: float(np.mean(got)) for text, got in scores.items() if len(got) >= LEAST}
    if not means:
        return prompts[0], None
    best = max(prompts, key=lambda prompt: means.get(str(prompt), -1.0))
    return best, means.get(str(best))


def _frame(rows: list[dict[str, str]]) -> "pd.DataFrame":
    return pd.DataFrame({"x": [row["text"] for row in rows], "y": [row["target"] for row in rows]})


def _llm(url: str, most_tokens: int, *, temperature: float = 0.0) -> Any:  # noqa: ANN401  # it ships no types
    return APILLM(
        api_url=url,
        model_id="smollm2-135m",
        api_key="none",
        max_concurrent_calls=2,
        max_tokens=most_tokens,
        max_retries=0,
        gather_timeout_s=3600,
        call_timeout_s=600,
        client_kwargs={"max_retries": 0},
        call_kwargs={"temperature": temperature},
    )


def _predictor(order: dict[str, Any], url: str) -> Any:  # noqa: ANN401  # it ships no types
    if order["harmonised"]:
        capo_utils.CAPO_FEWSHOT_TEMPLATE = f"{SHOT} <input> {ANSWER} <output>"
        prompt_module.DOWNSTREAM_TEMPLATE_W_FEWSHOTS = "<instruction> <few_shots>"
        return Harmonised(order, url)
    classes = [label.lower() for label in order["labels"]] or None
    return MarkerBasedPredictor(_llm(url, NATIVE_TOKENS), classes=classes)


class Harmonised(BasePredictor):  # type: ignore[misc]  # it ships no types
    """Examples as all methods lay them out, under the constraint and the reader of all."""

    def __init__(self, order: dict[str, Any], url: str) -> None:
        super().__init__(_PlainLLM(order, url))
        labels = tuple(order["labels"])
        self._reader = AnswerFormat(kind="label" if labels else "text", labels=labels)

    def predict(
        self, prompts: str | list[str], xs: list[str], system_prompts: object = None
    ) -> tuple[list[str], list[str]]:
        """Return the answers, "" for one that cannot be read, and the answers again."""
        del system_prompts
        each = [prompts] * len(xs) if isinstance(prompts, str) else prompts
        texts = [f"{p} {SHOT} {x}" for p, x in zip(each, xs, strict=True)]
        answers = self._extract_preds(self.llm.get_response(texts))
        return answers, answers

    def _extract_preds(self, preds: list[str]) -> list[str]:
        return [(self._reader.read(text).text or "").strip() for text in preds]


class _PlainLLM(APILLM):  # type: ignore[misc]  # it ships no types
    """Its client, which parts a prompt into turns and holds the answer to the constraint of all."""

    def __init__(self, order: dict[str, Any], url: str) -> None:
        super().__init__(
            api_url=url,
            model_id="smollm2-135m",
            api_key="none",
            max_concurrent_calls=2,
            max_retries=0,
            gather_timeout_s=3600,
            call_timeout_s=600,
            client_kwargs={"max_retries": 0},
        )
        choice = {"structured_outputs": {"choice": order["labels"]}} if order["labels"] else {}
        self._asked = {**order["parameters"], "extra_body": choice}

    async def _ainvoke_once(self, prompt: str, system_prompt: str) -> Any:  # noqa: ANN401
        del system_prompt
        async with self._sem:
            return await self.client.chat.completions.create(
                model=self.model_id, messages=_turns(prompt), **self._asked
            )


def _turns(prompt: str) -> list[dict[str, str]]:
    """Return the messages of a prompt that ends with the input."""
    instruction, *shots = prompt.split(SHOT)
    messages = [{"role": "system", "content": instruction.strip()}]
    for shot in shots:
        turn = zip(("user", "assistant"), shot.split(ANSWER), strict=False)  # the last has no answer yet
        messages += [{"role": role, "content": text.strip()} for role, text in turn]
    return messages


if __name__ == "__main__":
    main()
