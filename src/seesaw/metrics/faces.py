"""Face preservation: identity similarity and detection recall (Seesaw A.1.2)."""

import numpy as np

from seesaw.metrics import Measured, Options, Reading
from seesaw.metrics.pairs import cosines, mean_reading, require_finite, shuffled_cosine
from seesaw.registry import FEW_FACES
from seesaw.shards import Shards, require_same_ids


def identity(reference: Shards, source: Shards, options: Options) -> Measured:
    """Mean cosine of face embeddings, over the images with a face in both.

    ``n`` is the number of those images; below :data:`seesaw.registry.FEW_FACES` a note says that
    they are few, and no correlation takes the value (:func:`seesaw.score_table.worse`). The variant
    ``shuffled`` pairs each of their faces with the reconstructed face of another one of them: the
    level of different persons.

    Args:
        reference: fields ``found`` and ``embedding`` of the largest face.
        source: the same of the reconstructions.
        options: ``seed``.

    Raises:
        ValueError: different images, or an embedding that is not finite or zero.
    """
    require_same_ids(reference, source)
    both = _found(reference) & _found(source)
    column = np.ma.masked_all(len(both), np.float64)
    if not both.any():
        note = "no image has a face in both the reference and the reconstruction"
        readings = [Reading(None, 0, "", note), Reading(None, 0, "shuffled", note)]
        return Measured(readings, {"value": column})
    ids = [image_id for image_id, kept in zip(reference.ids, both) if kept]
    a, b = reference.load("embedding")[both], source.load("embedding")[both]
    require_finite(ids, a, "face embedding")
    require_finite(ids, b, "face embedding of the reconstruction")
    values = cosines(ids, a, b)
    column[both] = values
    plain = mean_reading(values, note=few_faces(len(values)))
    return Measured([plain, shuffled_cosine(ids, a, b, options.seed)], {"value": column})


def few_faces(n: int) -> str:
    """Words on a mean over ``n`` faces if they are few; else none."""
    if n >= FEW_FACES:
        return ""
    faces = "1 face" if n == 1 else f"{n} faces"
    return f"mean over {faces}; below {FEW_FACES} it is left out of correlations"


def face_recall(reference: Shards, source: Shards, options: Options) -> Measured:
    """Face@R: of the images whose reference has a face, the share whose reconstruction has one.

    ``n`` is the number of images whose reference has a face.

    Args:
        reference: field ``found``.
        source: the same of the reconstructions.
        options: not used.
    """
    require_same_ids(reference, source)
    had, kept = _found(reference), _found(source)
    column = np.ma.masked_array(kept.astype(np.float64), mask=~had)
    if not had.any():
        note = "no reference image has a face"
        return Measured([Reading(None, 0, "", note)], {"value": column})
    return Measured([mean_reading(kept[had])], {"value": column})


def _found(shards: Shards) -> np.ndarray:
    return shards.load("found") > 0
