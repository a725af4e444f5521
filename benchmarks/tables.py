"""The tables of docs/benchmarks.md, from `benchmarks/results/*.json`: `python -m benchmarks.tables` prints them."""

import json
from collections.abc import Iterator
from pathlib import Path

RESULTS = Path(__file__).parent / "results"


def _read(name: str) -> dict:
    return json.loads((RESULTS / name).read_text())


def table(header: list[str], rows: list[list[str]]) -> str:
    """A Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def scheduler() -> str:
    """Milliseconds to draw an epoch's order, by number of samples."""
    result = _read("scheduler.json")
    sizes = list(result["times"])
    names = list(dict.fromkeys(name for rows in result["times"].values() for name in rows))

    def cell(size: str, name: str) -> str:
        row = result["times"][size].get(name)
        return f"{row['median_s'] * 1e3:,.2f}" if row else "not run"

    rows = [[name, *(cell(size, name) for size in sizes)] for name in names]
    return table(["draw 30 % of N, ms", *(f"N = {int(size):,}" for size in sizes)], rows)


def loaders() -> str:
    """Images per second of the loaders on a CPU."""
    result = _read("loaders.json")["images_per_s"]
    names = list(dict.fromkeys(name for rows in result.values() for name in rows))

    def cell(work: str, name: str) -> str:
        row = result[work].get(name)
        return f"{row['images_per_s']:,.0f}" if row else ""

    return table(["CIFAR-10, batch 512, images/s", *result], [[n, *(cell(work, n) for work in result)] for n in names])


def training() -> str:
    """Accuracy against budget: means over the seeds, with the half width of the 95 % interval."""

    def accuracy(line: dict) -> str:
        half = line["half_width_95"]
        return f"{100 * line['mean']:.2f} %" + ("" if half is None else f" ± {100 * half:.2f}")

    rows = [
        [
            f"{line['budget']:g}",
            f"{line['n']}",
            accuracy(line["test_accuracy"]),
            accuracy(line["test_accuracy_tta"]),
            f"{line['samples']:,.0f}",
            f"{line['flops'] / 1e12:,.0f} TFLOP",
        ]
        for line in _read("training.json")["budgets"]
    ]
    return table(["budget", "seeds", "one view", "with TTA", "samples", "compute"], rows)


def training_speed() -> str:
    """Images per second of the default training, and the seconds that the budgets of `training` take at that speed."""
    result, lines = _read("training_speed.json"), _read("training.json")["budgets"]
    rows = [
        [name, f"{row['images_per_s']:,.0f}", *(f"{line['samples'] / row['images_per_s']:,.0f} s" for line in lines)]
        for name, row in result["images_per_s"].items()
    ]
    where = f"{result['environment']['processor']}, {result['threads']} cores"
    return table([where, "images/s", *(f"budget {line['budget']:g}" for line in lines)], rows)


def writer() -> str:
    """Milliseconds of CPU time to write a `.beton`."""
    result = _read("writer.json")["cpu_s"]
    names = list(dict.fromkeys(name for rows in result.values() for name in rows))
    rows = [[n, *(f"{row[n] * 1e3:,.0f}" if n in row else "" for row in result.values())] for n in names]
    return table(["write a `.beton`, ms of CPU time", *result], rows)


def jpeg() -> str:
    """Milliseconds of processor time per image from JPEG; in brackets how many times Rebar's."""
    result = _read("jpeg.json")["sets"]
    columns = {f"{kind}, {crop}": found[crop] for kind, found in result.items() for crop in found if "crop" in crop}
    names = list(dict.fromkeys(name for column in columns.values() for name in column["times"]))

    def cell(column: dict, name: str) -> str:
        ratio = column["Rebar is times as fast as"].get(name, {}).get("by processor time", 1)
        is_peer = name != "Rebar" and not name.startswith("ceiling")
        return f"{column['times'][name]['cpu_ms_per_image']:.2f}" + (f" ({ratio:.1f})" if is_peer else "")

    rows = [[name, *(cell(column, name) for column in columns.values())] for name in names]
    return table(["ms of processor per image", *columns], rows)


def gpu() -> str:
    """What was measured on the GPU that the result names."""
    result = _read("gpu.json")
    if "parts" in result:
        return gpu_parts(result)
    name = f"CIFAR-10, batch {result['batch']}, {result['environment']['gpu']}"
    return table([name, "images/s"], [[n, f"{row['images_per_s']:,.0f}"] for n, row in result["images_per_s"].items()])


def gpu_parts(result: dict) -> str:
    """A table of each part of `benchmarks.gpu`."""
    where, tables = result["environment"]["gpu"] or "a trial on a CPU", []
    for name, part in result["parts"].items():
        rows = [[path, value] for path, value in _leaves(part["rows"])]
        if "failed" in part:
            rows.append(["**failed**", part["failed"]])
        tables.append(table([f"{name}, {where}", f"in {part['seconds']:.0f} s"], rows))
    return "\n\n".join(tables)


def _leaves(value: object, path: str = "") -> Iterator[tuple[str, str]]:
    """Every row of a nested result: its path, and its numbers in one cell."""
    if not isinstance(value, dict):
        yield path, _cell(value)
        return
    cells = {key: each for key, each in value.items() if not isinstance(each, dict)}
    if path and cells:
        yield path, ", ".join(f"{key.replace('_', ' ')} {_cell(each)}" for key, each in cells.items())
    for key, each in value.items():
        if isinstance(each, dict) or not path:
            yield from _leaves(each, f"{path}: {key}" if path else key)


def _cell(value: object) -> str:
    """A number with as many digits as it needs; of a list of results only how many there are."""
    if isinstance(value, list):
        return (
            f"{len(value)}" if any(isinstance(each, dict) for each in value) else " ".join(map(_cell, value)) or "none"
        )
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
    return f"{value:,}" if isinstance(value, int) else f"{value}".replace("|", "/")


if __name__ == "__main__":
    for each in (scheduler, writer, loaders, jpeg, gpu, training, training_speed):
        print(each(), end="\n\n")
