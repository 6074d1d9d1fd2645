"""`python -m tests.benchmarks [cycle|links]`: see `bench_cycle` (the default), `bench_links`."""

import sys

from tests.benchmarks import bench_cycle, bench_links

_MAINS = {"cycle": bench_cycle.main, "links": bench_links.main}

_name, *_rest = sys.argv[1:] or ["cycle"]
sys.exit(_MAINS[_name](_rest) if _name in _MAINS else bench_cycle.main(sys.argv[1:]))
