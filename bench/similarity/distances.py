"""Distances between the source's and the target's distributions of features."""

from __future__ import annotations

import numpy as np

from bench.similarity.base import View, measure


@measure("proxy-a-distance")
def proxy_a_distance(view: View) -> float:
    """How well a linear classifier tells source from target features, 0 (not at all) to 2 (perfectly).

    2 (1 - 2 e), e being the classifier's error on held-out halves (two-fold, so that overfitting does
    not count as distance), both domains weighing the same; below-chance errors count as 0. Ben-David et
    al., "Analysis of representations for domain adaptation", NIPS 2006, section 4.

    Notes
    -----
    It asks whether domains *can* be told apart, not how far apart they are, so it reaches its upper end
    as soon as one direction separates them: all data that look different (printed and handwritten
    digits, say) are near 2. That is what the definition says and no artefact of this estimate: a linear
    SVM with the C of the lowest held-out error (as Ganin et al., JMLR 2016, compute it) gives 1.98 to 2
    for every source of the default suite, on features as on inputs. It grades sources that are near
    (halves of one data set, a mild change); among distant ones look at the Fréchet distance or LEEP.

    Returns
    -------
    float
        Near to far: 0 to 2.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    source, target = view.source_features, view.target_features
    x = np.concatenate([source, target])
    domain = np.repeat([0, 1], [len(source), len(target)])
    classifier = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=200, class_weight="balanced"))
    folds = StratifiedKFold(2, shuffle=True, random_state=0)
    guess = cross_val_predict(classifier, x, domain, cv=folds)
    error = np.mean([(guess[domain == d] != d).mean() for d in (0, 1)])
    return max(0.0, 2.0 * (1.0 - 2.0 * error))


@measure("frechet-distance")
def frechet_distance(view: View) -> float:
    """Return the Fréchet distance between Gaussians fitted to source and target features, scale-free.

    |m_s - m_t|^2 + tr(C_s + C_t - 2 (C_s C_t)^(1/2)), Dowson & Landau (1982), as Heusel et al. (NIPS
    2017) use it, divided by tr(C_s): in units of the source features' own total variance, so that
    values from networks with features of different scale can be compared.

    Returns
    -------
    float
        0 for equal Gaussians; no upper bound.
    """
    source, target = view.source_features, view.target_features
    return gaussian_frechet(source, target) / max(np.trace(_covariance(source)), np.finfo(float).tiny)


def _covariance(x: np.ndarray) -> np.ndarray:
    return np.atleast_2d(np.cov(x, rowvar=False))


def gaussian_frechet(a: np.ndarray, b: np.ndarray) -> float:
    """Return the squared 2-Wasserstein distance of the Gaussians fitted to two samples, (M, D) and (N, D)."""
    ca, cb = _covariance(a), _covariance(b)
    root = _symmetric_root(ca)
    # tr (Ca Cb)^(1/2) = tr (Ca^(1/2) Cb Ca^(1/2))^(1/2), which is symmetric: no complex square root.
    eigenvalues = np.linalg.eigvalsh(root @ cb @ root)
    cross = np.sqrt(np.clip(eigenvalues, 0, None)).sum()
    distance = np.sum((a.mean(0) - b.mean(0)) ** 2) + np.trace(ca) + np.trace(cb) - 2 * cross
    return max(0.0, float(distance))


def _symmetric_root(matrix: np.ndarray) -> np.ndarray:
    values, vectors = np.linalg.eigh(matrix)
    return (vectors * np.sqrt(np.clip(values, 0, None))) @ vectors.T
