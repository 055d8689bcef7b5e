"""The results as plots. matplotlib is optional: without it there are tables only."""

from __future__ import annotations

import math
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

from .report import CROWDS, OURS, PHASES, SECTIONS, Results, number
from .wires import WIRES

OURS_COLOUR, OTHERS_COLOUR, SECOND_COLOUR = "#c2410c", "#94a3b8", "#334155"
_NEVER_MS = 2_000.0


def plot(results: Results, out: Path) -> dict[str, str]:
    """Draw what was measured into files of `out`; their names by measure."""
    try:
        matplotlib = import_module("matplotlib")
    except ImportError:
        return {}
    matplotlib.use("svg")
    matplotlib.rcParams.update({"font.size": 9, "svg.hashsalt": "rxllm", "axes.axisbelow": True})
    pyplot = import_module("matplotlib.pyplot")
    measured = {sample.measure for sample in results.samples if sample.figures}
    files: dict[str, str] = {}
    for measure, draw in DRAWN.items():
        if measure in measured:
            figure = draw(pyplot, results)
            files[measure] = f"{measure}.svg"
            figure.savefig(out / files[measure], metadata={"Date": None})
            pyplot.close(figure)
    return files


def _is_rxllm(name: str) -> bool:
    return OURS in name


def _logarithmic(axes: Any) -> None:
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(lambda value, position: f"{value:g}")


def _bars(
    axes: Any,
    values: dict[str, float],
    unit: str,
    *,
    log: bool = False,
    is_ours: Callable[[str], bool] = _is_rxllm,
) -> None:
    """A bar for each name, with its figure at its end."""
    names = list(values)
    axes.barh(names, list(values.values()), color=[OURS_COLOUR if is_ours(name) else OTHERS_COLOUR for name in names])
    axes.invert_yaxis()
    if log and min(values.values()) > 0:
        _logarithmic(axes)
        axes.set_xlim(left=min(values.values()) / 2)
    for place, value in enumerate(values.values()):
        axes.annotate(number(value), (value, place), (3, 0), textcoords="offset points", va="center", fontsize=8)
    axes.margins(x=0.15)
    axes.set_xlabel(unit)
    axes.spines[["top", "right"]].set_visible(False)


def _figure(pyplot: Any, panels: int, rows: int, title: str, *, width: float = 4.0) -> tuple[Any, list[Any]]:
    size = (3.0 + width * panels, 1.4 + 0.27 * rows)
    figure, axes = pyplot.subplots(1, panels, figsize=size, layout="constrained", sharey=panels > 1)
    figure.suptitle(title)
    return figure, [axes] if panels == 1 else list(axes)


def _cost(pyplot: Any, results: Results) -> Any:
    clients = {wire: results.clients("cost", wire) for wire in WIRES}
    shown = [wire for wire in WIRES if clients[wire]]
    heights = [len(clients[wire]) for wire in shown]
    size = (8.0, 1.2 + 0.27 * sum(heights) + 0.3 * len(shown))
    figure, axes = pyplot.subplots(
        len(shown), 1, figsize=size, layout="constrained", sharex=True, squeeze=False, height_ratios=heights
    )
    for panel, wire in zip(axes[:, 0], shown, strict=True):
        values = {client: results.median("cost", client, "us", wire) for client in clients[wire]}
        _bars(panel, {client: value for client, value in values.items() if value is not None}, "", log=True)
        panel.set_ylabel(wire)
    axes[-1, 0].set_xlabel("us of CPU per text delta (logarithmic)")
    figure.suptitle(SECTIONS["cost"][0])
    return figure


def _operators(pyplot: Any, results: Results) -> Any:
    names = next(s.figures for s in results.samples if s.measure == "operators" and s.figures)
    values = {name: results.median("operators", OURS, name) or 0.0 for name in names}
    figure, (axes,) = _figure(pyplot, 1, len(values), SECTIONS["operators"][0])
    _bars(axes, values, "us per item", is_ours=lambda name: not name.startswith("reactivex"))
    return figure


def _imports(pyplot: Any, results: Results) -> Any:
    values = {client: results.median("import", client, "ms") or 0.0 for client in results.clients("import")}
    figure, (axes,) = _figure(pyplot, 1, len(values), SECTIONS["import"][0])
    _bars(axes, values, "ms of CPU")
    return figure


