"""Deep features in, the same features on one scale out, where one C and one gamma suit every layer."""

from __future__ import annotations

import numpy as np
from sklearn.base import BaseEstimator, OneToOneFeatureMixin, TransformerMixin
from sklearn.utils.validation import check_is_fitted, validate_data

# Variances below this are rounding: unit rows of float32 differ by 1e-7 where their images do not.
ROUNDING = 1e-12
BLOCK = 1024


def unit_roots(X: np.ndarray) -> np.ndarray:
    """Return the signed square roots of rows, each row scaled to length 1; zeros stay zeros."""
    roots = np.abs(X)
    sums = roots.sum(axis=1, keepdims=True)
    roots /= np.where(sums == 0, 1, sums)
    return np.copysign(np.sqrt(roots, out=roots), X, out=roots)


def variances(rows: np.ndarray, means: np.ndarray) -> np.ndarray:
    """Return the columns' variances, computed in float64; of many rows, few at a time."""
    total = np.zeros(rows.shape[1])
    for start in range(0, len(rows), BLOCK):
        apart = rows[start : start + BLOCK] - means
        total += np.einsum("ij,ij->j", apart, apart)
    return total / len(rows)


def shrunk_scale(spread: np.ndarray) -> np.ndarray:
    """Return what to divide centred columns by: their deviations, no column's far below the mean column's.

    A column that hardly varies is not blown up, and the rows have length 1 in the mean.
    """
    if spread.sum() < ROUNDING:
        return np.ones_like(spread)
    floored = spread + spread.mean()
    return np.sqrt(floored * (spread / floored).sum())


class FeatureNormalizer(OneToOneFeatureMixin, TransformerMixin, BaseEstimator):
    """Put the deep features of any layer on one scale, for the classifier that follows.

    Activations are skewed, most of them near zero, and their size differs between images, layers and networks.
    First, each row on its own: signed square roots, then length 1. Then, fitted: columns are centred and divided
    by their standard deviation, which is taken no smaller than the mean column's variance allows; and all of
    them by one number, so that training rows have length 1 in the mean. A classifier's C and gamma then mean
    the same for every layer, pooling and network.

    Columns of `StandardScaler` all weigh the same, and dozens of training images say little about those that
    hardly vary: an SVC behind it loses a tenth of its accuracy.

    Parameters
    ----------
    columns : bool, default=True
        Whether to centre and scale columns. If False nothing is fitted, and a row never depends on others.

    Attributes
    ----------
    mean_ : ndarray of shape (n_features,), float64
        What is taken off the columns; zeros without `columns`.
    scale_ : ndarray of shape (n_features,), float64
        What they are divided by then; ones without `columns`.
    n_features_in_ : int
        Number of features.
    feature_names_in_ : ndarray of str
        Their names, where X has any.

    Notes
    -----
    A row with a NaN in it, such as ``on_error="nan"`` leaves, takes no part in `fit` and becomes a row of NaN.

    Examples
    --------
    >>> import numpy as np
    >>> from hybrid import FeatureNormalizer
    >>> features = np.array([[9.0, 16.0, 0.0], [0.0, 3.0, 1.0]])
    >>> FeatureNormalizer(columns=False).fit_transform(features).round(2)
    array([[0.6 , 0.8 , 0.  ],
           [0.  , 0.87, 0.5 ]])
    >>> rows = FeatureNormalizer().fit_transform(features)
    >>> float((rows**2).sum(axis=1).mean().round(9))
    1.0
    """

    def __init__(self, columns=True):
        self.columns = columns

    def fit(self, X, y=None):
        """Learn the columns' means and scales.

        Parameters
        ----------
        X : array of shape (n_samples, n_features)
        y : ignored

        Returns
        -------
        self
        """
        self._learn(X)
        return self

    def fit_transform(self, X, y=None):
        """Learn from rows and normalise them, in half the time of one after the other.

        Parameters
        ----------
        X : array of shape (n_samples, n_features)
        y : ignored

        Returns
        -------
        rows : ndarray of shape (n_samples, n_features)
        """
        return self._scaled(self._learn(X))

    def transform(self, X):
        """Normalise rows.

        Parameters
        ----------
        X : array of shape (n_samples, n_features)

        Returns
        -------
        rows : ndarray of shape (n_samples, n_features)
            float32 for float32, else float64.
        """
        check_is_fitted(self)
        return self._scaled(unit_roots(self._read(X, reset=False)))

    def _learn(self, X):
        if not isinstance(self.columns, (bool, np.bool_)):
            raise ValueError(f"Got columns={self.columns!r}, but expected True or False.")
        rows = unit_roots(self._read(X, reset=True))
        self.mean_, self.scale_ = np.zeros(rows.shape[1]), np.ones(rows.shape[1])
        known = ~np.isnan(rows).any(axis=1)
        if self.columns and known.any():
            known = rows if known.all() else rows[known]
            self.mean_ = known.mean(axis=0, dtype=np.float64)
            self.scale_ = shrunk_scale(variances(known, self.mean_))
        return rows

    def _scaled(self, rows):
        if self.columns:
            rows -= self.mean_.astype(rows.dtype)
            rows /= self.scale_.astype(rows.dtype)
        return rows

    def _read(self, X, reset):
        # In C's order, so that a row's sum is taken the same way in any company.
        return validate_data(
            self, X, dtype=(np.float64, np.float32), order="C", ensure_all_finite="allow-nan", reset=reset
        )

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags
