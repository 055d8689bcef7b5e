"""Workers: threads that are used again, and end when nobody needs them."""

from __future__ import annotations

import threading

from rxllm._runtime.thread_cache import Workers

from ..raw_server import LIMIT


def run(workers: Workers, name: str) -> threading.Thread:
    """Run a task to its end; the thread that ran it, which bore `name` meanwhile."""
    ran: list[threading.Thread] = []
    done = threading.Event()

    def task() -> None:
        thread = threading.current_thread()
        assert thread.name == name
        ran.append(thread)
        done.set()

    workers.run(name, task)
    assert done.wait(LIMIT)
    return ran[0]


def is_idle(thread: threading.Thread) -> bool:
    return thread.name == "rxllm-idle"


def test_a_thread_serves_again_and_then_ends() -> None:
    """The next task finds it waiting; without one it is gone soon."""
    workers = Workers()
    first = run(workers, "one")
    assert first.daemon
    waiting = threading.Event()
    while not is_idle(first):
        assert not waiting.wait(0.001)
    assert run(workers, "two") is first
    first.join(LIMIT)
    assert not first.is_alive()
    assert run(workers, "three") is not first


def test_tasks_that_block_have_a_thread_each() -> None:
    """Nobody waits for another's task."""
    workers = Workers()
    together = threading.Barrier(5, timeout=LIMIT)
    for number in range(4):
        workers.run(f"task-{number}", together.wait)
    together.wait()


def test_tasks_that_come_as_threads_end_are_all_run() -> None:
    """A task that is given at the moment an idle thread ends is not lost."""
    workers = Workers()
    left = threading.Semaphore(0)
    for _ in range(300):
        workers.run("task", lambda: left.release(1) and None)
    for _ in range(300):
        assert left.acquire(timeout=LIMIT)
