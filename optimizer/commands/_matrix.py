"""A comparison as one table, a few sentences, and a CSV file of scores."""

import csv
import io
import math
import textwrap
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from optimizer.elision import padded, told_apart, width
from optimizer.explanation import percent, score_text, signed_points

if TYPE_CHECKING:
    from optimizer.comparison import Absentee, Cell, Comparison, Contender

# Columns of a paragraph, and characters of a name in the table: a row then has 118, unless names need more to differ.
_WIDTH, _NAME = 100, 22

_LISTED = 5  # names in a sentence


def matrix_lines(comparison: "Comparison") -> Iterator[str]:
    """Yield the table, a row a cell, highest score first, and what its marks mean."""
    rows = comparison.ranked
    every: list[Contender | Absentee] = [*(cell.contender for cell in rows), *comparison.absent]
    shown = told_apart((each.prompt for each in every), _NAME)
    prompts = [shown[each.prompt] for each in every]
    shown = told_apart((each.model for each in every), _NAME)
    models = [shown[each.model] for each in every]
    wide = [max(map(width, names)) for names in (["prompt", *prompts], ["model", *models])]
    used = any(cell.contender.usage is not None for cell in rows)
    named = any(models)
    head = f"   {'prompt':<{wide[0]}}" + (f" {'model':<{wide[1]}}" if named else "")
    head += f"  score  {'95 % interval':<14}  {'gain':<14}"
    yield (head + ("  invalid    tokens seconds  $/1,000" if used else "")).rstrip()
    told = [
        (_mark(comparison, cell), _scores(comparison, cell) + (_usage(cell) if used else "")) for cell in rows
    ]
    told += [("  ", "  no score: it is not compared, and why is said below")] * len(comparison.absent)
    for (mark, figures), prompt, model in zip(told, prompts, models, strict=True):
        line = f"{mark} {padded(prompt, wide[0])}" + (f" {padded(model, wide[1])}" if named else "")
        yield (line + figures).rstrip()
    yield ""
    yield "* highest score   ≈ not distinguishable from it" + (
        "   F not beaten in score, cost and seconds at once" if used else ""
    )
    base = comparison.cells[comparison.baseline].name
    yield from textwrap.wrap(
        f"gain: points over {base}, and better or worse where the data show it; all without either word are not "
        "distinguishable from it",
        width=_WIDTH,
    )


def _mark(comparison: "Comparison", cell: "Cell") -> str:
    first = "*" if cell is comparison.cells[comparison.best] else "≈" if cell.tied else " "
    return first + ("F" if cell.front and cell.contender.usage is not None else " ")


def _scores(comparison: "Comparison", cell: "Cell") -> str:
    contender, interval = cell.contender, cell.contender.interval
    within = "" if interval is None else f"{score_text(interval.lower)} to {score_text(interval.upper)}"
    if cell is comparison.cells[comparison.baseline] or cell.gain is None:
        gain = "baseline"
    else:
        word = "" if cell.gain.decision == "not distinguishable" else cell.gain.decision
        gain = f"{signed_points(cell.gain.comparison.difference):>6} {word}"
    return f"  {score_text(contender.score)}  {within:<14}  {gain:<14}"


def _usage(cell: "Cell") -> str:
    usage = cell.contender.usage
    if usage is None:
        return ""
    unknown = usage.tokens_in is None or usage.tokens_out is None
    tokens = "-" if unknown else f"{usage.tokens_in:.0f}+{usage.tokens_out:.0f}"
    cost = "-" if usage.cost is None else _brief(1000 * usage.cost)
    return f"  {percent(usage.invalid):>7} {tokens:>9} {_brief(usage.seconds):>7}  {cost:>7}"


def _brief(amount: float) -> str:
    """Return an amount with three digits that count, as `0.0412` or `12.3`; nothing at all is 0."""
    if amount == 0:
        return "0"
    if amount >= 100:
        return f"{amount:,.0f}"
    return f"{amount:#.3g}".rstrip(".") if amount >= 1e-4 else f"{amount:.0e}"


