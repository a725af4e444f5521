"""Lightning with Rebar's loader: Lightning iterates it as it is, and saves and loads its position.

python examples/lightning_module.py data/cifar10/train.beton   # a second call goes on where the first one stopped
python examples/lightning_module.py data/cifar10/train.beton --devices 2
"""

from pathlib import Path

import torch
from jsonargparse import auto_cli
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import nn
from torch.nn import functional as F

from loaders import Augment, ImportanceTable, IndexScheduler, make_loader, open_dataset, scores


class Model(LightningModule):
    """A linear model that records the scores of what it trains on, and saves them with its weights."""

    def __init__(self, table: ImportanceTable, num_inputs: int):
        super().__init__()
        self.table, self.layers = table, nn.Sequential(nn.Flatten(), nn.Linear(num_inputs, 10))

    def training_step(self, batch, batch_idx):
        logits = self.layers(batch.images)
        self.table.record(batch.ids, scores(logits, batch.labels))
        return F.cross_entropy(logits, batch.labels)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.01, momentum=0.9)

    def on_save_checkpoint(self, checkpoint):
        self.table.gather()  # to rank 0, which saves
        checkpoint["table"] = self.table.state_dict()

    def on_load_checkpoint(self, checkpoint):
        self.table.load_state_dict(checkpoint["table"])
        if self.trainer.global_rank:
            self.table.clear_epoch()


def main(data: str, out: Path = Path("runs/lightning"), epochs: int = 3, batch_size: int = 128,
         save_every: int = 100, devices: int = 1):  # fmt: skip
    """Train; `batch_size` is of all devices together, and `save_every` counts batches."""
    dataset = open_dataset(data)
    table = ImportanceTable(len(dataset))
    order = IndexScheduler(len(dataset), "p-sgd", budget=0.3, batch_size=batch_size, seed=1)
    augment = Augment(crop_padding=4, flip=True, mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25))
    loader = make_loader(data, batch_size // devices, augment=augment, scheduler=order, table=table)
    save = ModelCheckpoint(out, "state", every_n_train_steps=save_every, enable_version_counter=False)
    trainer = Trainer(accelerator="cpu", devices=devices, max_epochs=epochs, callbacks=[save], default_root_dir=out)
    state = out / "state.ckpt"
    model = Model(table, dataset[0][0].size)
    trainer.fit(model, loader, ckpt_path=state if state.exists() else None, weights_only=True)


if __name__ == "__main__":
    auto_cli(main)
