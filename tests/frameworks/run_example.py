"""Run an example as it stands, and write down what its table is given; end like a kill at a chosen batch.

python run_example.py LOG STOP PROGRAM ARGUMENTS...     STOP is the batch that is not recorded any more; 0 is none
"""

import json
import os
import runpy
import sys
from pathlib import Path

import torch

from loaders import ImportanceTable


def main(log: str, stop: str, program: str, *arguments: str) -> None:
    path, real, num = Path(log), ImportanceTable.record, 0

    def record(table, ids, scores, shares=None):
        nonlocal num
        num += 1
        if num == int(stop):
            os._exit(0)
        with path.open("a") as file:
            file.write(json.dumps([ids.tolist(), scores.error.tolist()]) + "\n")
        real(table, ids, scores, shares)

    ImportanceTable.record = record
    torch.manual_seed(0)  # noqa: TID251 - the examples leave their first weights to chance, and are compared here
    sys.argv = [program, *arguments]
    runpy.run_path(program, run_name="__main__")


if __name__ == "__main__":
    main(*sys.argv[1:])
