"""Who asks what, and what becomes of the prompts of the dead."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable

import pytest

from rxllm.batch._job_queue import JobQueue
from rxllm.batch._jobs import Job


def job(key: int) -> Job:
    return Job(key, key, b"", (), {}, {})


def source(count: int) -> Callable[[], Job | None]:
    jobs = iter(map(job, range(count)))
    return lambda: next(jobs, None)


def keys(jobs: list[Job]) -> list[object]:
    return [each.key for each in jobs]


def test_a_worker_has_no_more_than_its_backlog() -> None:
    """However often it is given, and however many prompts there are."""
    queue, fresh = JobQueue(3), source(10)
    assert [0, 1, 2] == keys(queue.give(0, fresh))
    assert [] == queue.give(0, fresh)
    queue.settle(0, 1)
    assert [3] == keys(queue.give(0, fresh))
    assert 3 == queue.running
    assert [] == queue.give(1, source(0))
    assert [1] == queue.idle


def test_prompts_of_a_dead_worker_go_to_others_before_new_ones() -> None:
    """Nothing is lost with a worker."""
    queue, fresh = JobQueue(2), source(4)
    queue.give(0, fresh)
    assert [] == queue.lose(0)
    assert [0, 1] == keys(queue.give(1, fresh))
    assert [2, 3] == keys(queue.give(2, fresh))


def test_a_prompt_that_kills_is_given_up_and_takes_no_other_with_it() -> None:
    """Prompt 1 kills whoever asks it, and only prompt 1 is given up."""
    queue, fresh = JobQueue(4), source(4)
    worker, settled, given_up = 0, [], []
    for _ in range(20):
        hand = keys(queue.give(worker, fresh))
        if 1 in hand:
            given_up += keys(queue.lose(worker))
            worker += 1
        for key in hand if 1 not in hand else ():
            settled.append(queue.settle(worker, key).key)  # type: ignore[arg-type]
    assert [1] == given_up
    assert [0, 2, 3] == sorted(settled)
    assert queue.is_empty


def test_a_suspect_waits_for_a_worker_with_empty_hands() -> None:
    """While one waits, nobody is given anything new."""
    queue, fresh = JobQueue(2), source(9)
    for worker in (0, 1):
        queue.give(worker, fresh)
        queue.lose(worker)  # 0 and 1 were there at two deaths
    assert [0] == keys(queue.give(2, fresh))
    assert [] == queue.give(2, fresh)
    assert [1] == keys(queue.give(3, fresh))
    assert [2, 3] == keys(queue.give(4, fresh))


@pytest.mark.parametrize("seed", range(20))
def test_every_prompt_is_settled_or_given_up_once(seed: int) -> None:
    """Whatever dies, and whenever."""
    luck = random.Random(seed)
    queue, fresh = JobQueue(5), source(200)
    workers, number, ended = [0, 1, 2], 3, Counter[object]()
    hands: dict[int, list[object]] = {worker: [] for worker in workers}
    for _ in range(100_000):
        worker = luck.choice(workers)
        hands[worker] += keys(queue.give(worker, fresh))
        if luck.random() < 0.05:
            ended.update(keys(queue.lose(worker)))
            workers.remove(worker)
            workers.append(number)
            hands[number] = []
            number += 1
        elif hands[worker]:
            key = hands[worker].pop(luck.randrange(len(hands[worker])))
            ended[queue.settle(worker, key).key] += 1  # type: ignore[arg-type]
        if queue.is_empty and len(ended) == 200:
            break
    assert dict.fromkeys(range(200), 1) == ended
    assert 0 == queue.running


def test_a_key_is_known_from_when_it_is_given_to_when_it_is_settled() -> None:
    """Also while it waits for another worker."""
    queue, fresh = JobQueue(1), source(1)
    assert not queue.holds(0)
    queue.give(0, fresh)
    assert queue.holds(0)
    queue.lose(0)
    assert queue.holds(0)
    assert 0 == queue.running
    queue.give(1, fresh)
    queue.settle(1, 0)
    assert not queue.holds(0)
