"""Cut out of the JPEG streams of a batch the parts that their boxes need, where restart markers divide the rows.

A decoder is given fewer bytes, and makes fewer pixels. What is cut out is an ordinary stream, whose pixels are those of
the whole image (`loaders.formats.jpeg.cut`).
"""

from typing import NamedTuple

import numpy as np

from ..compiled import compiled
from ..formats.dataset import DatasetFile
from ..formats.image_header import frame_header, jpeg_size
from ..formats.jpeg.cut import WHOLE, Cut, cut_box
from ..formats.jpeg.header import EOI, read_scan

OTHER = -2  # `Cut.size` of a stream that has neither one nor three colours, or not the recorded size


class Parts(NamedTuple):
    """The streams of a batch.

    Attributes:
        streams: uint8 [n], for each image: a part, or the stored bytes where nothing could be left out.
        boxes: int64 [B, 4], top, left, height and width of each box in the image of its stream.
        plain: bool [B], the JPEG streams that any decoder knows: sequential, of one or three colours, in one scan, of
            the recorded size, with the markers of its rows in their order, and with its end.
    """

    streams: list[np.ndarray]
    boxes: np.ndarray
    plain: np.ndarray


def cut_parts(dataset: DatasetFile, ids: np.ndarray, boxes: np.ndarray) -> Parts:
    """Cut out of each image what its box needs, in memory of its own.

    Args:
        ids: int64 [B].
        boxes: int64 [B, 4], top, left, height, width, inside the image.
    """
    stored = dataset.data, dataset.offsets, dataset.sizes, dataset.heights, dataset.widths, dataset.is_jpeg
    space, ends = np.empty(int(dataset.sizes[ids].sum()), np.uint8), np.zeros(len(ids) + 1, np.int64)
    moved, plain = np.array(boxes, np.int64, order="C"), np.zeros(len(ids), np.bool_)
    _cut_all(*stored, ids, moved, plain, space, ends)
    whole = np.diff(ends) == 0
    streams = [
        dataset.bytes(sample) if whole[i] else space[ends[i] : ends[i + 1]] for i, sample in enumerate(ids.tolist())
    ]
    return Parts(streams, moved, plain)


@compiled(nogil=True)
def _cut_all(data, offsets, sizes, heights, widths, is_jpeg, ids, boxes, plain, space, ends):
    """Write the parts one behind the other, part i to space[ends[i]:ends[i + 1]], empty where an image stays whole."""
    for i in range(len(ids)):
        ends[i + 1] = ends[i]
        if not is_jpeg[ids[i]]:
            continue
        top, left, bottom, right = boxes[i, 0], boxes[i, 1], boxes[i, 0] + boxes[i, 2], boxes[i, 1] + boxes[i, 3]
        cut = cut_part(data, offsets, sizes, heights, widths, ids[i], top, left, bottom, right, space[ends[i] :])
        stream = data[offsets[ids[i]] : offsets[ids[i]] + sizes[ids[i]]]
        plain[i] = cut.size >= WHOLE and read_scan(stream).height > 0 and stream[-2] == 0xFF and stream[-1] == EOI
        if cut.size > 0:
            ends[i + 1] += cut.size
            boxes[i, 0] -= cut.top
            boxes[i, 1] -= cut.left


@compiled(nogil=True)
def cut_part(data, offsets, sizes, heights, widths, sample, top, left, bottom, right, out):
    """`cut_box` of a stored JPEG; `Cut.size` is `OTHER` where that is not of the recorded size or of another form."""
    stream = data[offsets[sample] : offsets[sample] + sizes[sample]]
    height, width = heights[sample], widths[sample]
    at = frame_header(stream)
    if at == 0 or jpeg_size(stream) != (height, width) or (stream[at + 5] != 1 and stream[at + 5] != 3):
        return Cut(OTHER, 0, 0, 0, 0)
    cut = cut_box(stream, top, left, bottom, right, out)
    return Cut(WHOLE, 0, 0, height, width) if cut.size == WHOLE else cut
