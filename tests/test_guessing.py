"""What guessing brings, counted by hand."""

import dataclasses

from optimizer.answer import Answer
from optimizer.dataset import Example
from optimizer.evaluation import Judge, Result
from optimizer.guessing import Guess, best_guess, guessed


def examples(targets: str) -> list[Example]:
    return [
        Example(id=str(k), inputs=(("text", str(k)),), target=target, group=None)
        for k, target in enumerate(targets)
    ]


ACCURACY = Judge.of("accuracy", ("a", "b", "c"))


def test_the_most_frequent_target_is_the_best_guess_and_does_not_judge_itself() -> None:
    # Of ten examples six are b; without the one that it is taken from, five of nine.
    assert best_guess(examples("aaabbbbbbc"), ACCURACY) == Guess(text="b", score=5 / 9)


def test_of_equally_frequent_targets_the_first_in_the_alphabet_is_taken() -> None:
    assert best_guess(examples("bbaa"), ACCURACY) == Guess(text="a", score=1 / 3)


def test_targets_that_never_repeat_cannot_be_guessed() -> None:
    found = best_guess(examples("abc"), Judge.of("exact_match", ()))
    assert found is not None
    assert found.score == 0.0


def test_one_example_is_no_ground_for_a_guess() -> None:
    assert best_guess(examples("a"), ACCURACY) is None


def test_only_an_answer_that_could_not_be_read_is_replaced() -> None:
    (example,) = examples("a")
    guess = Guess(text="a", score=0.4)
    for outcome, score in (("invalid", 0.4), ("truncated", 0.4), ("refused", 0.4), ("ok", 0.0)):
        result = Result(
            example=example,
            answer=Answer(text=None if outcome != "ok" else "b", outcome=outcome),  # type: ignore[arg-type]
            score=0.0,
            completions=(),
        )
        assert guessed(result, guess).score == score


def test_a_target_that_the_metric_fails_on_is_no_guess() -> None:
    def fails(answer: Answer, target: str) -> float:
        if (answer.text, target) == ("b", "a"):
            raise ZeroDivisionError
        return float(answer.text == target)

    judge = dataclasses.replace(ACCURACY, per_example=fails)
    found = best_guess(examples("aabbbb"), judge)
    assert found is not None
    assert found.text == "a"
