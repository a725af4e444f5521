"""Images of your own, in the loader alone: converted once, then in any order, with ids, as fast as memory allows.

The folder holds train/<class>/* and test/<class>/*. It is converted by

    python convert/folder.py IMAGES --root data/mine        (installed: rebar-convert folder IMAGES --root data/mine)

python examples/own_images.py data/mine
"""

from pathlib import Path

from jsonargparse import auto_cli

from rebar_loaders import Augment, EpochPlan, IndexScheduler, make_loader, open_dataset


def main(folder: Path) -> None:
    """Deliver two epochs of boxes at random places, then a list of ids; `folder` is a converted data set."""
    dataset = open_dataset(folder / "train.beton")
    print(f"{dataset.num_samples} images with labels {sorted(set(dataset.labels.tolist()))}")

    # Training: a random box of each image, at 64 x 64 pixels; half of the images an epoch, another half the next time.
    augment = Augment(random_resized_crop=(0.35, 1.0), resize=64, flip=True, mean=(0.5,) * 3, std=(0.25,) * 3)
    order = IndexScheduler(dataset.num_samples, budget=0.5, seed=1)
    loader = make_loader(folder / "train.beton", 16, augment=augment, scheduler=order)
    for epoch in range(2):
        seen = [image_id for batch in loader for image_id in batch.ids.tolist()]
        print(f"epoch {epoch}: {len(seen)} images, first ids {seen[:5]}")

    # A list of your own: these images, in this order, as tests see them.
    plain = make_loader(folder / "train.beton", 16, augment=Augment(resize=64, mean=augment.mean, std=augment.std))
    for images, labels, ids, _, _ in plain.epoch(EpochPlan([5, 3, 3, 0])):
        print(f"ids {ids.tolist()} are images {[*images.shape]} with labels {labels.tolist()}")


if __name__ == "__main__":
    auto_cli(main)
