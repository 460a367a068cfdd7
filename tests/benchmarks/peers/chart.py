"""
Draws the results of the comparison of queues: ``./dev bench peers/chart`` writes docs/images/peers.svg again.

The picture has no background and writes in a grey that can be read on white and on black.
"""

from pathlib import Path
from typing import Final

from matplotlib import rcParams
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from results import OURS, WAIT, Results, read, written

PICTURE: Final = Path(__file__).parents[3] / "docs/images/peers.svg"
SHOWN: Final = ("enqueue one by one", "drain at 100", "pick-up p50")
TEXT: Final = "#767676"
OTHERS: Final = "#a3a3a3"
ACCENT: Final = "#2f6fde"


def draw(results: Results) -> None:
    """Draw one panel for each measure, with the queues in the order of that measure."""
    # Text stays text, and the same results give the same file.
    rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "lq", "font.family": "sans-serif", "font.size": 9})
    figure = Figure(figsize=(10, 3.4), layout="constrained")
    for place, measure in enumerate(SHOWN, start=1):
        _panel(figure.add_subplot(1, len(SHOWN), place), results, measure)
    figure.savefig(PICTURE, transparent=True, metadata={"Date": None, "Title": "lq beside other queues"})  # pyright: ignore[reportUnknownMemberType] -- matplotlib does not type its options


def _panel(axes: Axes, results: Results, measure: str) -> None:
    found = {queue: results.figure(queue, measure) for queue in results.found}
    is_wait = measure.startswith(WAIT)
    queues = sorted((queue for queue in found if found[queue] is not None), key=lambda one: found[one] or 0)
    if is_wait:
        queues.reverse()
    values = [found[queue] or 0 for queue in queues]
    bars = axes.barh(queues, values, color=[ACCENT if queue == OURS else OTHERS for queue in queues])  # pyright: ignore[reportUnknownMemberType] -- matplotlib does not type its options
    _ = axes.bar_label(bars, [written(measure, value) for value in values], padding=3, color=TEXT)  # pyright: ignore[reportUnknownMemberType] -- matplotlib does not type its options
    _ = axes.set_title(f"{measure} ({'less' if is_wait else 'more'} is better)", color=TEXT, fontsize=10, loc="left")  # pyright: ignore[reportUnknownMemberType] -- matplotlib does not type its options
    _ = axes.set_xlim(0, max(values) * 1.3)
    axes.tick_params(length=0, labelcolor=TEXT)  # pyright: ignore[reportUnknownMemberType] -- matplotlib does not type its options
    axes.xaxis.set_visible(False)
    for spine in axes.spines.values():
        spine.set_visible(False)
    for label in axes.get_yticklabels():
        label.set_fontweight("bold" if label.get_text() == OURS else "normal")


if __name__ == "__main__":
    draw(read())
