"""builtin/lsa: hashed TF-IDF of words and character 4-grams, then a truncated SVD.

Deerwester et al., "Indexing by Latent Semantic Analysis", JASIS 41 (1990); hashing after Weinberger et al., ICML 2009,
without signs; the randomised SVD is Halko, Martinsson and Tropp, SIAM Review 53 (2011), Algorithm 4.4.

A plain SVD overfits: fitted on 300 texts with all their columns, it gives the fitted texts directions of their own, and
held-out text of the same source looks 6 to 20 times the MMD floor away. What decides is the number of columns for
each text, not the number of dimensions (8 were no better than 128). So a fit keeps only columns that MIN_TEXTS texts
share, and of those the most frequent COLUMNS_PER_TEXT times the number of texts.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

import numpy as np

from synalign.errors import NumericsError
from synalign.numerics.core.checks import as_vector, check_count

if TYPE_CHECKING:
    import scipy.sparse as sp

#: A fit takes no more texts than this. The caller draws them, by the hash of their id, when there are more.
MAX_FIT_TEXTS = 20_000

#: Hash columns of each of the two kinds of token.
HASH_COLUMNS = 2**18

#: A column is kept if this many fitted texts hold it. Fewer where no column reaches it, as in a handful of texts.
MIN_TEXTS = 3

#: Columns kept at most for each fitted text. Twice as many columns, and held-out text begins to look far away.
COLUMNS_PER_TEXT = 2

#: Columns kept at most, so that a model of 256 dimensions takes at most 32 MiB.
MAX_COLUMNS = 2**15

#: Texts hashed and projected at a time.
BLOCK_TEXTS = 4096

# Texts up to which the decomposition is done in float64: then it is the same on every processor, to the last bits of
# the float32 that are kept. For more it would take twice the time.
_DOUBLE_TEXTS = 5_000

#: A word is one sign of a script without spaces (Chinese, Japanese, Thai, Lao, Khmer, Myanmar), a run of letters and
#: digits of another, or one mark such as an emoji. Words count alone and in pairs.
_WORD = (
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]"
    r"|[^\W\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]+"
    r"|[^\w\s]"
)


@dataclass(frozen=True)
class Lsa:
    """A fitted embedder of text.

    columns: int64 [c], the hash columns kept, ascending. idf: float32 [c]. components: float32 [d, c], orthonormal rows
    by decreasing singular value.
    """

    columns: np.ndarray
    idf: np.ndarray
    components: np.ndarray

    @property
    def dimensions(self) -> int:
        """d, the length of a vector."""
        return self.components.shape[0]

    def transform(self, texts: Sequence[str]) -> np.ndarray:
        """Return the unit vectors of texts, float32 [n, d], in blocks of BLOCK_TEXTS.

        A text has the same vector, to the bit, whatever the others of the call are. A text that shares no kept column
        with the fitted ones (or is empty) gets a pseudo-random direction drawn from its own content: equal texts stay
        equal, and different ones are about as far from each other as from all else, so that they form no false
        cluster and none is zero.

        Raises:
            NumericsError: if an entry is not a string.
        """
        _check_texts(texts)
        result = np.empty((len(texts), self.dimensions), dtype=np.float32)
        for start in range(0, len(texts), BLOCK_TEXTS):
            block = texts[start : start + BLOCK_TEXTS]
            result[start : start + BLOCK_TEXTS] = self._transform(block)
        return result

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Return the fields by name, to be stored; `from_arrays` is the way back."""
        return {"columns": self.columns, "idf": self.idf, "components": self.components}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> Lsa:
        """Return the model of stored arrays.

        Raises:
            NumericsError: if an array is missing or the shapes do not fit each other.
        """
        missing = [name for name in ("columns", "idf", "components") if name not in arrays]
        if missing:
            raise NumericsError(f"A stored LSA model has columns, idf and components; missing: {', '.join(missing)}.")
        columns, idf, components = (np.asarray(arrays[name]) for name in ("columns", "idf", "components"))
        if components.ndim != 2 or not columns.shape == idf.shape == components.shape[1:]:
            raise NumericsError(
                "A stored LSA model has columns [c], idf [c] and components [d, c]; given: shapes "
                f"{columns.shape}, {idf.shape} and {components.shape}."
            )
        return cls(columns.astype(np.int64), idf.astype(np.float32), components.astype(np.float32))

    def to_bytes(self) -> bytes:
        """Return the model as an uncompressed npz file; equal models give equal bytes."""
        buffer = io.BytesIO()
        np.savez(buffer, allow_pickle=False, **self.to_arrays())
        return buffer.getvalue()

    @classmethod
    def from_bytes(cls, data: bytes) -> Lsa:
        """Return the model that `to_bytes` wrote.

        Raises:
            NumericsError: if the bytes are no such file.
        """
        import zipfile

        try:
            with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
                return cls.from_arrays(dict(arrays))
        except (ValueError, OSError, TypeError, zipfile.BadZipFile) as error:
            raise NumericsError(f"The {len(data)} bytes are no stored LSA model: {error}.") from error

    @cached_property
    def _projection(self) -> np.ndarray:
        """float32 [c, d]: idf times the components, in the order of memory that a product with sparse rows reads."""
        return np.ascontiguousarray((self.components * self.idf).T)

    def _transform(self, texts: Sequence[str]) -> np.ndarray:
        vectors = np.asarray(_counts(texts)[:, self.columns] @ self._projection)
        norms = np.sqrt(np.einsum("nd,nd->n", vectors, vectors, dtype=np.float64)).astype(np.float32)
        # What is left by cancellation alone is no direction: a kept column adds about 1 to the square.
        for row in np.flatnonzero(norms < 1e-4).tolist():
            vectors[row] = _own_direction(texts[row], self.dimensions)
            norms[row] = 1.0
        vectors /= norms[:, None]
        return vectors


