"""What pictures share that needs no matplotlib: colors, sizes, numbers as labels, places of labels."""

from __future__ import annotations

from collections.abc import Sequence

# The Okabe-Ito palette, which colour-blind readers can tell apart; its yellow is too pale for lines.
BLUE, ORANGE, GREEN, PINK, OLIVE, SKY = "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#7A6A00", "#56B4E9"
COLORS = (BLUE, ORANGE, GREEN, PINK, OLIVE, SKY)
INK, FAINT = "#333333", "#D9D9D9"
WIDTH = 7.0  # inches
TEXT = 10.5  # points: readable where the picture fills half a slide
LINE = 1.3


def number_label(number: float, digits: int = 4) -> str:
    """A number for a label: few digits, a true minus sign."""
    return f"{number:.{digits}g}".replace("-", "−")


def spread(wanted: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """The positions nearest to the wanted ones (both ascending) that are `gap` apart, in low..high if there is room."""
    placed: list[list[float]] = []  # blocks of touching labels: [sum of (wanted - offset), count]
    for i, y in enumerate(wanted):
        placed.append([min(max(y, low), high) - i * gap, 1])
        while len(placed) > 1 and placed[-2][0] / placed[-2][1] > placed[-1][0] / placed[-1][1]:
            total, count = placed.pop()
            placed[-1][0] += total
            placed[-1][1] += count
    start = [block[0] / block[1] for block in placed for _ in range(int(block[1]))]
    top = high - (len(wanted) - 1) * gap
    return [max(min(s, top), low) + i * gap for i, s in enumerate(start)]
