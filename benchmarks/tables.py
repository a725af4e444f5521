"""README's tables, made from `benchmarks/results/*.json`: `python -m benchmarks.tables` prints them as Markdown."""

import json
from pathlib import Path

RESULTS = Path(__file__).parent / "results"


def table(header: list[str], rows: list[list[str]]) -> str:
    """A Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def scheduler() -> str:
    """Milliseconds to draw an epoch's order, by number of samples."""
    result = json.loads((RESULTS / "scheduler.json").read_text())
    sizes = list(result["times"])
    names = list(dict.fromkeys(name for rows in result["times"].values() for name in rows))

    def cell(size: str, name: str) -> str:
        row = result["times"][size].get(name)
        return f"{row['median_s'] * 1e3:,.2f}" if row else "not run"

    rows = [[name, *(cell(size, name) for size in sizes)] for name in names]
    return table(["draw 30 % of N, ms", *(f"N = {int(size):,}" for size in sizes)], rows)


def loaders() -> str:
    """Images per second of the loaders on a CPU."""
    result = json.loads((RESULTS / "loaders.json").read_text())["images_per_s"]
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
            f"{line['train_seconds']:,.0f} s",
            f"{line['flops'] / 1e12:,.0f} TFLOP",
            f"{line['images_per_second']:,.0f}",
            f"{line['data_fraction']:.2%}",
        ]
        for line in json.loads((RESULTS / "training.json").read_text())["budgets"]
    ]
    header = ["budget", "seeds", "one view", "with TTA", "training", "compute", "images/s", "waiting for data"]
    return table(header, rows)


def gpu() -> str:
    """Images per second of the loader on the GPU that the result names."""
    result = json.loads((RESULTS / "gpu.json").read_text())
    name = f"CIFAR-10, batch {result['batch']}, {result['environment']['gpu']}"
    return table([name, "images/s"], [[n, f"{row['images_per_s']:,.0f}"] for n, row in result["images_per_s"].items()])


if __name__ == "__main__":
    for each in (scheduler, loaders, gpu, training):
        print(each(), end="\n\n")
