"""The search of DSPy's MIPROv2 on recorded scores: its own code, with looked-up scores in place of a model's answers.

MIPROv2 writes wordings and sets of demonstrations first and then searches their pairs. Here the pairs are given, those
of a recorded table, and its search (`_optimize_prompt_parameters`: multivariate TPE on minibatches, and the best mean so
far on everything after every fifth) runs on them unchanged. An example says which row of the table it is, a demonstration
which set, and the instruction which wording; the program answers with the score that stands there.
"""

from random import Random
from typing import Any

from live_rivals_dspy import FULL_EVERY, MINIBATCH, mipro_trials, quietly

from optimizer.recorded import RecordedScores

INSTRUCTION, DEMONSTRATIONS = "instruction", "demonstrations"


def mipro_choice(table: RecordedScores, *, calls: int, seed: int) -> tuple[str, int]:
    """Return the prompt that MIPROv2 chooses, and the calls that it made.

    Args:
        table: Every prompt is a pair of the two factors, and no pair is missing.
        calls: Bound of the calls; as many trials as fit by its own arithmetic, everything else left to it.
    """
    return quietly(lambda: _choice(table, calls=calls, seed=seed))


def _choice(table: RecordedScores, *, calls: int, seed: int) -> tuple[str, int]:
    import dspy
    from dspy.utils import DummyLM

    counted = _Cells(table)
    examples = [dspy.Example(row=name).with_inputs("row") for name in table.scores[table.baseline]]
    nobody = DummyLM([])  # it wants models, and asks none
    optimizer = dspy.MIPROv2(metric=counted.score, auto=None, prompt_model=nobody, task_model=nobody)
    optimizer.rng = Random(seed)
    found = optimizer._optimize_prompt_parameters(  # noqa: SLF001  # its search without its proposals has no other door
        _program(counted.levels[INSTRUCTION][0]),
        {0: counted.levels[INSTRUCTION]},
        {0: [[dspy.Example(set=name)] for name in counted.levels[DEMONSTRATIONS]]},
        dspy.Evaluate(devset=examples, metric=counted.score, num_threads=1, display_progress=False),
        examples,
        mipro_trials(calls, len(examples), aside=0),
        minibatch=True,
        minibatch_size=MINIBATCH,
        minibatch_full_eval_steps=FULL_EVERY,
        seed=seed,
    )
    return counted.prompt(found), counted.calls


class _Cells:
    """A table as a metric, and how often it was asked."""

    def __init__(self, table: RecordedScores) -> None:
        self._table = table
        self._at = {(row[INSTRUCTION], row[DEMONSTRATIONS]): name for name, row in table.factors.items()}
        self._begun = table.factors[table.baseline]
        self.calls = 0
        # The first of each is that of the program begun with, as MIPROv2 has it.
        self.levels = {
            name: list(dict.fromkeys(row[name] for row in (self._begun, *table.factors.values())))
            for name in (INSTRUCTION, DEMONSTRATIONS)
        }

    def prompt(self, program: Any) -> str:  # noqa: ANN401  # DSPy ships no types
        """Return the prompt that a program is."""
        return self._named(program.predict.signature.instructions, program.predict.demos)

    def score(self, example: Any, prediction: Any, _trace: object = None) -> float:  # noqa: ANN401
        """Return the score of the prompt that answered."""
        self.calls += 1
        return self._table.scores[self._named(prediction.instruction, prediction.demonstrations)][example.row]

    def _named(self, instruction: str, demonstrations: list[Any]) -> str:
        shown = demonstrations[0].set if demonstrations else self._begun[DEMONSTRATIONS]
        return self._at[instruction, shown]


def _program(instruction: str) -> Any:  # noqa: ANN401  # DSPy ships no types
    import dspy

    class Looked(dspy.Module):  # type: ignore[misc]  # DSPy ships no types
        """Answers with what it is, and asks no model."""

        def __init__(self) -> None:
            super().__init__()
            self.predict = dspy.Predict(dspy.Signature("row -> score", instruction))

        def forward(self, row: str) -> Any:  # noqa: ANN401, ARG002
            return dspy.Prediction(
                instruction=self.predict.signature.instructions, demonstrations=self.predict.demos
            )

    return Looked()
