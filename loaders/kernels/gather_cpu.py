"""Compiled CPU kernel that copies images of a file into the rows of a buffer."""

from ..compiled import compiled


@compiled(nogil=True)
def gather_block(first, last, data, offsets, sizes, ids, out):
    """Copy images ids[first] to ids[last - 1].

    Args:
        data: uint8, the bytes of all images.
        offsets, sizes: int64 [N], of each image in `data`.
        ids: int64 [B].
        out: uint8 [B, at least the largest size]; what is behind an image in its row stays as it was.
    """
    for i in range(first, last):
        start, size = offsets[ids[i]], sizes[ids[i]]
        out[i, :size] = data[start : start + size]
