"""JPEG images to batches of 224 x 224 on a CPU: Rebar beside FFCV, DALI, torch's DataLoader and SPDL.

    python -m benchmarks.jpeg --json benchmarks/results/jpeg.json

One repetition takes every image of a set once, in random order, and gives uint8 batches in host memory, on all cores:
random-resized-crop (boxes of 8 to 100 % of the area) and centre-crop. All take turns in one run. Beside them stands the
ceiling, Huffman decoding alone: of whole streams, and of the parts that Rebar's boxes need. The processor time per
image is told too, with that of worker processes, since it depends less on who else uses the machine.

Sets: synthetic images of 400 to 500 pixels, and textures of a game that apt-get downloads (`--sets synthetic` leaves
them out). They are kept in --folder.
"""

import argparse
import functools
import os
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks import jpeg_peers as peers
from benchmarks import jpeg_sets, measure
from loaders.engine import is_installed

NEEDS = {"FFCV": "ffcv", "DALI": "nvidia.dali", "DataLoader": "cv2", "SPDL": "spdl.pipeline", "Rebar, ffcv": "ffcv"}


def calls(folder: Path, crop: str, batch_size: int) -> dict[str, Callable[[], int]]:
    """What is measured over one set, by name; what is not installed is left out."""
    rows, plain, source = folder / "rows.beton", folder / "plain.beton", folder / "source"
    made = {
        "Rebar": functools.partial(peers.ours, rows, "native", crop, batch_size),
        "Rebar, no restart rows": functools.partial(peers.ours, plain, "native", crop, batch_size),
        "Rebar, ffcv": functools.partial(peers.ours, plain, "ffcv", crop, batch_size),
        "DataLoader": functools.partial(peers.data_loader, source, crop, batch_size),
        "SPDL": functools.partial(peers.spdl, source, crop, batch_size),
        "DALI": functools.partial(peers.dali, source, crop, batch_size),
        "FFCV": functools.partial(peers.ffcv, plain, crop, batch_size),
        "ceiling: entropy decoding": functools.partial(peers.entropy_decoding, plain, None),
        "ceiling: that of the parts": functools.partial(peers.entropy_decoding, rows, crop),
    }
    return {name: make() for name, make in made.items() if name not in NEEDS or is_installed(NEEDS[name])}


def processor_seconds() -> float:
    """User and system time of this process and of its children, those that run included."""
    total, tick, me = time.process_time(), os.sysconf("SC_CLK_TCK"), os.getpid()
    for process in Path("/proc").iterdir():
        if process.name.isdigit():
            try:
                fields = (process / "stat").read_text().rpartition(")")[2].split()
            except OSError:  # it has ended
                continue
            if int(fields[1]) == me:
                total += (int(fields[11]) + int(fields[12])) / tick
    return total


def compare(made: dict[str, Callable[[], int]], repeats: int) -> dict[str, dict[str, float]]:
    """Repetitions in turns: images per second (median), and milliseconds of processor time per image (least)."""
    counts, spent = {name: call() for name, call in made.items()}, {name: [] for name in made}

    def timed(name: str) -> None:
        before = processor_seconds()
        made[name]()
        spent[name].append(processor_seconds() - before)

    times = measure.interleave({name: functools.partial(timed, name) for name in made}, repeats)
    for name, summary in times.items():
        summary["images_per_s"] = counts[name] / summary["median_s"]
        summary["cpu_ms_per_image"] = 1000 * min(spent[name]) / counts[name]
    return times


def ratios(times: dict[str, dict[str, float]]) -> dict[str, dict[str, float]]:
    """How much faster Rebar is than each other: by the medians, and by processor time."""
    ours = times["Rebar"]
    return {
        name: {
            "by the clock": ours["images_per_s"] / other["images_per_s"],
            "by processor time": other["cpu_ms_per_image"] / ours["cpu_ms_per_image"],
        }
        for name, other in times.items()
        if name != "Rebar"
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--json", required=True)
    parser.add_argument("--folder", type=Path, default=Path("data/jpeg"), help="where the images are kept")
    parser.add_argument("--sets", nargs="+", default=["synthetic", "real"], choices=["synthetic", "real"])
    parser.add_argument("--crops", nargs="+", default=list(peers.CROPS), choices=list(peers.CROPS))
    parser.add_argument("--images", type=int, default=1000, help="in the synthetic set, when it is made")
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=7)
    arguments = parser.parse_args()
    result = {"environment": measure.environment(), "arguments": {**vars(arguments), "folder": None}, "sets": {}}
    for name in arguments.sets:
        folder = arguments.folder.resolve()
        folder = jpeg_sets.synthetic(folder, arguments.images) if name == "synthetic" else jpeg_sets.real(folder)
        files = sorted((folder / "source").iterdir())
        found = {"images": len(files), "bytes_per_image": sum(file.stat().st_size for file in files) // len(files)}
        for crop in arguments.crops:
            times = compare(calls(folder, crop, arguments.batch_size), arguments.repeats)
            found[crop] = {"times": times, "Rebar is times as fast as": ratios(times)}
            print(f"\n{name}, {len(files):,} images of {found['bytes_per_image']:,} bytes, {crop}")
            for which, summary in times.items():
                ratio = found[crop]["Rebar is times as fast as"].get(which, {}).get("by processor time", 1.0)
                print(
                    f"  {which:26} {summary['images_per_s']:8,.0f} images/s  {summary['cpu_ms_per_image']:6.3f} ms of "
                    f"processor per image, {ratio:5.2f} times Rebar's"
                )
        result["sets"][name] = found
    measure.write(arguments.json, result)


if __name__ == "__main__":
    main()
