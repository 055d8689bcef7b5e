"""Makes the screenshots in this directory: the examples, run on the embedded model and driven as a user drives them.

    xvfb-run python docs/screenshots/make.py                 all of them, into this directory
    xvfb-run python docs/screenshots/make.py chat_qt         some
    xvfb-run python docs/screenshots/make.py --into shots    elsewhere

Needs: pip install "rxllm[local,qt,textual]" Pillow; Debian: apt-get install xvfb xauth.
"""

from __future__ import annotations

import argparse
import asyncio
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1] / "examples"))

TEA = "Explain how to make tea in three steps."
CODE = "Write a Python function that adds two numbers."
RIVER = "What is a river?"

import rxllm  # noqa: E402 - after the path to the examples, which import it, too


def local(**options: float) -> dict[str, rxllm.StreamingModel]:
    """The embedded model, which says the same each time."""
    return {"local": rxllm.create_streaming_model("local", temperature=0, max_tokens=160, **options)}


def chat_qt(path: Path) -> None:
    """Two answers, the second one under way."""
    import chat_qt
    from PySide6.QtTest import QTest
    from PySide6.QtWidgets import QApplication

    app = QApplication([])
    window = chat_qt.chat_window(*local().values())
    window.resize(640, 560)
    window.show()
    for prompt in (TEA, CODE):
        QTest.keyClicks(window.input, prompt)
        window.send_button.click()
        _until(lambda: window.retry_button.isEnabled() and window.session.state.status == "ready", QTest.qWait)
    QTest.keyClicks(window.input, RIVER)
    window.send_button.click()
    _until(lambda: "A river is" in window.browser.toPlainText(), QTest.qWait)
    window.grab().save(str(path))
    window.close()
    app.quit()


def compare_qt(path: Path) -> None:
    """Three temperatures, one of which has won."""
    import compare_qt
    from PySide6.QtTest import QTest
    from PySide6.QtWidgets import QApplication

    app = QApplication([])
    window = compare_qt.CompareWindow({"local": rxllm.create_streaming_model("local", max_tokens=120, seed=7)})
    window.resize(1000, 420)
    window.show()
    QTest.keyClicks(window.input, TEA)
    window.ask.click()
    _until(lambda: any(panel.styleSheet() == compare_qt.WINNER for panel in window.panels), QTest.qWait)
    _until(lambda: all(len(panel.view.toPlainText()) > 100 for panel in window.panels), QTest.qWait)
    QTest.qWait(100)
    window.grab().save(str(path))
    window.close()
    app.quit()


def chat_tk(path: Path) -> None:
    """Two answers, the second one under way."""
    import tkinter

    import chat_tk
    from PIL import ImageGrab

    window = tkinter.Tk()
    view = chat_tk.chat_view(window, *local().values())
    window.geometry("640x560+0+0")

    def wait(milliseconds: int) -> None:
        window.after(milliseconds, window.quit)
        window.mainloop()

    for prompt in (TEA, CODE):
        view.input.insert("end", prompt)
        view.send_button.invoke()
        _until(lambda: str(view.retry_button["state"]) == "normal" and view.session.state.status == "ready", wait)
    view.input.insert("end", RIVER)
    view.send_button.invoke()
    _until(lambda: "A river is" in view.text.get("1.0", "end"), wait)
    window.update()
    left, top = window.winfo_rootx(), window.winfo_rooty()
    ImageGrab.grab(bbox=(left, top, left + window.winfo_width(), top + window.winfo_height())).save(path)
    window.destroy()


def chat_textual(path: Path) -> None:
    """Two answers, the second one under way."""
    import chat_textual
    from textual.widgets import Markdown

    async def drive() -> None:
        app = chat_textual.ChatApp(*local().values())
        async with app.run_test(size=(90, 30)) as pilot:
            app.query_one("#input").focus()
            for prompt in (TEA, CODE):
                await pilot.press(*prompt, "enter")
                while app.query_one("#retry").disabled or app.session.state.status != "ready":
                    await pilot.pause(0.01)
            await pilot.press(*RIVER, "enter")
            while "A river is" not in app.query(Markdown).last().source:
                await pilot.pause(0.01)
            path.write_text(app.export_screenshot(title="rxllm chat"), encoding="utf-8")

    asyncio.run(drive())


SCENES: dict[str, tuple[Callable[[Path], None], str]] = {
    "chat_qt": (chat_qt, "png"),
    "chat_tk": (chat_tk, "png"),
    "chat_textual": (chat_textual, "svg"),
    "compare_qt": (compare_qt, "png"),
}


def main() -> None:
    """Make those that are asked for, each in a process of its own."""
    parser = argparse.ArgumentParser(description="Make screenshots of the examples.")
    parser.add_argument("names", nargs="*", help=f"of {', '.join(SCENES)}; all of them, when none is given")
    parser.add_argument("--into", type=Path, default=HERE, help="the directory they go to")
    options = parser.parse_args()
    options.into.mkdir(parents=True, exist_ok=True)
    names: list[str] = options.names or list(SCENES)
    if len(names) > 1:
        for name in names:
            again = [sys.executable, __file__, name, "--into", str(options.into)]
            subprocess.run(again, check=True)  # noqa: S603 - it is ours
        return
    make, kind = SCENES[names[0]]
    make(options.into / f"{names[0]}.{kind}")


def _until(condition: Callable[[], bool], wait: Callable[[int], object]) -> None:
    """Let the program run until it holds."""
    while not condition():
        wait(10)


if __name__ == "__main__":
    main()
