"""accelerate with a torch `DataLoader`: the sampler gives the order of all processes, and accelerate shards it.

python examples/accelerate_loop.py data/cifar10/train.beton   # a second call goes on where the first one stopped
torchrun --nproc_per_node 2 examples/accelerate_loop.py data/cifar10/train.beton
"""

from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from jsonargparse import auto_cli
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from loaders import ImportanceTable, IndexScheduler, SchedulerSampler, open_dataset, scores


def main(data: str, out: Path = Path("runs/accelerate"), epochs: int = 3, batch_size: int = 128, save_every: int = 100):
    """Train; `batch_size` is of all processes together, and `save_every` counts batches."""
    accelerator = Accelerator(cpu=True)
    file = open_dataset(data)
    images = torch.tensor(np.stack([image for image, _ in file])).permute(0, 3, 1, 2)
    dataset = TensorDataset(torch.arange(len(file)), images, torch.tensor(file.labels))  # your own, with ids

    table = ImportanceTable(len(dataset), accelerator.device)
    order = IndexScheduler(len(dataset), "p-sgd", budget=0.3, batch_size=batch_size, seed=1)
    sampler = SchedulerSampler(order, table=table)  # no rank: accelerate gives each process its part
    model = nn.Sequential(nn.Flatten(), nn.Linear(images[0].numel(), 10))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    loader = DataLoader(dataset, batch_size // accelerator.num_processes, sampler=sampler, num_workers=2)
    model, optimizer, loader = accelerator.prepare(model, optimizer, loader)

    parts = {"table": table, "model": model, "optimizer": optimizer}
    first, done, state_file = 0, 0, out / "state.pt"
    if state_file.exists():
        state = torch.load(state_file, weights_only=True)
        first, done = state["epoch"], state["done"]
        for name, part in {"sampler": sampler, **parts}.items():
            part.load_state_dict(state[name])
        if not accelerator.is_main_process:
            table.clear_epoch()  # the main process has what all recorded of the running epoch
    out.mkdir(parents=True, exist_ok=True)

    for epoch in range(first, epochs):
        loader.set_epoch(epoch)
        # accelerate skips what is done: so the sampler is saved as it stood at the epoch's start.
        for ids, images, labels in accelerator.skip_first_batches(loader, done) if done else loader:
            logits = model(images / 255)
            accelerator.backward(F.cross_entropy(logits, labels))
            optimizer.step()
            optimizer.zero_grad()
            table.record(ids, scores(logits, labels))
            done += 1
            if done % save_every == 0:
                table.gather()
                state = {name: part.state_dict() for name, part in parts.items()}
                state |= {"epoch": epoch, "done": done, "sampler": sampler.state_dict(samples_done=0)}
                accelerator.save(state, state_file)
        done = 0


if __name__ == "__main__":
    auto_cli(main)
