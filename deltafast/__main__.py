"""`python -m deltafast`: the command line, as torchrun starts it."""

from deltafast.cli import main

if __name__ == "__main__":
    main()