def _first(pyplot: Any, results: Results) -> Any:
    clients = results.clients("first")
    figure, panels = _figure(pyplot, 2, len(clients), SECTIONS["first"][0])
    for panel, kind in zip(panels, ("cold", "warm"), strict=True):
        values = {client: results.median("first", client, kind) or 0.0 for client in clients}
        _bars(panel, values, f"{kind}: ms (logarithmic)", log=True)
    panels[1].invert_yaxis()  # the axis is shared: each turned it over
    return figure


def _spans(axes: Any, spans: dict[str, tuple[float | None, float | None]], unit: str) -> None:
    """A line from p50 to p99 for each name; what never came stands at the right."""
    for place, (name, (p50, p99)) in enumerate(spans.items()):
        if p50 is None or p99 is None:
            continue
        colour = OURS_COLOUR if name == OURS else SECOND_COLOUR
        left, right = (_NEVER_MS if math.isinf(value) else max(value, 0.01) for value in (p50, p99))
        axes.plot([left, right], [place, place], color=colour, linewidth=2, alpha=0.5)
        axes.plot([left], [place], "o", color=colour, markersize=5)
        axes.plot([right], [place], "x" if math.isinf(p99) else "|", color=colour, markersize=8)
    axes.set_yticks(range(len(spans)), list(spans))
    _logarithmic(axes)
    axes.set_xlabel(unit)
    axes.grid(axis="x", color="#e2e8f0")
    axes.spines[["top", "right"]].set_visible(False)


def _pace(pyplot: Any, results: Results) -> Any:
    clients = results.clients("pace")
    figure, panels = _figure(pyplot, 2, len(clients), SECTIONS["pace"][0])
    for panel, (kind, title) in zip(panels, {"chunked": "chunked", "close": "without chunks"}.items(), strict=True):
        spans = {
            client: (results.percentile("pace", client, kind, 50), results.percentile("pace", client, kind, 99))
            for client in clients
        }
        _spans(panel, spans, f"{title}: ms, p50 (dot) to p99 (logarithmic)")
        panel.set_xlim(0.05, 10_000)
    panels[0].invert_yaxis()
    return figure


def _cancel(pyplot: Any, results: Results) -> Any:
    clients = results.clients("cancel")
    figure, panels = _figure(pyplot, len(PHASES), len(clients), SECTIONS["cancel"][0], width=2.2)
    for panel, (phase, title) in zip(panels, PHASES.items(), strict=True):
        spans = {
            client: (results.percentile("cancel", client, phase, 50), results.percentile("cancel", client, phase, 99))
            for client in clients
        }
        _spans(panel, spans, title)
        panel.set_xlim(0.01, 2 * _NEVER_MS)
    panels[0].invert_yaxis()
    figure.supxlabel("ms, p50 (dot) to p99 (logarithmic; a cross at 2 s: never)", fontsize=9)
    return figure


def _crowd(measure: str) -> Callable[[Any, Results], Any]:
    def draw(pyplot: Any, results: Results) -> Any:
        clients = results.clients(measure)
        figure, panels = _figure(pyplot, 3, len(clients), CROWDS[measure], width=3.0)
        spans = {
            client: (results.median(measure, client, "p50"), results.median(measure, client, "p99"))
            for client in clients
        }
        _spans(panels[0], spans, "delay added: ms, p50 (dot) to p99 (log.)")
        for panel, figures, unit in (
            (panels[1], "us", "us of CPU per delta"),
            (panels[2], "kb", "KB resident a stream"),
        ):
            values = {client: results.median(measure, client, figures) or 0.0 for client in clients}
            _bars(panel, values, unit)
        panels[0].invert_yaxis()  # two panels have turned the shared axis over and back
        return figure

    return draw


DRAWN: dict[str, Callable[[Any, Results], Any]] = {
    "cost": _cost,
    "operators": _operators,
    "import": _imports,
    "first": _first,
    "pace": _pace,
    "cancel": _cancel,
} | {measure: _crowd(measure) for measure in CROWDS}
