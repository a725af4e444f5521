"""Which labels are likely wrong: images that may well be of another class, and that were unusually hard all along.

After confident learning (Northcutt, Jiang and Chuang, "Confident Learning: Estimating Uncertainty in Dataset Labels",
JAIR 2021, section 3.1), which takes a label for wrong where another class is likelier than a threshold of that class,
the mean over its images. It asks networks that were not trained on the image. This one was, and begins to know wrong
labels by heart. So the threshold is put on the mean error over the run, as in Pleiss et al. ("Identifying Mislabeled
Data using the Area Under the Margin Ranking", NeurIPS 2020): it stays large where a label went against what the other
images taught.
"""

import numpy as np

UNUSUAL = 1.5
"""Standard deviations of its class by which the mean error of a suspicious image exceeds the mean of its class."""
LIKELY = 0.5
"""How likely another class must be, as a fraction of p(label). Less than one, since some wrong labels are learned."""


def suspicion(
    labels_N: np.ndarray, p_label_N: np.ndarray, p_rival_N: np.ndarray, mean_error_N: np.ndarray
) -> np.ndarray:
    """How likely each label is wrong: float32 [N] from 0 to 1; 0 says that nothing speaks against it.

    mean error * p(rival) / (p(rival) + p(label)), where the mean error is unusual and the rival likely; the rival is
    the likeliest other class.

    Args:
        mean_error_N: 1 - p(label), averaged over the run; NaN for samples that were never visited. What the network
            says of these was not learned from them, so 1 - p(label) takes the place of the mean.
    """
    error_N = np.where(np.isnan(mean_error_N), 1 - p_label_N, mean_error_N).astype(np.float64)
    counts_C = np.maximum(np.bincount(labels_N), 1)
    mean_C = np.bincount(labels_N, error_N) / counts_C
    deviation_C = np.sqrt(np.bincount(labels_N, (error_N - mean_C[labels_N]) ** 2) / counts_C)
    is_unusual = error_N > (mean_C + UNUSUAL * deviation_C)[labels_N]
    odds_N = p_rival_N / np.maximum(p_rival_N + p_label_N, 1e-12)
    return np.where(is_unusual & (p_rival_N >= LIKELY * p_label_N), error_N * odds_N, 0).astype(np.float32)
