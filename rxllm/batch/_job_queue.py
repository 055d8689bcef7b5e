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
_GIVEN_UP = 3


class JobQueue:
    """The jobs without a row; each worker has at most `backlog` of them."""

    def __init__(self, backlog: int) -> None:
        self._backlog = backlog
        self._in_hand: dict[int, dict[Key, Job]] = {}
        self._again: deque[Job] = deque()
        self._suspects: deque[Job] = deque()
        self._alone: set[int] = set()
        """Workers that have a suspect, and nothing else."""
        self._deaths: Counter[Key] = Counter()
        self._keys: set[Key] = set()

    @property
    def running(self) -> int:
        """Number of jobs that workers have."""
        return len(self._keys) - len(self._again) - len(self._suspects)

    @property
    def is_empty(self) -> bool:
        """Whether there is no job."""
        return not self._keys

    def holds(self, key: Key) -> bool:
        """Return whether there is a job with this key."""
        return key in self._keys

    def in_hand_of(self, worker: int) -> int:
        """Return the number of jobs that the worker has."""
        return len(self._in_hand.get(worker, ()))

    def give(self, worker: int, fresh: Callable[[], Job | None]) -> list[Job]:
        """Return further jobs for the worker; `fresh` returns a new job, or None."""
        hand = self._in_hand.setdefault(worker, {})
        if worker in self._alone:
            return []
        if self._suspects:
            if hand:
                return []  # it gets a suspect once it has nothing else
            self._alone.add(worker)
            jobs = [self._suspects.popleft()]
        else:
            jobs = self._some(self._backlog - len(hand), fresh)
        hand.update((job.key, job) for job in jobs)
        return jobs

    def settle(self, worker: int, key: Key) -> Job:
        """Remove and return the worker's job with this key: it has its row."""
        job = self._in_hand[worker].pop(key)
        self._alone.discard(worker)
        self._forget(key)
        return job

    def lose(self, worker: int) -> list[Job]:
        """Take back the jobs of a worker that died; return those that are given up."""
        self._alone.discard(worker)
        given_up: list[Job] = []
        for job in self._in_hand.pop(worker, {}).values():
            self._deaths[job.key] += 1
            deaths = self._deaths[job.key]
            if deaths >= _GIVEN_UP:
                self._forget(job.key)
                given_up.append(job)
            else:
                (self._suspects if deaths >= _SUSPECT else self._again).append(job)
        return given_up

    def _forget(self, key: Key) -> None:
        self._keys.discard(key)
        self._deaths.pop(key, None)

    def _some(self, room: int, fresh: Callable[[], Job | None]) -> list[Job]:
        """Return up to `room` jobs: first those to be asked again, then fresh ones."""
        jobs: list[Job] = []
        while len(jobs) < room:
            job = self._again.popleft() if self._again else fresh()
            if job is None:
                break
            self._keys.add(job.key)  # now, so that `holds` knows it when the next is made
            jobs.append(job)
        return jobs
