"""A network of your own: a function that returns it, given the number of classes.

A function that also has a parameter named `width` is given --width. The network takes images [B, 3, H, W], normalised,
and returns logits [B, num_classes]. Muon keeps convolution filters at norm one, which is right where a norm follows
each of them, as here; for other networks say `--optimizer sgd --lr 0.1`.

python -m training.run --budget 0.3 --model examples/own_model.py:plain_network
"""

import itertools

from torch import nn


def plain_network(num_classes: int, width: float = 1.0) -> nn.Module:
    """Three convolutions, each with norm and pooling; takes images of any size from 8 pixels on."""
    channels = [3, *(max(1, round(width * base)) for base in (32, 64, 128))]
    layers = []
    for before, after in itertools.pairwise(channels):
        layers += [
            nn.Conv2d(before, after, 3, padding=1, bias=False),
            nn.BatchNorm2d(after),
            nn.ReLU(),
            nn.MaxPool2d(2),
        ]
    return nn.Sequential(
        *layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.1), nn.Linear(channels[-1], num_classes)
    )
