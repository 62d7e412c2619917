"""`python -m optrun.cli` is `optrun`."""

from . import main

if __name__ == "__main__":
    main()
