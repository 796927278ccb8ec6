"""scikit-learn's own checks, on a featurizer that is fed rows as tiny images: it passes them all."""

import numpy as np
from sklearn.utils.estimator_checks import parametrize_with_checks
from sklearn.utils.validation import validate_data

from hybrid import ResNetFeaturizer


class RowFeaturizer(ResNetFeaturizer):
    """Each row of a table becomes a small picture: its values, squeezed into 0..1, side by side."""

    def fit(self, X, y=None):
        return super().fit(self._pictures(validate_data(self, X)), y)

    def transform(self, X):
        self._recipe()
        return super().transform(self._pictures(validate_data(self, X, reset=False)))

    @staticmethod
    def _pictures(X):
        squeezed = np.rint(255 / (1 + np.exp(-np.asarray(X, np.float64)))).astype(np.uint8)
        return squeezed[:, :, None, None].repeat(3, axis=3)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = True
        tags.input_tags.string = False
        return tags


@parametrize_with_checks([RowFeaturizer(backbone="tiny", store=None, image_size=16)])
def test_scikit_learn_check(estimator, check):
    check(estimator)
