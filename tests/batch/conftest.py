"""A Ray of its own for the tests of this folder that need one."""

from __future__ import annotations

import logging
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

RAY_SETTINGS = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_raylet_start_wait_time_s": "240"}
"""Nothing is reported to anybody; and on a busy machine Ray takes long to start."""


@contextmanager
def ray_on_this_machine() -> Generator[Path]:
    """Two CPUs, nothing reported to anybody; the directory of its logs."""
    import ray  # takes seconds; most tests need none

    with pytest.MonkeyPatch.context() as patch:
        for name, value in RAY_SETTINGS.items():
            patch.setenv(name, value)
        patch.delenv("RAY_ADDRESS", raising=False)  # of a cluster that has ended, it hangs
        context = ray.init(
            address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR
        )
        try:
            yield Path(context.address_info["session_dir"])
        finally:
            ray.shutdown()


@pytest.fixture(scope="module")
def local_ray() -> Iterator[Path]:
    """A Ray for all tests of a module; the directory of its logs."""
    with ray_on_this_machine() as session:
        yield session
