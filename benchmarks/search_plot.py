"""A plot of regret against budget as SVG: a line for each search, and bars of one standard error over seeds."""

import math
from collections.abc import Mapping, Sequence

from markupsafe import Markup, escape

# In pixels: a panel, its margins, and the legend below both.
WIDTH, HEIGHT, LEFT, TOP, BOTTOM, GAP = 400, 300, 56, 34, 46, 40
LEGEND_ROW, LEGEND_COLUMNS = 20, 3
TICKS = 5
INK, FAINT = "#222", "#ddd"
# Okabe and Ito's, which colour-blind readers can tell apart; ours is drawn in the first, and thicker.
COLOURS = ("#000000", "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#999999")

Point = tuple[int, float, float]  # budget, value, standard error
Lines = Mapping[str, Sequence[Point]]


def plot(panels: Mapping[str, Lines]) -> str:
    """Return some panels beside each other; each has the same searches, by name."""
    names = list(next(iter(panels.values())))
    height = TOP + HEIGHT + BOTTOM + LEGEND_ROW * math.ceil(len(names) / LEGEND_COLUMNS) + 10
    width = len(panels) * (LEFT + WIDTH + GAP)
    parts = [
        Markup(
            '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {} {}" font-family="sans-serif" font-size="12" '
            'fill="{}"><rect width="100%" height="100%" fill="white"/>'
        ).format(width, height, INK)
    ]
    for k, (title, lines) in enumerate(panels.items()):
        left = LEFT + k * (LEFT + WIDTH + GAP)
        parts.append(Markup('<g transform="translate({} {})">{}</g>').format(left, TOP, _panel(title, lines)))
    parts += [_legend(k, name) for k, name in enumerate(names)]
    return "".join([*parts, "</svg>\n"])


def _panel(title: str, lines: Lines) -> Markup:
    points = [point for line in lines.values() for point in line]
    top = _round_up(max(value + (0 if math.isnan(error) else error) for _, value, error in points))
    budgets = sorted({budget for budget, _, _ in points})
    parts = [Markup('<text x="0" y="-14" font-weight="bold">{}</text>').format(title)]
    for k in range(TICKS + 1):
        value = top * k / TICKS
        parts.append(
            Markup(
                '<line x1="0" x2="{0}" y1="{1:.1f}" y2="{1:.1f}" stroke="{2}"/>'
                '<text x="-8" y="{1:.1f}" dy="4" text-anchor="end">{3:g}</text>'
            ).format(WIDTH, _y(value, top), FAINT, round(value, 3))
        )
    place = Markup('<text x="{:.1f}" y="{}" text-anchor="middle">{}</text>')
    parts += [place.format(_x(budget, budgets), HEIGHT + 18, budget) for budget in budgets]
    parts.append(place.format(WIDTH / 2, HEIGHT + 36, "full evaluations (logarithmic)"))
    # The first line last, so that nothing hides it.
    drawn = [_line(line, budgets, top, number) for number, line in enumerate(lines.values())]
    return Markup("").join([*parts, *reversed(drawn)])


def _line(line: Sequence[Point], budgets: Sequence[int], top: float, number: int) -> Markup:
    colour, dashes = _stroke(number)
    places = [(_x(budget, budgets), _y(value, top)) for budget, value, _ in line]
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    parts = [
        Markup(
            '<polyline points="{}" fill="none" stroke="{}" stroke-width="{}" stroke-dasharray="{}"/>'
        ).format(path, colour, 1.5 if number else 3, dashes)
    ]
    for (x, _), (_, value, error) in zip(places, line, strict=True):
        if not math.isnan(error):
            parts.append(
                Markup('<line x1="{0:.1f}" x2="{0:.1f}" y1="{1:.1f}" y2="{2:.1f}" stroke="{3}"/>').format(
                    x, _y(max(0.0, value - error), top), _y(value + error, top), colour
                )
            )
    return Markup("").join(parts)


def _legend(number: int, name: str) -> Markup:
    row, column = divmod(number, LEGEND_COLUMNS)
    x, y = LEFT + column * 290, TOP + HEIGHT + BOTTOM + 14 + row * LEGEND_ROW
    colour, dashes = _stroke(number)
    return Markup(
        '<line x1="{}" x2="{}" y1="{}" y2="{}" stroke="{}" stroke-width="{}" stroke-dasharray="{}"/>'
        '<text x="{}" y="{}">{}</text>'
    ).format(x, x + 28, y, y, colour, 1.5 if number else 3, dashes, x + 36, y + 4, escape(name))


def _stroke(number: int) -> tuple[str, str]:
    """Return colour and dashes of a line; when all colours were used they come again, dashed."""
    return COLOURS[number % len(COLOURS)], "none" if number < len(COLOURS) else "6 3"


def _x(budget: int, budgets: Sequence[int]) -> float:
    low, high = math.log(budgets[0]), math.log(budgets[-1])
    inset = 20.0
    share = 0.5 if low == high else (math.log(budget) - low) / (high - low)
    return inset + share * (WIDTH - 2 * inset)


def _y(value: float, top: float) -> float:
    return HEIGHT * (1 - value / top)


def _round_up(value: float) -> float:
    """Return a value not below this one of which a fifth has few digits."""
    if value <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(value / TICKS))
    return next(
        TICKS * step * power for step in (1, 1.5, 2, 3, 4, 5, 6, 8, 10) if TICKS * step * power >= value
    )
