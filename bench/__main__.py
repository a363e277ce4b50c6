"""``python -m bench`` is ``ntbench``."""

from bench.cli import main

if __name__ == "__main__":
    main()
