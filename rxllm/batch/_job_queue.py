"""Which worker has which jobs, until each job has its row. Pure.

The jobs of a worker that died are given to others, before new ones. A job that was there at two deaths may be their
cause: it is given to a worker that has nothing else. At the third death it is given up, so that a prompt that kills its
worker ends neither the run nor other prompts.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable

from ._jobs import Job
from .rows import Key

_SUSPECT = 2
"""Deaths of workers after which a job may be their cause."""
_GIVEN_UP = 3
"""Deaths after which a job is given up."""


class JobQueue:
    """The jobs without a row; each worker has at most `backlog` of them."""

    def __init__(self, backlog: int) -> None:
        self._backlog = backlog
        self._in_hand: dict[int, dict[Key, Job]] = {}
        self._again: deque[Job] = deque()
        """Jobs of workers that died, suspects first."""
        self._deaths: Counter[Key] = Counter()
        """How many workers died that had the job."""

    @property
    def running(self) -> int:
        """Number of jobs that workers have."""
        return sum(map(len, self._in_hand.values()))

    @property
    def is_empty(self) -> bool:
        """Whether there is no job."""
        return not self._again and not self.running

    def holds(self, key: Key) -> bool:
        """Return whether there is a job with this key."""
        return any(key in hand for hand in self._in_hand.values()) or any(job.key == key for job in self._again)

    @property
    def workers(self) -> int:
        """Number of workers that have asked for jobs and are not lost."""
        return len(self._in_hand)

    @property
    def idle(self) -> list[int]:
        """Those of them that have no job."""
        return [worker for worker, hand in self._in_hand.items() if not hand]

    def give(self, worker: int, fresh: Callable[[], Job | None]) -> list[Job]:
        """Return further jobs for the worker: those to be asked again, then new ones, which `fresh` returns."""
        hand = self._in_hand.setdefault(worker, {})
        jobs: list[Job] = []
        room = self._backlog - len(hand)
        if any(map(self._is_suspect, hand.values())):
            room = 0  # it has a suspect, and gets nothing else
        while len(jobs) < room:
            if self._again and self._is_suspect(self._again[0]):
                if hand:
                    break  # a suspect waits for a worker that has nothing else
                room = 1
            job = self._again.popleft() if self._again else fresh()
            if job is None:
                break
            hand[job.key] = job
            jobs.append(job)
        return jobs

    def add(self, job: Job) -> None:
        """Add a job for the next worker that asks."""
        self._again.append(job)

    def settle(self, worker: int, key: Key) -> Job:
        """Remove and return the worker's job with this key: it has its row."""
        self._deaths.pop(key, None)
        return self._in_hand[worker].pop(key)

    def lose(self, worker: int) -> list[Job]:
        """Take back the jobs of a worker that died; return those that are given up."""
        given_up: list[Job] = []
        for job in self._in_hand.pop(worker, {}).values():
            self._deaths[job.key] += 1
            if self._deaths[job.key] >= _GIVEN_UP:
                del self._deaths[job.key]
                given_up.append(job)
            else:
                self._again.append(job)
        self._again = deque(sorted(self._again, key=self._is_suspect, reverse=True))
        return given_up

    def _is_suspect(self, job: Job) -> bool:
        return self._deaths[job.key] >= _SUSPECT
