import sys

from training.coreset.command import main

if __name__ == "__main__":
    sys.exit(main())
