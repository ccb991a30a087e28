"""`python -m perfteach`, and `torchrun -m perfteach` for several processes."""

import sys

from perfteach.cli import main

if __name__ == "__main__":
    sys.exit(main())
