"""What ``python -m benchmarks.table1`` runs."""

from .cli import main

if __name__ == "__main__":
    main()
