"""`python -m tests.fuzz --inputs 100000`: how every parser takes damaged files. Exit status 1 where one does not."""

import argparse
import sys
import time
from collections import Counter

from tests.fuzz.fuzz import Tally, fuzz


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--inputs", type=int, default=100_000, help="over all parsers")
    parser.add_argument("--first", type=int, default=1, help="number of each parser's first input")
    parser.add_argument("--only", default="", help="a part of the parsers' names")
    parser.add_argument("--seconds", type=float, default=60.0, help="after which an input counts as a hang")
    options = parser.parse_args()
    began, shown = time.monotonic(), [0]

    def told(tally: Tally) -> None:
        for finding in tally.findings[shown[0] :]:
            print(f"{finding.kind}: {finding.parser}, input {finding.number}: {finding.what}", flush=True)
        shown[0] = len(tally.findings)
        if tally.inputs % 1000 == 0:
            seconds = time.monotonic() - began
            print(f"{tally.inputs:,} inputs, {tally.read:,} read, {shown[0]} findings, {seconds:,.0f} s", flush=True)

    tally = fuzz(options.inputs, options.first, options.only, options.seconds, told)
    kinds = Counter(finding.kind for finding in tally.findings)
    found = ", ".join(f"{kinds[kind]} {kind}" for kind in ("crash", "hang", "escape", "sentence", "memory"))
    print(
        f"{tally.inputs:,} inputs over all parsers: {tally.read:,} read, {tally.inputs - tally.read:,} refused; {found}"
    )
    return bool(tally.findings)


if __name__ == "__main__":
    sys.exit(main())
