"""`python -m memscan.scanner` is `memscan`."""

from memscan.scanner.cli import main

if __name__ == "__main__":
    main()
