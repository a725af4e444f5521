"""transformers' Trainer: a sampler in place of its own, scores from its loss, both saved with its checkpoints.

python examples/hf_trainer.py data/cifar10/train.beton             # a second call goes on where the first one stopped
torchrun --nproc_per_node 2 examples/hf_trainer.py data/cifar10/train.beton
"""

from pathlib import Path

import numpy as np
import torch
from jsonargparse import auto_cli
from torch import nn
from torch.nn import functional as F
from torch.utils.data import StackDataset
from transformers import Trainer, TrainingArguments
from transformers.trainer_utils import get_last_checkpoint

from loaders import ImportanceTable, IndexScheduler, SchedulerSampler, open_dataset, scores


class ScoredTrainer(Trainer):
    """A Trainer that draws by the scores of what it trains on, and saves them with each checkpoint."""

    def _get_train_sampler(self, train_dataset=None):
        return self.sampler

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        logits = model(inputs["images"] / 255)
        self.table.record(inputs["ids"], scores(logits, inputs["labels"]))
        return F.cross_entropy(logits, inputs["labels"])

    def _save_checkpoint(self, model, trial):
        super()._save_checkpoint(model, trial)
        self.table.gather()  # to process 0, which saves
        # The Trainer skips what is done by itself: the order is saved from the epoch's start.
        state = {"sampler": self.sampler.state_dict(samples_done=0), "table": self.table.state_dict()}
        if self.is_world_process_zero():
            torch.save(state, Path(self.args.output_dir, f"checkpoint-{self.state.global_step}", "scores.pt"))


def main(data: str, out: Path = Path("runs/hf_trainer"), epochs: int = 3, batch_size: int = 128, save_every: int = 100):
    """Train; `batch_size` is of all processes together, and `save_every` counts batches."""
    options = {"remove_unused_columns": False, "dataloader_num_workers": 2, "report_to": "none", "use_cpu": True}
    options |= {"num_train_epochs": epochs, "save_steps": save_every, "learning_rate": 0.01, "optim": "sgd"}
    training = TrainingArguments(str(out), **options)
    training.per_device_train_batch_size = batch_size // training.world_size

    file = open_dataset(data)
    images = torch.tensor(np.stack([image for image, _ in file])).permute(0, 3, 1, 2)
    dataset = StackDataset(ids=range(len(file)), images=images, labels=file.labels)  # your own, with ids
    model = nn.Sequential(nn.Flatten(), nn.Linear(images[0].numel(), 10))
    trainer = ScoredTrainer(model, training, train_dataset=dataset)
    order = IndexScheduler(len(dataset), "p-sgd", budget=0.3, batch_size=batch_size, seed=1)
    trainer.table = table = ImportanceTable(len(dataset), training.device)
    trainer.sampler = SchedulerSampler(order, table=table)  # no rank: the Trainer gives each process its part

    last = get_last_checkpoint(str(out)) if out.exists() else None
    if last:
        state = torch.load(Path(last) / "scores.pt", weights_only=True)
        trainer.sampler.load_state_dict(state["sampler"])
        table.load_state_dict(state["table"])
        if training.process_index:
            table.clear_epoch()  # process 0 has what all recorded of the running epoch
    trainer.train(resume_from_checkpoint=last)


if __name__ == "__main__":
    auto_cli(main)
