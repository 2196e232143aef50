"""`python -m tests.fuzz [--cases N] [--seed S] [--kind K …]`."""

import sys

from tests.fuzz.run import main

sys.exit(main())
