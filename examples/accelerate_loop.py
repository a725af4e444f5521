"""accelerate with a torch `DataLoader`: the sampler gives the order of all processes, and accelerate shards it.

python examples/accelerate_loop.py data/cifar10/train.beton   # a second call goes on where the first one stopped
torchrun --nproc_per_node 2 examples/accelerate_loop.py data/cifar10/train.beton
"""

import argparse
from pathlib import Path

import torch
from accelerate import Accelerator
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset

from loaders import ImportanceTable, IndexScheduler, SchedulerSampler, open_dataset, scores

parser = argparse.ArgumentParser()
parser.add_argument("data")
parser.add_argument("--out", type=Path, default=Path("runs/accelerate"))
parser.add_argument("--epochs", type=int, default=3)
parser.add_argument("--batch_size", type=int, default=128, help="of all processes together")
parser.add_argument("--save_every", type=int, default=100, help="batches")
args = parser.parse_args()


class Images(Dataset):
    """(id, image, label) of each sample: your own data set, as long as it says which sample is which."""

    def __init__(self, path):
        self.file = open_dataset(path)

    def __len__(self):
        return len(self.file)

    def __getitem__(self, i):
        image, label = self.file[i]
        return i, torch.tensor(image).permute(2, 0, 1) / 255, label


accelerator = Accelerator(cpu=True)
dataset = Images(args.data)
table = ImportanceTable(len(dataset), accelerator.device)
order = IndexScheduler(len(dataset), "p-sgd", budget=0.3, batch_size=args.batch_size, seed=1)
sampler = SchedulerSampler(order, table=table)  # no rank: accelerate gives each process its part
model = nn.Sequential(nn.Flatten(), nn.Linear(dataset[0][1].numel(), 10))
optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
loader = DataLoader(dataset, args.batch_size // accelerator.num_processes, sampler=sampler, num_workers=2)
model, optimizer, loader = accelerator.prepare(model, optimizer, loader)

first, done, state_file = 0, 0, args.out / "state.pt"
if state_file.exists():
    state = torch.load(state_file, weights_only=True)
    first, done = state["epoch"], state["done"]
    for name, part in {"sampler": sampler, "table": table, "model": model, "optimizer": optimizer}.items():
        part.load_state_dict(state[name])
    if not accelerator.is_main_process:
        table.clear_epoch()  # the main process has what all recorded of the running epoch

for epoch in range(first, args.epochs):
    loader.set_epoch(epoch)
    rest = accelerator.skip_first_batches(loader, done) if done else loader
    for ids, images, labels in rest:
        logits = model(images)
        accelerator.backward(F.cross_entropy(logits, labels))
        optimizer.step()
        optimizer.zero_grad()
        table.record(ids, scores(logits, labels))
        done += 1
        if done % args.save_every == 0:
            table.gather()
            state = {"epoch": epoch, "done": done, "sampler": sampler.state_dict(samples_done=0)}  # accelerate skips
            state |= {"table": table.state_dict(), "model": model.state_dict(), "optimizer": optimizer.state_dict()}
            args.out.mkdir(parents=True, exist_ok=True)
            accelerator.save(state, state_file)
    done = 0
