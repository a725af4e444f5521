"""The form in which raw images reach the writers: uint8 [N, H, W, 3], or [N, H, W, 1], with one integer label each."""

import numpy as np

Arrays = tuple[np.ndarray, np.ndarray]  # images uint8 [N, H, W, C], labels integers [N]


def check_arrays(images_NHWC: np.ndarray, labels_N: np.ndarray) -> Arrays:
    """Return both as arrays, after checking their shapes and dtypes.

    Raises:
        ValueError: images are not uint8 [N >= 1, H, W, 3] or [N >= 1, H, W, 1], or labels are not integers [N].
    """
    images_NHWC, labels_N = np.asarray(images_NHWC), np.asarray(labels_N)
    if (
        images_NHWC.ndim != 4
        or images_NHWC.shape[3] not in (1, 3)
        or images_NHWC.dtype != np.uint8
        or len(images_NHWC) == 0
    ):
        found = f"{images_NHWC.dtype} {list(images_NHWC.shape)}"
        raise ValueError(f"images are {found}, needed: uint8 [N >= 1, H, W, 3] or [N >= 1, H, W, 1]")
    if labels_N.shape != images_NHWC.shape[:1] or labels_N.dtype.kind not in "iu":
        raise ValueError(
            f"labels are {labels_N.dtype} {list(labels_N.shape)}, needed: integers [{len(images_NHWC)}], one per image"
        )
    return images_NHWC, labels_N


def check_labels(labels_N: np.ndarray, num_classes: int, split: str) -> None:
    """Refuse labels that name no class.

    Raises:
        ValueError: a label is negative, or `num_classes` or more.
    """
    labels_N = np.asarray(labels_N)
    if len(labels_N) and (labels_N.min() < 0 or labels_N.max() >= num_classes):
        raise ValueError(
            f"the labels of {split} are {labels_N.min()} to {labels_N.max()}, allowed: 0 to {num_classes - 1}, "
            f"since there are {num_classes:,} classes"
        )
