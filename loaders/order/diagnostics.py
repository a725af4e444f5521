"""How uneven the weights and the visits of a run are.

They distinguish "importance sampling does not help" from "importance sampling was not applied".
"""

import numpy as np


def describe_weights(weights: np.ndarray | None) -> dict[str, float]:
    """How far a policy's weights are from uniform.

    Args:
        weights: float [N], >= 0; None is equal weights, and so are zeros alone.

    Returns:
        `ess`: effective sample size (sum w)^2 / sum w^2 as a fraction of N, in (0, 1] (Kish 1965).
        `cv`: coefficient of variation of w.
        `tau`: sqrt(1 + cv^2), the largest factor by which importance sampling can lower the standard error if w is the
            norm of the gradients (after Katharopoulos and Fleuret, "Not all samples are created equal", ICML 2018,
            section 3.3). Below about 1.2 prefer uniform sampling.
        `top1_fraction`: fraction of the total weight that the heaviest 1 % of the samples hold (0.01 if uniform).

    Raises:
        ValueError: a weight is negative, infinite or NaN.
    """
    w = None if weights is None else np.asarray(weights, np.float64)
    if w is None or not w.any():
        return {"ess": 1.0, "cv": 0.0, "tau": 1.0, "top1_fraction": 0.01}
    if not (np.isfinite(w) & (w >= 0)).all():
        raise ValueError(f"weights must be finite and not negative, got {w.min()} to {w.max()}")
    w = w / w.max()  # so that no sum or square leaves the range of floating point
    mean = w.mean()
    cv2 = float(w.var() / mean**2)
    top = max(1, round(len(w) / 100))
    heaviest = float(np.partition(w, len(w) - top)[len(w) - top :].sum())
    return {"ess": 1 / (1 + cv2), "cv": cv2**0.5, "tau": (1 + cv2) ** 0.5, "top1_fraction": heaviest / float(w.sum())}


def describe_visits(visits: np.ndarray) -> dict[str, float]:
    """How evenly the samples were visited.

    Args:
        visits: float or int [N], the number of visits of each sample; those of mixed images may be fractions.

    Returns:
        `entropy`: of the distribution of the visits, in nats, at most log N (H(c) of Arazo et al., BMVC 2021).
        `entropy_deficit`: log N - entropy.
        `cv`: coefficient of variation of the visits.
        `distinct`: number of samples visited at all.
        `min`, `max`: of the visits.
    """
    v = np.asarray(visits, np.float64)
    p = v[v > 0] / max(float(v.sum()), 1e-300)
    entropy = float(-(p * np.log(p)).sum()) + 0.0  # no -0.0
    return {
        "entropy": entropy,
        "entropy_deficit": float(np.log(len(v))) - entropy,
        "cv": float(v.std() / v.mean()) if len(p) else 0.0,
        "distinct": len(p),
        "min": float(v.min()),
        "max": float(v.max()),
    }
