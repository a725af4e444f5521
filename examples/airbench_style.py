"""A speedrun's loop, with this loader in the place of its own: batches ready on the device, in the network's precision.

Such scripts keep CIFAR-10 in the GPU's memory and loop over `(inputs, labels)`. So does `make_loader`: on a GPU one
kernel draws, crops, flips and normalises each batch, and the same line runs on a CPU. A budget is one argument.

python examples/airbench_style.py data/cifar10 --budget 0.5
"""

import time

import torch
import torch.nn.functional as F
from jsonargparse import auto_cli
from torch import nn

from rebar_loaders import Augment, IndexScheduler, make_loader, open_dataset

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
DTYPE = torch.float16 if DEVICE == "cuda" else torch.float32
STATISTICS = {"mean": (0.4914, 0.4822, 0.4465), "std": (0.2470, 0.2435, 0.2616)}


def main(folder: str, budget: float = 1.0, epochs: int = 4, batch_size: int = 100) -> None:
    """Train on the fraction `budget` of the images in each epoch, then test; `folder` is a converted data set."""
    order = IndexScheduler(open_dataset(f"{folder}/train.beton").num_samples, budget=budget, batch_size=batch_size)
    augment = Augment(crop_padding=2, pad_mode="reflect", flip="alternating", **STATISTICS)
    options = {"device": DEVICE, "dtype": DTYPE}
    train = make_loader(f"{folder}/train.beton", batch_size, augment=augment, scheduler=order, **options)
    test = make_loader(f"{folder}/test.beton", batch_size, augment=Augment(**STATISTICS), sequential=True, **options)

    torch.manual_seed(0)
    layers = []
    for before, after in ((3, 64), (64, 128), (128, 256)):
        layers += [nn.Conv2d(before, after, 3, padding=1), nn.MaxPool2d(2), nn.BatchNorm2d(after), nn.GELU()]
    model = nn.Sequential(*layers, nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(256, 10))
    model = model.to(DEVICE, DTYPE, memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.85, nesterov=True, weight_decay=5e-4)
    start = time.perf_counter()
    for _ in range(epochs):
        for inputs, labels, *_ in train:
            loss = F.cross_entropy(model(inputs), labels, label_smoothing=0.2)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
    model.eval()
    with torch.inference_mode():
        hits = torch.cat([model(inputs).argmax(1) == labels for inputs, labels, *_ in test])
    print(f"accuracy {hits.float().mean():.4f} after {time.perf_counter() - start:.1f} s")


if __name__ == "__main__":
    auto_cli(main)
