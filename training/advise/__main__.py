"""Recommend an augmentation and a method for a budget, from short pilots on one's own data."""

import sys

from training.advise.command import main

if __name__ == "__main__":
    sys.exit(main())
