"""An SVC on slices of one kernel answers as scikit-learn's on features."""

import numpy as np
import pytest
from sklearn.svm import SVC

from hybrid.statistics.kernels import RBFKernel, half_distances, number_of, rbf
from tests.test_linear import blobs


@pytest.mark.parametrize("gamma", [0.25, "scale", "auto"])
def test_slices_of_one_kernel_give_the_labels_and_decisions_of_features(gamma):
    rows, codes = blobs(300, 500, 5)
    halves = half_distances(rows, rows)
    for fold in range(3):
        test = np.arange(300) % 3 == fold
        plain = SVC(C=10, gamma=gamma, decision_function_shape="ovo").fit(rows[~test], codes[~test])
        kernel = rbf(halves, number_of(gamma, rows[~test]))
        quick = SVC(C=10, kernel="precomputed", decision_function_shape="ovo")
        quick.fit(kernel[~test][:, ~test], codes[~test])
        across = kernel[test][:, ~test]
        assert np.array_equal(quick.predict(across), plain.predict(rows[test]))
        theirs = plain.decision_function(rows[test])
        # libsvm stops where its gradient is below 1e-3.
        np.testing.assert_allclose(quick.decision_function(across), theirs, atol=2e-3)
        tight = [model.set_params(tol=1e-7) for model in (plain, quick)]
        tight[0].fit(rows[~test], codes[~test])
        tight[1].fit(kernel[~test][:, ~test], codes[~test])
        theirs = tight[0].decision_function(rows[test])
        np.testing.assert_allclose(tight[1].decision_function(across), theirs, atol=1e-4)


def test_a_transformer_gives_the_same_kernel():
    rows, _ = blobs(50, 20, 2)
    kernel = RBFKernel(0.3).fit(rows[:30])
    np.testing.assert_allclose(kernel.transform(rows), rbf(half_distances(rows, rows[:30]), 0.3))
