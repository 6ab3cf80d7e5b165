"""Weights of terms in documents."""

import numpy as np
from scipy import sparse

from hogwild.datasets.rows import unit_rows


def tf_idf(counts: sparse.csr_array) -> sparse.csr_array:
    """Return unit rows of ``(1 + ln count) ln((1 + documents) / documents with the term)``.

    The weighting of RCV1 (Lewis et al. 2004), but for the added one: a term of every document keeps a value.

    Parameters
    ----------
    counts : csr_array of float64, shape (n_documents, n_terms)
        How often a document holds a term, each stored count at least 1.
    """
    shares = np.bincount(counts.indices, minlength=counts.shape[1])
    idf = np.log((1 + counts.shape[0]) / np.maximum(shares, 1))
    values = (1 + np.log(counts.data)) * idf[counts.indices]
    X = sparse.csr_array((values, counts.indices, counts.indptr), shape=counts.shape)
    unit_rows(X)
    return X
