"""scan-SGD: one shuffled pass over all samples after another, cut into epochs of the budget's size."""

from training.methods.base import Context, Method, NoOptions


class Scan(Method):
    """Whole shuffled passes, one after another: visits differ by at most one at any time."""

    def __init__(self, options: NoOptions, context: Context):
        super().__init__(context.scheduler(design="scan"))
