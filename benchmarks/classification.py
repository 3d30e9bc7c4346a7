"""How well classes are told apart, beside scikit-learn's discriminant analyses: the table of ``docs/sklearn.md``.

``python -m benchmarks.classification`` prints it: errors and log losses of people left out, by five-fold
cross-validation and when a fifth of the people is all there is to learn from.
"""

from __future__ import annotations

import warnings
from typing import Any

from sklearn.datasets import load_breast_cancer, load_iris, load_wine
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis, QuadraticDiscriminantAnalysis
from sklearn.model_selection import RepeatedStratifiedKFold, StratifiedShuffleSplit, cross_validate
from sklearn.naive_bayes import GaussianNB

from bayesgmm.sklearn import MixtureClassifier

DATA = {"iris": load_iris, "wine": load_wine, "breast cancer": load_breast_cancer}
SPLITS = {
    "four fifths": RepeatedStratifiedKFold(n_splits=5, n_repeats=2, random_state=0),
    "a fifth": StratifiedShuffleSplit(10, train_size=0.2, random_state=0),
}
CLASSIFIERS: dict[str, Any] = {
    "LDA": LinearDiscriminantAnalysis(),
    "QDA": QuadraticDiscriminantAnalysis(),
    "Gaussian naive Bayes": GaussianNB(),
    "EDDA, VVV": MixtureClassifier(covariance="VVV"),
    "EDDA, EEE": MixtureClassifier(covariance="EEE"),
    "EDDA, all families": MixtureClassifier(),
    "MclustDA, 3 families, 1 to 3": MixtureClassifier(
        method="mclustda", covariance=["VVI", "EEE", "VVV"], n_components=[1, 2, 3]
    ),
}


def main() -> None:
    """Print one row a data set, share and classifier."""
    print("| data | learnt from | classifier | error | log loss |\n| --- | --- | --- | --- | --- |")
    for data, load in DATA.items():
        X, y = load(return_X_y=True)
        for share, splits in SPLITS.items():
            for name, classifier in CLASSIFIERS.items():
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    try:
                        found = cross_validate(classifier, X, y, cv=splits, scoring=("accuracy", "neg_log_loss"))
                    except ValueError:
                        print(f"| {data} | {share} | {name} | refuses | |")
                        continue
                error, loss = 1.0 - found["test_accuracy"].mean(), -found["test_neg_log_loss"].mean()
                print(f"| {data} | {share} | {name} | {100 * error:.1f}% | {loss:.3f} |", flush=True)


if __name__ == "__main__":
    main()
