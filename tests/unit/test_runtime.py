"""How long the operator waits between tries at the Kubernetes API."""

import pytest

from metronome_salesforce.kube import KubeError
from metronome_salesforce.runtime import next_back_off


@pytest.mark.parametrize(
    ("error", "longest"),
    [
        (KubeError(None, "nobody answers"), 8.0),
        (KubeError(503, "it starts"), 8.0),
        (KubeError(409, "changed meanwhile"), 8.0),
        (TimeoutError(), 8.0),
        (KubeError(403, "a right is missing"), 30.0),
        (KubeError(422, "refused"), 30.0),
    ],
    ids=str,
)
def test_it_is_soon_back_where_nobody_has_to_do_anything(error: Exception, longest: float) -> None:
    waits = [0.5]
    for _ in range(10):
        waits.append(next_back_off(waits[-1], error))

    assert waits[:4] == [0.5, 1.0, 2.0, 4.0]
    assert waits[-1] == longest
