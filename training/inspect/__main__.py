import sys

from training.inspect.command import main

if __name__ == "__main__":
    sys.exit(main())
