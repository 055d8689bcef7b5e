"""A streaming answer with pygame, which has no loop of its own: yours calls what the scheduler has posted.

    python examples/hello_pygame.py "Explain AI"

Needs pygame-ce (or pygame), and OPENAI_API_KEY. Escape stops the answer.
"""

from __future__ import annotations

import queue
import sys
from collections.abc import Callable

import pygame

import rxllm
from rxllm import operators as ops
from rxllm.ui import LoopScheduler, bind_each


def main() -> None:
    """Show the answer in a window."""
    model = rxllm.create_streaming_model("openai:gpt-5.4-mini")
    pygame.display.init()
    pygame.font.init()
    screen = pygame.display.set_mode((640, 480))
    font = pygame.font.Font(None, 24)
    calls: queue.SimpleQueue[Callable[..., None]] = queue.SimpleQueue()
    scheduler = LoopScheduler(calls.put)
    shown = [""]

    deltas = model.stream(" ".join(sys.argv[1:]) or "Explain AI").pipe(ops.accumulate())
    answer = bind_each(scheduler, shown.append, deltas, on_error=lambda error: shown.append(str(error)), latest=True)
    running = True
    while running:
        for event in pygame.event.get():
            if event.type == pygame.KEYDOWN and event.key == pygame.K_ESCAPE:
                answer.dispose()
            running = running and event.type != pygame.QUIT
        while not calls.empty():
            calls.get()()
        screen.fill("white")
        screen.blit(font.render(shown[-1], True, "black", None, 600), (20, 20))
        pygame.display.flip()
        pygame.time.wait(16)
    scheduler.close()
    pygame.quit()


if __name__ == "__main__":
    main()
