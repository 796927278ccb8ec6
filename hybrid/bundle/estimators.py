"""The estimators that `load` accepts without trust, and all that each holds once it is fitted.

Each line is an attribute and its spec, as checks.py reads it: f is features, k classes; "?" may be absent. Parameters
are plain values, and stand here only where compiled code goes by them. One that learns nothing has an empty table.
"""

from __future__ import annotations

WIDTH = {"n_features_in_": "count f"}
LINEAR = WIDTH | {
    "classes_": "classes k",
    "coef_": "float d f | float f",
    "intercept_": "float d | number",
    "n_iter_?": "any",
}
RIDGE = LINEAR | {
    "_label_binarizer": "model LabelBinarizer",
    "classes_": "classes k",
    "solver_?": "text",
    "alpha_?": "any",
    "best_score_?": "number",
    "gcv_mode?": "any",
    "alpha_per_target?": "any",
    "cv_results_?": "any",
}
TREE = WIDTH | {
    "n_outputs_": "count 1",
    "classes_": "labels k",
    "n_classes_": "count k",
    "max_features_": "count",
    "tree_": "tree f k",
}
FOREST = WIDTH | {
    "n_outputs_": "count 1",
    "classes_": "labels k",
    "n_classes_": "count k",
    "estimator_": "model DecisionTreeClassifier ExtraTreeClassifier",
    "estimators_": "forest f k",
    "_n_samples?": "count",
    "_n_samples_bootstrap?": "count | none",
    "_sample_weight?": "float n | none",
    "oob_decision_function_?": "float rows k",
    "oob_score_?": "number",
    "estimator?": "model DecisionTreeClassifier ExtraTreeClassifier",
    "estimator_params?": "any",
}
SVC = WIDTH | {
    "kernel": "one linear poly rbf sigmoid",
    "degree": "count",
    "coef0": "number",
    "_sparse": "false",
    "_gamma": "number",
    "classes_": "classes k",
    "class_weight_": "float k",
    "support_": "i4 s",
    "support_vectors_": "f8 s f",
    "_n_support": "i4 k =s",
    "dual_coef_": "f8 k-1 s",
    "_dual_coef_": "f8 k-1 s",
    "intercept_": "f8 pairs",
    "_intercept_": "f8 pairs",
    "_probA": "f8 p:0,pairs",
    "_probB": "f8 p",
    "_effective_probability?": "flag",
    "fit_status_": "count",
    "shape_fit_": "any",
    "_num_iter?": "int pairs",
    "n_iter_?": "int pairs",
    "nu?": "number",
    "epsilon?": "number",
}
ENSEMBLE = {
    "classes_": "classes k",
    "estimators_": "models",
    "named_estimators_": "models",
}
GRADIENT_DESCENT = LINEAR | {
    "C?": "number",
    "t_": "number",
    "_expanded_class_weight?": "float k",
    "_standard_coef?": "any",
    "_standard_intercept?": "any",
    "_average_coef?": "any",
    "_average_intercept?": "any",
    # Perceptron's, whose constructor does not take them.
    "loss?": "text",
    "learning_rate?": "text",
    "epsilon?": "number",
    "power_t?": "number",
    "average?": "any",
}
MODEL_SELECTION = {
    "C_?": "any",
    "Cs_?": "any",
    "l1_ratio_?": "any",
    "l1_ratios_?": "any",
    "scores_?": "any",
    "coefs_paths_?": "any",
}

