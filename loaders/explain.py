"""`python -m loaders.explain PATH`: why is this loader slow, and what one thing would make it faster?

It measures some batches of a data set as the options describe them, stage by stage. In a program that trains,
`print(loader.explain())` also tells how long the loop waited for its batches.
"""

import argparse
import sys

from .augment.config import Augment
from .backends.batching import DTYPES
from .engine import BACKENDS
from .loader import make_loader

_DTYPES = {str(dtype).removeprefix("torch."): dtype for dtype in DTYPES}


def main(arguments: list[str] | None = None) -> int:
    """Run the command; the exit status is 1 after an error, which is one sentence."""
    parser = argparse.ArgumentParser(prog="python -m loaders.explain", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("path", help="a .beton, or a .tar with its .idx")
    parser.add_argument("--batch-size", type=int, default=256)
    parser.add_argument("--resize", type=int, default=0, help="pixels of the square that images become; 0 keeps them")
    parser.add_argument("--center", action="store_true", help="a centred square, in place of random-resized-crop")
    parser.add_argument("--dtype", choices=list(_DTYPES), default="float32")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--backend", choices=["auto", *BACKENDS], default="auto")
    parser.add_argument("--threads", type=int, default=None)
    options = parser.parse_args(arguments)
    fraction = (0.08, 1.0) if options.resize and not options.center else None
    try:
        augment = Augment(resize=options.resize, random_resized_crop=fraction, flip=True)
        loader = make_loader(
            options.path,
            options.batch_size,
            backend=options.backend,
            device=options.device,
            dtype=_DTYPES[options.dtype],
            augment=augment,
            num_threads=options.threads,
        )
        print(loader.explain())
    except (ImportError, OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
