"""The report of the benchmark of searches, in Markdown."""

from collections.abc import Callable, Iterator, Mapping, Sequence

from search_figures import LEVEL, Difference, Figures, Mean, normalised, optimism, regret
from search_plot import Lines
from search_runs import NULL_SEARCHES, WHOLE, Facts

Cells = Mapping[str, str]
SUPPORTED = 3  # seeds below which a difference of pairs is not tested


def report(figures: Figures, facts: Mapping[str, Facts], head: str, timing: Sequence[Cells]) -> str:
    """Return the whole report; `head` says how it was made, `timing` holds the rows of the timed searches."""
    parts = [
        "# How far the chosen prompt is from the best",
        head,
        *_regrets(figures, facts),
        *_comparisons(figures),
        *_factors(figures),
        *_optimism(figures, facts),
        *_times(figures, timing),
        *_tables(figures, facts),
    ]
    return "\n\n".join(parts) + "\n"


def panels(figures: Figures) -> dict[str, Lines]:
    """Return what the plot shows; the reference is left out, beside which all others look alike."""
    return {
        title: {
            search: [
                (n, mean.value, mean.over_seeds)
                for n in figures.budgets
                for mean in [figures.mean(value, search, n)]
            ]
            for search in figures.searches
            if search != WHOLE
        }
        for title, value in (
            ("Mean regret, points", regret),
            ("Mean normalised regret (1: a guess)", normalised),
        )
    }


def _regrets(figures: Figures, facts: Mapping[str, Facts]) -> Iterator[str]:
    known = sum(facts[table].all_known for table in figures.tables) / len(figures.tables)
    yield "## Regret"
    yield (
        "Highest test score in the table less that of the chosen prompt, in points; mean over tables. The first ± is the "
        "standard error over seeds with the tables held fixed, the second that over tables. Who knows every "
        f"cell of every table and takes the best mean has {known:.2f}, because validation and test differ."
    )
    yield _by_budget(figures, lambda search, n: _both(figures.mean(regret, search, n), 2))
    yield (
        "The same, normalised: in units of what the median prompt loses, so that tables in which little is at "
        "stake weigh as much as the others."
    )
    yield _by_budget(figures, lambda search, n: _both(figures.mean(normalised, search, n), 3))


def _comparisons(figures: Figures) -> Iterator[str]:
    yield "## Ours against each alternative"
    if len(figures.seeds) < SUPPORTED:
        yield "Too few seeds for a test."
        return
    single, means = figures.differences(), figures.mean_differences()
    yield (
        "Regret of ours less that of the alternative, paired by seed: below 0 where ours is better. ± is the standard "
        f"error over seeds. In bold: significant at {LEVEL:.0%} by a paired t test, after Holm over all "
        f"{len(means)} differences of this table."
    )
    found = {(each.alternative, each.evaluations): each for each in means}
    yield _by_budget(figures, lambda search, n: _shown(found[search, n]), figures.alternatives)
    yield f"Table by table, Holm over all {len(single)} differences:"
    yield _counted(figures, single)
    worse = [each for each in single if each.verdict and each.value > 0]
    yield "An alternative is significantly better than ours at" + (
        ":" if worse else f" none of the {len(single)}."
    )
    if worse:
        yield markdown(
            [
                {
                    "alternative": each.alternative,
                    "table": each.table or "",
                    "full evaluations": str(each.evaluations),
                    "ours - alternative": f"{each.value:+.2f} ± {each.error:.2f}",
                    "p, adjusted": f"{each.adjusted:.2g}",
                }
                for each in worse
            ]
        )


def _counted(figures: Figures, differences: Sequence[Difference]) -> str:
    def count(search: str, n: int) -> str:
        here = [each for each in differences if (each.alternative, each.evaluations) == (search, n)]
        better = sum(bool(each.verdict) and each.value < 0 for each in here)
        worse = sum(bool(each.verdict) and each.value > 0 for each in here)
        return f"{better} better, {worse} worse of {len(here)}"

    return _by_budget(figures, count, figures.alternatives)


def _factors(figures: Figures) -> Iterator[str]:
    evaluations = figures.budgets[0]
    ratios = list(figures.ratios(evaluations))
    if not ratios:
        return
    yield "## What knowing the factors is worth"
    yield (
        f"Tables whose prompts are points of a joint space, at {evaluations} full evaluations: mean regret of ours with "
        "factors in units of that without, and a 95 % bootstrap interval over seeds."
    )
    yield markdown(
        [
            {"table": name, "ratio": f"{value:.2f}", "95 % interval": f"{lower:.2f} to {upper:.2f}"}
            for name, value, lower, upper in ratios
        ]
    )


