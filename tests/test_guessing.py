"""What guessing brings, counted by hand."""

from optimizer.answer import Answer
from optimizer.dataset import Example
from optimizer.evaluation import Result, Scorer
from optimizer.guessing import Guess, best_guess, guessed
from optimizer.metrics import Metric, Setting
from optimizer.scoring import Prepared, plain


def examples(targets: str) -> list[Example]:
    return [
        Example(id=str(k), inputs=(("text", str(k)),), target=target, group=None)
        for k, target in enumerate(targets)
    ]


def scorer(objective: Prepared) -> Scorer:
    return Scorer(objective=objective, per_example=objective, others={})


ACCURACY = scorer(plain("accuracy", Setting(labels=("a", "b", "c"))))


def test_the_most_frequent_target_is_the_best_guess_and_does_not_judge_itself() -> None:
    # Of ten examples six are b; without the one that it is taken from, five of nine.
    assert best_guess(examples("aaabbbbbbc"), ACCURACY) == Guess(text="b", score=5 / 9)


def test_of_equally_frequent_targets_the_first_in_the_alphabet_is_taken() -> None:
    assert best_guess(examples("bbaa"), ACCURACY) == Guess(text="a", score=1 / 3)


def test_targets_that_never_repeat_cannot_be_guessed() -> None:
    found = best_guess(examples("abc"), scorer(plain("exact_match", Setting())))
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
    def fails(answer: Answer, target: str, setting: Setting) -> float:
        if (answer.text, target) == ("b", "a"):
            raise ZeroDivisionError
        return float(answer.text == target)

    own = Prepared(name="own", metric=Metric(score=fails), setting=Setting())
    found = best_guess(examples("aabbbb"), scorer(own))
    assert found is not None
    assert found.text == "a"


def test_a_metric_that_would_have_to_ask_about_each_answer_is_given_no_guess() -> None:
    async def asks(answer: Answer, example: Example, setting: Setting) -> float:
        raise AssertionError("asked")

    own = Prepared(name="own", metric=Metric(judged=asks), setting=Setting())
    assert best_guess(examples("aabb"), scorer(own)) is None
