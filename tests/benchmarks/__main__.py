"""`python -m tests.benchmarks`: see `bench_cycle`."""

import sys

from tests.benchmarks.bench_cycle import main

sys.exit(main(sys.argv[1:]))
