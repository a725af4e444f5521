"""Images are encoded ahead on threads that the generator does not own."""

import threading

import numpy as np
import pytest
from PIL import Image

from convert.sources.folder.values import LabelledImage
from convert.sources.jpeg import encode_all, encoders
from loaders.formats.pixels.image_file import PixelRules


@pytest.fixture
def images(tmp_path):
    made = []
    for i in range(40):
        path = tmp_path / f"{i}.png"
        Image.fromarray(np.full((8, 8, 3), i, np.uint8)).save(path)
        made.append(LabelledImage(path.name, path.read_bytes, 0))
    return made


def test_streams_come_in_order(images):
    with encoders(3) as pool:
        streams = [image.stream for image in encode_all(pool, 4, images, 90, PixelRules())]
    assert [int(stream.histogram[0].argmax()) for stream in streams] == list(range(40))


def test_a_generator_that_is_dropped_waits_for_no_thread(images):
    """Whoever drops it may be the garbage collector, on any thread and inside any lock."""
    slow, go = threading.Event(), threading.Event()

    def read():
        slow.set()
        assert go.wait(30)
        return images[1].read()

    held = [images[0], *[image._replace(read=read) for image in images[1:5]], *images[5:]]
    with encoders(1) as pool:
        streams = encode_all(pool, 2, held, 90, PixelRules())
        next(streams)
        assert slow.wait(30)
        streams.close()  # returns although a thread waits
        assert not go.is_set()
        go.set()
