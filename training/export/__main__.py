import sys

from training.export.command import main

if __name__ == "__main__":
    sys.exit(main())
