"""unif-SGD: a uniform draw, made anew in each epoch."""

from training.methods.base import Context, DesignOption, Method


class Uniform(Method):
    """Every sample is equally likely, in each epoch anew (unif-SGD of Arazo et al., section 3)."""

    Options = DesignOption

    def __init__(self, options: DesignOption, context: Context):
        super().__init__(context.scheduler(design=options.design))
