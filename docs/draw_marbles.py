"""Draws the marble diagrams of operators.md, each from a real run on virtual time.

    python docs/draw_marbles.py

The runs are in marble_runs.py; what is drawn is what happened in them: the times, the values, the
moment an operator let its source go.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from xml.sax.saxutils import escape

from marble_runs import RUNS
from marble_stage import Lane, Mark, Run

FOLDER = Path(__file__).resolve().parent / "marbles"

PILL, LEVEL = 22, 26
CHARACTER = 7.3
"""Pixels, all of these."""
LANE, BOX = 30, 40

STYLE = """
text { font: 12px ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; fill: #1f2328; }
.name { fill: #656d76; }
.call { font-size: 13px; font-weight: 600; }
.line { stroke: #656d76; stroke-width: 1.5; }
.gone { stroke: #afb8c1; stroke-dasharray: 2 5; }
.end { stroke: #1f2328; stroke-width: 2.5; }
.error { stroke: #cf222e; stroke-width: 2.5; }
.left { stroke: #9a6700; stroke-width: 2; fill: none; }
.box { fill: #f6f8fa; stroke: #d0d7de; }
.pill { stroke-width: 1.2; }
.text { fill: #ddf4ff; stroke: #54aeff; }
.reasoning { fill: #fbefff; stroke: #c297ff; }
.tool { fill: #fff1e5; stroke: #fb8f44; }
.other { fill: #f6f8fa; stroke: #afb8c1; }
.value { fill: #dafbe1; stroke: #4ac26b; }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3; }
  .name { fill: #8d96a0; }
  .line { stroke: #8d96a0; }
  .gone { stroke: #484f58; }
  .end { stroke: #e6edf3; }
  .error { stroke: #f85149; }
  .left { stroke: #d29922; }
  .box { fill: #161b22; stroke: #30363d; }
  .text { fill: #0c2d6b; stroke: #388bfd; }
  .reasoning { fill: #3c1e70; stroke: #a371f7; }
  .tool { fill: #5a1e02; stroke: #db6d28; }
  .other { fill: #21262d; stroke: #6e7681; }
  .value { fill: #033a16; stroke: #2ea043; }
}
""".strip()


def draw(run: Run) -> str:
    """The diagram of a run as SVG."""
    drawing = _Drawing(run)
    return drawing.svg()


class _Drawing:
    """One diagram, from top to bottom."""

    def __init__(self, run: Run) -> None:
        self._call = run.call
        self._pixels = run.pixels
        self._sources, self._results = run.lanes()
        lanes = (*self._sources, *self._results)
        names = max(len(lane.name) for lane in lanes)
        self._left = names * CHARACTER + 36
        self._right = max(map(self._right_of, lanes)) + 24
        self._parts: list[str] = []

    def svg(self) -> str:
        width = max(self._right, len(self._call) * 8 + 48)
        y = 8.0
        for lane in self._sources:
            y = self._lane(lane, y)
        self._add("rect", "box", x=8, y=y + 6, width=width - 16, height=BOX - 12, rx=6)
        self._text("call", width / 2, y + BOX / 2 + 4, self._call, "middle")
        y += BOX
        for lane in self._results:
            y = self._lane(lane, y)
        size = f'width="{width:g}" height="{y + 8:g}"'
        head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {y + 8:g}" {size} role="img">'
        told = [f"<title>{escape(self._call)}</title>", f"<desc>{escape(self._told())}</desc>"]
        return "\n".join([head, *told, f"<style>{STYLE}</style>", *self._parts, "</svg>\n"])

    def _lane(self, lane: Lane, top: float) -> float:
        """Draw `lane` from `top` on; returns where the next may begin."""
        y = top + LANE / 2
        end = self._end_of(lane)
        self._text("name", self._left - 16, y + 4, lane.name, "end")
        if lane.ending == "none":
            self._add("line", "line gone", x1=self._x(0), y1=y, x2=self._right - 24, y2=y)
        else:
            self._add("line", "line", x1=self._x(lane.since), y1=y, x2=end, y2=y)
        self._ending(lane, end, y)
        levels = self._levels(lane.marks)
        for mark, level in zip(lane.marks, levels, strict=True):
            self._pill(mark, y + level * LEVEL)
        return top + LANE + max(levels, default=0) * LEVEL

    def _ending(self, lane: Lane, x: float, y: float) -> None:
        match lane.ending:
            case "completed":
                self._add("line", "end", x1=x, y1=y - 11, x2=x, y2=y + 11)
            case "failed":
                self._add("path", "error", d=f"M{x - 6:g} {y - 6:g}l12 12m0 -12l-12 12")
            case "disposed":
                self._add("path", "left", d=f"M{x:g} {y - 8:g}l6 8l-6 8")
            case "none":
                pass

    def _pill(self, mark: Mark, y: float) -> None:
        width = _width(mark.text)
        x = self._x(mark.at)
        self._add("rect", f"pill {mark.kind}", x=x - width / 2, y=y - PILL / 2, width=width, height=PILL, rx=PILL / 2)
        self._text("", x, y + 4, mark.text, "middle")

    def _levels(self, marks: Sequence[Mark]) -> list[int]:
        """How far down each mark is drawn so that none covers another."""
        ends: list[float] = []  # of the last pill on each level
        levels: list[int] = []
        for mark in marks:
            half = _width(mark.text) / 2
            left = self._x(mark.at) - half
            level = next((n for n, end in enumerate(ends) if end + 2 <= left), len(ends))
            ends[level : level + 1] = [self._x(mark.at) + half]
            levels.append(level)
        return levels

    def _end_of(self, lane: Lane) -> float:
        """Where the ending is drawn: at its moment, or past the values that reach over it."""
        end = self._x(lane.until)
        edges = [self._x(mark.at) + _width(mark.text) / 2 for mark in lane.marks]
        return max([end, *(edge + 8 for edge in edges if edge > end - 4)])

    def _right_of(self, lane: Lane) -> float:
        return max(self._end_of(lane), *(self._x(mark.at) + _width(mark.text) / 2 for mark in lane.marks), 0.0)

    def _x(self, seconds: float) -> float:
        return self._left + seconds * self._pixels

    def _text(self, name: str, x: float, y: float, text: str, anchor: str) -> None:
        style = f' class="{name}"' if name else ""
        self._parts.append(f'<text{style} x="{x:g}" y="{y:g}" text-anchor="{anchor}">{escape(text)}</text>')

    def _add(self, tag: str, name: str, **values: float | str) -> None:
        told = " ".join(f'{key}="{value if isinstance(value, str) else f"{value:g}"}"' for key, value in values.items())
        self._parts.append(f'<{tag} class="{name}" {told}/>')

    def _told(self) -> str:
        """The diagram in words."""
        return ". ".join(map(_lane_told, (*self._sources, *self._results))) + "."


def _lane_told(lane: Lane) -> str:
    values = ", ".join(f"{mark.text!r} at {mark.at:g} s" for mark in lane.marks) or "nothing"
    ending = "" if lane.ending == "none" else f"; {lane.ending} at {lane.until:g} s"
    return f"{lane.name}: {values}{ending}"


def _width(text: str) -> float:
    return max(PILL, len(text) * CHARACTER + 12)


def main() -> None:
    """Draw all runs anew."""
    FOLDER.mkdir(exist_ok=True)
    for old in FOLDER.glob("*.svg"):
        old.unlink()
    for name, run in RUNS.items():
        (FOLDER / f"{name}.svg").write_text(draw(run))


if __name__ == "__main__":
    main()