ESTIMATORS: dict[str, dict[str, str]] = {
    "hybrid.featurizer.ResNetFeaturizer": {"fingerprint_": "text", "_source": "any"},
    "hybrid.finetune.classifier.FineTunedClassifier": {
        "classes_": "classes k",
        "target_": "one classes one-hot labels",
        "featurizer_": "model TunedFeaturizer",
        "mean_": "float f",
        "scale_": "float f",
        "coefs_": "arrays",
        "intercepts_": "arrays",
        "history_": "any",
    },
    "hybrid.finetune.tuned.TunedFeaturizer": {
        "fingerprint_": "text",
        "_source": "any",
        "base_weights_": "arrays",
    },
    "hybrid.normalise.FeatureNormalizer": WIDTH | {"mean_": "float f", "scale_": "float f"},
    "sklearn.calibration.CalibratedClassifierCV": {
        "classes_": "classes k",
        "calibrated_classifiers_": "models _CalibratedClassifier",
    },
    "sklearn.calibration._CalibratedClassifier": {
        "classes": "classes k",
        "estimator": "model",
        "calibrators": "models _SigmoidCalibration _TemperatureScaling IsotonicRegression",
        "method": "text",
    },
    "sklearn.calibration._SigmoidCalibration": {"a_": "number", "b_": "number"},
    "sklearn.calibration._TemperatureScaling": {"beta_": "number"},
    "sklearn.compose._column_transformer.ColumnTransformer": {
        "transformers_": "columns",
        "output_indices_": "any",
        "_columns": "any",
        "_transformer_to_input_indices": "any",
        "_remainder": "param",
        "_n_features?": "count",
        "sparse_output_": "false",
        "_name_to_fitted_passthrough?": "models",
    },
    "sklearn.decomposition._pca.PCA": WIDTH
    | {
        "_fit_svd_solver": "text",
        "mean_": "float f",
        "n_components_": "count c",
        "components_": "float c f",
        "explained_variance_": "float c",
        "explained_variance_ratio_": "float c",
        "singular_values_": "float c",
        "noise_variance_": "number",
        "n_samples_": "count",
    },
    "sklearn.discriminant_analysis.LinearDiscriminantAnalysis": LINEAR
    | {
        "priors_": "float k",
        "means_": "float k f",
        "_max_components": "count",
        "_n_features_out": "count",
        "covariance_?": "float f f",
        "xbar_?": "float f",
        "scalings_?": "float f r",
        "explained_variance_ratio_?": "float e",
    },
    "sklearn.dummy.DummyClassifier": WIDTH
    | {
        "classes_": "labels k",
        "n_classes_": "count k",
        "n_outputs_": "count 1",
        "class_prior_": "float k",
        "_strategy": "text",
        "sparse_output_": "false",
    },
    "sklearn.ensemble._forest.ExtraTreesClassifier": FOREST,
    "sklearn.ensemble._forest.RandomForestClassifier": FOREST,
    "sklearn.ensemble._stacking.StackingClassifier": ENSEMBLE
    | {
        "_label_encoder": "model LabelEncoder",
        "final_estimator_": "model",
        "stack_method_": "any",
        "_n_feature_outs": "any",
    },
    "sklearn.ensemble._voting.VotingClassifier": ENSEMBLE | {"le_": "model LabelEncoder"},
    "sklearn.isotonic.IsotonicRegression": {
        "increasing_": "flag",
        "X_min_": "number",
        "X_max_": "number",
        "X_thresholds_": "float t",
        "y_thresholds_": "float t",
    },
    "sklearn.linear_model._logistic.LogisticRegression": LINEAR,
    "sklearn.linear_model._logistic.LogisticRegressionCV": LINEAR | MODEL_SELECTION,
    "sklearn.linear_model._ridge.Ridge": WIDTH
    | {
        "coef_": "float f | float t f",
        "intercept_": "number | float t",
        "n_iter_": "any",
        "solver_?": "text",
    },
    "sklearn.linear_model._ridge.RidgeClassifier": RIDGE,
    "sklearn.linear_model._ridge.RidgeClassifierCV": RIDGE,
    "sklearn.linear_model._perceptron.Perceptron": GRADIENT_DESCENT,
    "sklearn.linear_model._stochastic_gradient.SGDClassifier": GRADIENT_DESCENT,
    "sklearn.multiclass.OneVsRestClassifier": {
        "classes_": "classes k",
        "label_binarizer_": "model LabelBinarizer",
        "estimators_": "models",
    },
    "sklearn.naive_bayes.GaussianNB": WIDTH
    | {
        "classes_": "labels k",
        "theta_": "float k f",
        "var_": "float k f",
        "class_count_": "float k",
        "class_prior_": "float k",
        "epsilon_": "number",
    },
    "sklearn.neighbors._classification.KNeighborsClassifier": WIDTH
    | {
        "metric": "one minkowski euclidean sqeuclidean manhattan cityblock chebyshev cosine l1 l2",
        "metric_params": "none",
        "n_neighbors": "count",
        "weights": "one uniform distance | none",
        "classes_": "labels k",
        "outputs_2d_": "false",
        "n_samples_fit_": "count n",
        "_fit_X": "float n f",
        "_y": "int n <k",
        "_fit_method": "one brute",
        "_tree": "none",
        "effective_metric_": "one minkowski euclidean sqeuclidean manhattan cityblock chebyshev cosine l1 l2",
        "effective_metric_params_": "powers",
        "radius?": "none",
    },
    "sklearn.neighbors._nearest_centroid.NearestCentroid": WIDTH
    | {
        "classes_": "classes k",
        "centroids_": "float k f",
        "class_prior_?": "float k",
        "within_class_std_dev_?": "float f",
        "deviations_?": "float k f",
        "true_classes_?": "any",
    },
    "sklearn.pipeline.FeatureUnion": {},
    "sklearn.pipeline.Pipeline": {},
    "sklearn.preprocessing._data.MaxAbsScaler": WIDTH
    | {"max_abs_": "float f", "scale_": "float f", "n_samples_seen_": "count"},
    "sklearn.preprocessing._data.MinMaxScaler": WIDTH
    | {
        "min_": "float f",
        "scale_": "float f",
        "data_min_": "float f",
        "data_max_": "float f",
        "data_range_": "float f",
        "n_samples_seen_": "count",
    },
    "sklearn.preprocessing._data.Normalizer": {},
    "sklearn.preprocessing._data.RobustScaler": WIDTH
    | {"center_": "float f | none", "scale_": "float f | none"},
    "sklearn.preprocessing._data.StandardScaler": WIDTH
    | {
        "mean_": "float f | none",
        "var_": "float f | none",
        "scale_": "float f | none",
        "n_samples_seen_": "number | int f",
    },
    # What a ColumnTransformer makes of "passthrough": without a function, which no parameter may be.
    "sklearn.preprocessing._function_transformer.FunctionTransformer": {},
    "sklearn.preprocessing._label.LabelBinarizer": {
        "classes_": "labels k",
        "y_type_": "text",
        "sparse_input_": "false",
    },
    "sklearn.preprocessing._label.LabelEncoder": {"classes_": "labels k"},
    "sklearn.svm._classes.LinearSVC": LINEAR,
    "sklearn.svm._classes.SVC": SVC,
    "sklearn.tree._classes.DecisionTreeClassifier": TREE,
    "sklearn.tree._classes.ExtraTreeClassifier": TREE,
}
