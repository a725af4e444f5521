"""Numbers that tell "importance does not help" from "importance was not applied".

Pure functions of weights or of visit counts; NumPy only.
"""

import numpy as np


def describe_weights(weights: np.ndarray | None) -> dict[str, float]:
    """How far a policy's weights (float [N], >= 0; None is equal weights) are from uniform.

    Returns:
        `ess`: effective sample size (sum w)^2 / sum w^2, as a share of N, in (0, 1];
        `cv`: coefficient of variation of w;
        `tau`: sqrt(1 + cv^2), the largest factor by which importance sampling can lower the standard error if w is the
            gradients' norm (Katharopoulos and Fleuret 2018, simplified); below about 1.2 prefer uniform;
        `top1_fraction`: the share of all weight that the heaviest 1 % of the samples hold (0.01 when uniform).
    """
    if weights is None:
        return {"ess": 1.0, "cv": 0.0, "tau": 1.0, "top1_fraction": 0.01}
    w = np.asarray(weights, np.float64)
    mean = w.mean()
    if not mean > 0:
        raise ValueError(f"weights must have a positive, finite sum, got mean {mean}")
    cv2 = float(w.var() / mean**2)
    top = max(1, round(len(w) / 100))
    share = float(np.partition(w, len(w) - top)[len(w) - top :].sum() / w.sum())
    return {"ess": 1 / (1 + cv2), "cv": cv2**0.5, "tau": (1 + cv2) ** 0.5, "top1_fraction": share}


def describe_visits(visits: np.ndarray) -> dict[str, float]:
    """How evenly the samples were visited: counts or sums of shares, float or int [N].

    Returns:
        `entropy` in nats, at most log N (Arazo et al.'s H(c)); `entropy_deficit` log N - entropy; `cv` of the counts;
        `distinct`, the number of samples visited at all; `min` and `max` of the counts.
    """
    v = np.asarray(visits, np.float64)
    share = v[v > 0] / max(v.sum(), 1e-300)
    entropy = float(-(share * np.log(share)).sum()) + 0.0
    return {
        "entropy": entropy,
        "entropy_deficit": float(np.log(len(v))) - entropy,
        "cv": float(v.std() / v.mean()) if len(share) else 0.0,
        "distinct": len(share),
        "min": float(v.min()),
        "max": float(v.max()),
    }
