"""Each wire, against recorded and hand-written streams."""

import pytest

pytest.register_assert_rewrite("tests.providers.recordings")
