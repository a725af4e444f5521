"""A `DataLoader` with our sampler in Lightning, which shards it; with `--twice`, the sampler does too."""

import sys

import torch
from lightning.pytorch import LightningModule, Trainer
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from loaders import ImportanceTable, IndexScheduler, SchedulerSampler, scores

devices, workers, batch_size, twice = int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), "--twice" in sys.argv
N = 400
table = ImportanceTable(N)


class Model(LightningModule):
    def __init__(self):
        super().__init__()
        self.layers = nn.Linear(3, 10)

    def training_step(self, batch, batch_idx):
        ids, images, labels = batch
        logits = self.layers(images)
        table.record(ids, scores(logits, labels))
        return F.cross_entropy(logits, labels)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


images = torch.randn(N, 3, generator=torch.Generator().manual_seed(0))
order = IndexScheduler(N, "p-sgd", budget=0.3, batch_size=batch_size, seed=1)
trainer = Trainer(accelerator="cpu", devices=devices, max_epochs=3, logger=False, enable_checkpointing=False)
place = (trainer.global_rank, devices) if twice else ()
sampler = SchedulerSampler(order, *place, table=table)
dataset = TensorDataset(torch.arange(N), images, torch.arange(N) % 10)
trainer.fit(Model(), DataLoader(dataset, batch_size // devices, sampler=sampler, num_workers=workers))
