"""What can be wrong outside the operator, all at once: each fault has its reason and sentence.

What takes longer, giving up and recovering, is looked at in `test_suite_recovery.py`, after other
tests: it comes by itself meanwhile.
"""

import pytest

from tests.e2e.suite import condition
from tests.e2e.suite_faults import NAMES, SLOW, Gallery, expect_told


@pytest.mark.parametrize("name", [name for name in NAMES if name != SLOW])
def test_each_fault_has_its_reason_and_says_what_to_do(gallery: Gallery, name: str) -> None:
    expect_told(gallery, name)
    gallery.mend(name)


def test_the_others_are_served_meanwhile(gallery: Gallery) -> None:
    status = gallery.space.wait_for_run(name="healthy")
    assert condition(status, "Ready") == ("True", "Succeeded")


def test_probes_answer_while_everything_is_broken(gallery: Gallery) -> None:
    operator = gallery.space.operator
    assert operator.probe("/healthz") == (200, "ok\n")
    assert operator.probe("/readyz") == (200, "ok\n")
