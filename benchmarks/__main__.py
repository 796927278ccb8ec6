"""`python -m benchmarks NAME`: ratios measured in one run, and the machine's line."""

import sys
from importlib import import_module
from pathlib import Path

NAMES = sorted(
    file.stem for file in Path(__file__).parent.glob("[a-z]*.py") if file.stem not in ("machine", "photos")
)

if __name__ == "__main__":
    if len(sys.argv) < 2 or sys.argv[1] not in NAMES:
        print(f"usage: python -m benchmarks {{{','.join(NAMES)}}} [...]", file=sys.stderr)
        sys.exit(2)
    import_module(f"benchmarks.{sys.argv[1]}").main(sys.argv[2:])