def _optimism(figures: Figures, facts: Mapping[str, Facts]) -> Iterator[str]:
    offsets = [facts[table].offset for table in figures.tables]
    yield "## Optimism"
    yield (
        "What the search expects of the chosen prompt less its test score, in points, after removing how much easier "
        f"the examples of the table are than those of its test (from {min(offsets):+.1f} to {max(offsets):+.1f}, "
        f"mean {sum(offsets) / len(offsets):+.1f} points). Mean over tables, ± as above."
    )
    yield _by_budget(figures, lambda search, n: _both(figures.mean(optimism, search, n), 2, signed=True))
    yield (
        "Null tables: the prompts changed places within each example, so none is better than another, and the truth "
        "of each is the mean of the table. What is expected of the chosen prompt less that mean, in points:"
    )
    yield _by_budget(
        figures,
        lambda search, n: _both(figures.mean(optimism, search, n, "null"), 2, signed=True),
        NULL_SEARCHES,
    )


def _times(figures: Figures, timing: Sequence[Cells]) -> Iterator[str]:
    yield "## Time"
    yield (
        "Seconds of one core for a run, and milliseconds for a decision (a prompt taken up or a step, whichever a run has "
        "more of), mean over tables; fits and choice are in it, and calls take no time."
    )

    def taken(search: str, n: int) -> str:
        seconds = figures.mean(lambda run: run.seconds, search, n).value
        decision = figures.mean(lambda run: 1000 * run.seconds / max(1, run.decisions), search, n).value
        return f"{seconds:.2f} s, {decision:.1f} ms"

    yield _by_budget(figures, taken)
    yield "Share of the calls allowed that were used:"
    yield _by_budget(figures, lambda search, n: f"{_used(figures, search, n):.0%}")
    if timing:
        yield "Large table: 625 prompts of 25 × 25 levels, 100 examples (`--time`):"
        yield markdown(timing)


def _used(figures: Figures, search: str, evaluations: int) -> float:
    used = figures.mean(lambda run: run.calls, search, evaluations).value
    whole = figures.mean(lambda run: run.allowed, search, evaluations).value
    return used / whole


def _tables(figures: Figures, facts: Mapping[str, Facts]) -> Iterator[str]:
    yield "## Table by table"
    yield "The tables; scores are shares, `all known` is the regret with every cell known."
    yield markdown(
        [
            {
                "table": table,
                "prompts": str(facts[table].prompts),
                "examples": str(facts[table].examples),
                "best on test": f"{facts[table].best:.3f}",
                "median": f"{facts[table].median:.3f}",
                "offset, points": f"{facts[table].offset:+.1f}",
                "all known": f"{facts[table].all_known:.2f}",
            }
            for table in figures.tables
        ]
    )
    for evaluations in figures.budgets:
        yield f"Mean regret at {evaluations} full evaluations, ± its standard error over seeds:"
        yield markdown(
            [
                {
                    "table": table,
                    **{search: _one(figures, search, table, evaluations) for search in figures.searches},
                }
                for table in figures.tables
            ]
        )


def _one(figures: Figures, search: str, table: str, evaluations: int) -> str:
    mean = figures.mean_of_table(regret, search, table, evaluations)
    return f"{mean.value:.2f} ± {mean.over_seeds:.2f}"


def _by_budget(figures: Figures, cell: Callable[[str, int], str], names: Sequence[str] | None = None) -> str:
    """Return a table of a row for each search and a column for each budget."""
    return markdown(
        [
            {"full evaluations": name, **{str(n): cell(name, n) for n in figures.budgets}}
            for name in (figures.searches if names is None else names)
        ]
    )


def _both(mean: Mean, digits: int, *, signed: bool = False) -> str:
    value = f"{mean.value:+.{digits}f}" if signed else f"{mean.value:.{digits}f}"
    return f"{value} ± {mean.over_seeds:.{digits}f} ± {mean.over_tables:.{digits}f}"


def _shown(difference: Difference) -> str:
    text = f"{difference.value:+.2f} ± {difference.error:.2f}"
    return f"**{text}**" if difference.verdict else text


def markdown(rows: Sequence[Cells]) -> str:
    """Return a table in Markdown; all rows have the columns of the first."""
    lines = [list(rows[0]), ["---"] * len(rows[0]), *(list(row.values()) for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
