"""Draws anti-aliased shapes over textured backgrounds, many images at a time.

Only + - * / sqrt and comparisons in float32 are used, which IEEE 754 rounds alike on every machine. There is no sine
and no matrix product, so the bytes are the same everywhere. A shape is a signed distance in its own frame, negative
inside, of about unit radius (Quilez, "2D distance functions"). Far from the edge the distance need not be exact.
"""

from collections.abc import Callable

import numpy as np

SIZE = 32
NUM_DRAWS = 63  # columns of `uniform_NK` that `draw` may use


def _length(x: np.ndarray | float, y: np.ndarray) -> np.ndarray:
    return np.sqrt(x * x + y * y)


def _box(x: np.ndarray, y: np.ndarray, half_width: float, half_height: float) -> np.ndarray:
    return np.maximum(np.abs(x) - half_width, np.abs(y) - half_height)


def _triangle(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    half_root = 0.8660254
    return np.maximum(np.maximum(half_root * x - 0.5 * y, -half_root * x - 0.5 * y), y) - 0.45


def _star(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """A star of five points: mirror the plane into one tenth of a turn, then take one straight edge."""
    x = np.abs(x)
    for normal_x, normal_y in ((0.809017, -0.587785), (-0.809017, -0.587785)):
        behind = 2.0 * np.maximum(normal_x * x + normal_y * y, 0.0)
        x, y = x - behind * normal_x, y - behind * normal_y
    x, y = np.abs(x), y - 1.0
    return x * 0.904 + y * 0.428  # the edge from the tip (0, 1), steep enough for an inner radius near 0.45


SHAPES: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "disc": lambda x, y: _length(x, y) - 0.85,
    "ring": lambda x, y: np.abs(_length(x, y) - 0.72) - 0.2,
    "square": lambda x, y: _box(x, y, 0.75, 0.75),
    "frame": lambda x, y: np.abs(_box(x, y, 0.65, 0.65)) - 0.17,
    "triangle": _triangle,
    "star": _star,
    "cross": lambda x, y: np.minimum(_box(x, y, 0.9, 0.27), _box(x, y, 0.27, 0.9)),
    "crescent": lambda x, y: np.maximum(_length(x, y) - 0.9, 0.75 - _length(x - 0.45, y)),
    "bar": lambda x, y: _box(x, y, 0.95, 0.28),
    "ell": lambda x, y: np.minimum(_box(x + 0.5, y, 0.25, 0.85), _box(x, y - 0.6, 0.75, 0.25)),
}


def draw(labels_N: np.ndarray, uniform_NK: np.ndarray, grain_NHW8: np.ndarray) -> np.ndarray:
    """Draw one shape per label, over a background with distracting blobs.

    Args:
        labels_N: integers [N], positions in SHAPES.
        uniform_NK: float32 [N, K] in [0, 1), K at least NUM_DRAWS: places, sizes and colours.
        grain_NHW8: uint8 [N, 32, 32, 8], uniform bytes: the noise.

    Returns:
        Images uint8 [N, 32, 32, 3].
    """
    columns = iter(uniform_NK.T[:, :, None, None])  # each [N, 1, 1]

    def between(low: float, high: float) -> np.ndarray:
        return low + (high - low) * next(columns)

    def colour() -> np.ndarray:
        return np.stack([between(0.0, 1.0) for _ in range(3)], axis=-1)  # [N, 1, 1, 3]

    def direction() -> tuple[np.ndarray, np.ndarray]:
        x, y = between(-1.0, 1.0), between(-1.0, 1.0)  # a point of the square, pushed out to the circle
        length = _length(x, y) + np.float32(1e-6)
        return x / length, y / length

    axis = np.arange(SIZE, dtype=np.float32) - np.float32((SIZE - 1) / 2)
    x, y = axis, axis[:, None]

    # Background: from one colour towards another along one direction, with stripes along a second.
    ground, far = colour(), colour()
    (ramp_x, ramp_y), (wave_x, wave_y) = direction(), direction()
    ramp = (x * ramp_x + y * ramp_y) / SIZE + 0.5
    phase = (x * wave_x + y * wave_y) / between(3.0, 14.0) + between(0.0, 1.0)
    stripes = np.abs(phase - np.floor(phase) - 0.5) - 0.25
    fraction = 0.5 * ramp + between(0.0, 0.6) * stripes
    image = ground + (far - ground) * fraction[..., None]

    for _ in range(2):  # distracting blobs, behind the shape
        blob = _length(x - between(-15.0, 15.0), y - between(-15.0, 15.0)) - between(1.0, 4.0)
        image = _over(image, blob, colour())

    # The shape, in a colour that is a step of drawn length away from the middle of the background.
    scale, slope = between(6.0, 12.0), between(-0.7, 0.7)  # a slope of 0.7 is a turn of 35 degrees
    turn_x, turn_y = 1.0 / _length(1.0, slope), slope / _length(1.0, slope)
    dx, dy = (x - between(-5.0, 5.0)) / scale, (y - between(-5.0, 5.0)) / scale
    u, v = dx * turn_x + dy * turn_y, dy * turn_x - dx * turn_y
    distance = np.empty(u.shape, np.float32)
    for label, shape in enumerate(SHAPES.values()):
        rows = labels_N == label
        distance[rows] = shape(u[rows], v[rows])
    middle, step = ground + (far - ground) * 0.25, between(0.25, 0.75)[..., None]
    tint = colour() - 0.5
    tint = tint * (step / (np.abs(tint).max(axis=-1, keepdims=True) + np.float32(0.02)))
    tint = np.where((middle + tint > 1.0) | (middle + tint < 0.0), -tint, tint)
    shade = 1.0 + between(-0.35, 0.35) * u
    image = _over(image, distance * scale, middle + tint * shade[..., None])

    # In front of it a thin line; over all, noise and exposure.
    line_x, line_y = direction()
    image = _over(image, np.abs(x * line_x + y * line_y - between(-14.0, 14.0)) - 0.5, colour())
    level = between(0.02, 0.12)[..., None]
    noise = (grain_NHW8[..., 0:3].astype(np.float32) + grain_NHW8[..., 3:6].astype(np.float32)) / 255.0 - 1.0
    image = (image + level * noise - 0.5) * between(0.7, 1.1)[..., None] + 0.5 + between(-0.1, 0.1)[..., None]
    return (np.clip(image, 0.0, 1.0) * 255.0 + 0.5).astype(np.uint8)


def _over(image_NHWC: np.ndarray, distance_NHW: np.ndarray, colour_NHWC: np.ndarray) -> np.ndarray:
    """Lay a colour over the image where the distance (in pixels) is negative, with edges one pixel soft."""
    coverage = np.clip(0.5 - distance_NHW, 0.0, 1.0)[..., None]
    return image_NHWC + (colour_NHWC - image_NHWC) * coverage
