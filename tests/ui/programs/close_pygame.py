"""A program whose stream is under way quits. Prints what came of it."""

import pygame

import rxllm
from rxllm.testing import Gate, LLMServer, Reply
from rxllm.ui.pygame import TextPane, bind_text, update

with LLMServer(Reply("one two three", gate=Gate(1))) as server:
    model = rxllm.create_streaming_model("openai", model="scripted", base_url=server.base_url())
    pygame.display.init()
    pygame.font.init()
    screen = pygame.display.set_mode((320, 240))
    pane = TextPane(pygame.font.Font(None, 24), width=300, height=200)
    answer = bind_text(pane, model.stream("Hi"))
    while not pane.text:
        pygame.event.wait()
        update()
        pane.draw(screen, (10, 10))
        pygame.display.flip()
    pygame.quit()
    print(pane.text, server.wait_for_request().closed.wait(10), answer.stopped)