def sentences(comparison: "Comparison") -> list[str]:
    """Return which is best, what ties with it, which of those is cheapest and which fastest, and the baseline."""
    best, ties = comparison.cells[comparison.best], comparison.ties
    interval, n = best.contender.interval, len(comparison.examples)
    within = (
        ""
        if interval is None
        else f" (95 % interval {score_text(interval.lower)} to {score_text(interval.upper)})"
    )
    said = [
        f"The highest score is that of {best.name}: {score_text(best.contender.score)}{within} on {n} examples."
    ]
    others = len(comparison.cells) - 1
    if others and len(ties) == 1:
        said.append("It is better than every other, beyond chance and beyond the choice among them.")
    elif others:
        said.append(
            f"The data cannot tell it from {_names([cell for cell in ties if cell is not best])}; that does not "
            "say they are equal."
        )
    said += [*_cheapest(ties), *_fastest(ties), *_baseline(comparison)]
    if comparison.left_out:
        left = len(comparison.left_out)
        said.append(f"{left} of {n + left} examples are left out, because some cell has no score for them.")
    return [*said, *_absent(comparison)]


def _absent(comparison: "Comparison") -> Iterator[str]:
    for each in comparison.absent:
        yield (
            f"{each.name} has no score and takes no part: {each.reason.rstrip('.')}. Once that is mended the same "
            "command asks for what is missing, and for nothing else."
        )
        if each.baseline:
            base = comparison.cells[comparison.baseline].name
            yield f"The others were to be compared with it; they are compared with {base} in its place."


def _cheapest(ties: "Sequence[Cell]") -> Iterator[str]:
    costs = [(each.contender.usage.cost, each) for each in ties if each.contender.usage is not None]
    known = [(cost, cell) for cost, cell in costs if cost is not None]
    if not costs:
        return
    if not known:
        yield "No price is known of any of these." if len(ties) > 1 else "Its price is not known."
        return
    cost, cheapest = _least(known)
    amount = f"{_brief(1000 * cost)} US dollars for 1,000 examples"
    unknown = len(costs) - len(known)
    beside = f" ({unknown} without a known price)" if unknown else ""
    if len(ties) == 1:
        yield f"It costs {amount}."
    elif len(cheapest) == len(known) > 1:
        yield f"All of these{beside} cost the same, {amount}."
    else:
        yield f"The cheapest of these{beside} {_is(cheapest)}, at {amount}."


def _fastest(ties: "Sequence[Cell]") -> Iterator[str]:
    known = [(each.contender.usage.seconds, each) for each in ties if each.contender.usage is not None]
    if not known:
        return
    seconds, fastest = _least(known)
    amount = f"{_brief(seconds)} seconds an example (median)"
    if len(ties) == 1:
        yield f"It takes {amount}."
    elif len(fastest) == len(known) > 1:
        yield f"All of these take the same time, {amount}."
    else:
        yield f"The fastest of these {_is(fastest)}, at {amount}."


def _least(known: "Sequence[tuple[float, Cell]]") -> "tuple[float, list[Cell]]":
    """Return the least of some amounts, and every cell that has it: sums differ in their last digit for no reason."""
    least = min(amount for amount, _ in known)
    return least, [cell for amount, cell in known if math.isclose(amount, least, rel_tol=1e-9)]


def _is(cells: "Sequence[Cell]") -> str:
    return f"{'is' if len(cells) == 1 else 'are'} {_names(cells)}"


def _baseline(comparison: "Comparison") -> Iterator[str]:
    gains = [cell for cell in comparison.cells if cell.gain is not None]
    if not gains:
        return
    words = {
        decision: [cell for cell in gains if cell.gain is not None and cell.gain.decision == decision]
        for decision in ("better", "worse", "not distinguishable")
    }
    told = [f"{len(cells)} {word}" for word, cells in words.items() if cells]
    yield f"Compared with {comparison.cells[comparison.baseline].name}, {', '.join(told)}."


def _names(cells: "Sequence[Cell]") -> str:
    shown = [cell.name for cell in cells[:_LISTED]]
    if len(cells) > _LISTED:
        shown.append(f"{len(cells) - _LISTED} more")
    return shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} and {shown[-1]}"


def scores_csv(comparison: "Comparison") -> str:
    """Return a table of scores: an example a row, a cell a column; empty where there is none."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["example_id", *(cell.name for cell in comparison.cells)])
    for example in sorted((*comparison.examples, *comparison.left_out)):
        scores = (cell.contender.scores.get(example) for cell in comparison.cells)
        writer.writerow([example, *("" if score is None else repr(score) for score in scores)])
    return text.getvalue()