def fit_lsa(texts: Sequence[str], dimensions: int = 256, seed: int = 0, weights: Any = None) -> Lsa:
    """Fit the embedder.

    The model has fewer dimensions than asked for when there are fewer texts or kept columns, or when the rest of the
    singular values are 0.

    Args:
        texts: n texts, at most MAX_FIT_TEXTS. Their order does not matter but for rounding.
        dimensions: d wanted.
        seed: of the randomised SVD.
        weights: [n], not negative: how much each text counts in the SVD, e.g. its multiplicity. None is 1 for each.

    Raises:
        NumericsError: if there are no texts, too many, or none with a token, or an argument is out of range.
    """
    import scipy.sparse as sp

    _check_texts(texts)
    if not 1 <= len(texts) <= MAX_FIT_TEXTS:
        raise NumericsError(
            f"fit_lsa takes from 1 to {MAX_FIT_TEXTS} texts; given: {len(texts)}. Draw a sample, by the hash of the id."
        )
    check_count("dimensions", dimensions, 1, 4096, "dimensions")
    weight = np.ones(len(texts)) if weights is None else as_vector("weights", weights, len(texts))
    if weight.min() < 0 or weight.max() == 0:
        raise NumericsError("weights must not be negative, and one must be above 0.")
    counts = sp.vstack([_counts(texts[i : i + BLOCK_TEXTS]) for i in range(0, len(texts), BLOCK_TEXTS)], "csr")
    if counts.nnz == 0:
        raise NumericsError(f"None of the {len(texts)} texts holds a token: all are empty or white space.")
    shared = np.bincount(counts.indices, minlength=counts.shape[1])
    columns = _kept_columns(shared, len(texts))
    idf = (np.log((1 + len(texts)) / (1 + shared[columns])) + 1).astype(np.float32)
    matrix = (counts[:, columns] @ sp.diags_array(idf)).tocsr()
    norms = np.sqrt(np.asarray(matrix.multiply(matrix).sum(axis=1)).ravel())
    scale = np.sqrt(weight / weight.max()) / np.where(norms > 0, norms, 1.0)
    matrix = (sp.diags_array(scale.astype(np.float32)) @ matrix).tocsr()
    return Lsa(columns, idf, _components(matrix, min(dimensions, *matrix.shape), seed))


def _kept_columns(shared: np.ndarray, texts: int) -> np.ndarray:
    """Return the most shared columns, no more than there are texts, ascending; ties go to the smaller column."""
    least = min(MIN_TEXTS, int(shared.max()))
    candidates = np.flatnonzero(shared >= least)
    order = np.argsort(-shared[candidates], kind="stable")[: min(COLUMNS_PER_TEXT * texts, MAX_COLUMNS)]
    return np.sort(candidates[order]).astype(np.int64)


def _components(matrix: sp.csr_matrix, dimensions: int, seed: int) -> np.ndarray:
    from sklearn.utils.extmath import randomized_svd

    if matrix.shape[0] <= _DOUBLE_TEXTS:
        matrix = matrix.astype(np.float64)
    _, values, rows = randomized_svd(matrix, dimensions, n_iter=2, random_state=seed % 2**32)
    kept = values > 1e-5 * values[0]
    return np.ascontiguousarray(rows[kept], dtype=np.float32)


def _counts(texts: Sequence[str]) -> sp.csr_matrix:
    """Return 1 + log(count) of each token, float32 [n, 2 * HASH_COLUMNS]: words and pairs, then character 4-grams."""
    import scipy.sparse as sp
    from sklearn.feature_extraction.text import HashingVectorizer

    shape: dict[str, Any] = {"n_features": HASH_COLUMNS, "norm": None, "alternate_sign": False, "dtype": np.float32}
    words = HashingVectorizer(token_pattern=_WORD, ngram_range=(1, 2), **shape)
    pieces = HashingVectorizer(analyzer="char_wb", ngram_range=(4, 4), **shape)
    # Half of a surrogate pair has no UTF-8 form, which hashing needs.
    clean = [text.encode("utf-8", errors="replace").decode() for text in texts]
    counts = sp.hstack([words.transform(clean), pieces.transform(clean)], "csr")
    # In float64: the last bit of a float32 logarithm differs by processor, and clusters may hang on it.
    counts.data = (1 + np.log(counts.data.astype(np.float64))).astype(np.float32)
    return counts


def _own_direction(text: str, dimensions: int) -> np.ndarray:
    """Return a unit vector drawn from the text's content."""
    seed = int.from_bytes(blake2b(text.encode("utf-8", errors="surrogatepass"), digest_size=8).digest(), "big")
    direction = np.random.default_rng(seed).standard_normal(dimensions)
    return (direction / np.linalg.norm(direction)).astype(np.float32)


def _check_texts(texts: Sequence[str]) -> None:
    if isinstance(texts, str):
        raise NumericsError("texts must be a sequence of strings; given: one string.")
    for row, text in enumerate(texts):
        if not isinstance(text, str):
            raise NumericsError(f"texts must hold strings only; entry {row} is of type {type(text).__name__}.")
