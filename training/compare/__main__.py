import sys

from training.compare.command import main

if __name__ == "__main__":
    sys.exit(main())
