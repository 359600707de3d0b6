"""Faces by InsightFace's pack ``buffalo_s``: detector SCRFD-500MF, embedding MobileFaceNet.

The arithmetic around the two ONNX models (letterbox, decoding, suppression, alignment) is the
package's own, version 2. Its ``FaceAnalysis`` is not used, because it downloads a pack that it does
not find, takes whatever models lie in the folder, says nothing when it runs on the CPU instead of a
GPU, and detects at two scales unless told otherwise.

The models are read into memory, from the folder or from the zip itself: nothing is unpacked, so
nothing can be left half unpacked, and jobs that start together do not meet.
"""

import hashlib
import io
import logging
import warnings
import zipfile
import zlib
from collections.abc import Iterable, Sequence
from importlib.metadata import version
from pathlib import Path, PurePath, PurePosixPath
from typing import Any

import numpy as np

from seesaw.files import reject_what_is_no_weights_file
from seesaw.networks import check_images
from seesaw.packages import warn_of_several

logger = logging.getLogger(__name__)

PACK = "buffalo_s"
SOURCE = "https://github.com/deepinsight/insightface/releases/download/model-zoo/buffalo_s.zip"
LICENCE = "InsightFace model packs: non-commercial research only"

DETECTOR = "det_500m.onnx"
RECOGNISER = "w600k_mbf.onnx"
OFFICIAL = {
    DETECTOR: "5e4447f50245bbd7966bd6c0fa52938c61474a04ec7def48753668a9d8b4ea3a",
    RECOGNISER: "9cc6e4a75f0e2bf0b1aed94578f144d15175f357bdc05e815e5c4a02b319eb4f",
}
"""SHA-256 of the two models, the same in every release and copy of the pack."""

DETECTOR_INPUT = (640, 640)
DETECTOR_WIDTHS = [1, 1, 1, 4, 4, 4, 10, 10, 10]
"""Values per anchor of the outputs: score, box, five landmarks, each at strides 8, 16, 32."""
THRESHOLD = 0.5
OVERLAP = 0.4
CROP = 112
WIDTH = 512
BLOCK = 32
"""Crops that are embedded together at most."""
MEAN = DEVIATION = 127.5

CUDA, CPU = "CUDAExecutionProvider", "CPUExecutionProvider"


class BuffaloS:
    """The largest face of each image: box by ``det_500m``, embedding by ``w600k_mbf``.

    As the Seesaw paper takes it (A.1.2: InsightFace, ``buffalo_s``), with what it leaves open set
    as in InsightFace 0.7: every image goes to the detector as BGR, scaled to fit into 640 x 640 and
    padded with black at the right and bottom; faces of score 0.5 or more, suppressed at an overlap
    of 0.4; of these the one whose box has the largest area (InsightFace's own choice also favours
    the middle of the image); it is aligned by its five landmarks to 112 x 112 pixels and embedded.

    The detector sees one image at a time, since its outputs have no batch axis. Up to 32 crops are
    embedded together if the model can (its graph is tried at loading), else one by one.
    Found, score and box do not depend on the batch at all, embeddings by rounding only.

    Licence: the package is MIT, but its model packs are for non-commercial research only.

    Args:
        weights: the pack's folder, or ``buffalo_s.zip``. The models may lie in a folder inside.
            Other models of the pack are not read.
        device: ``"cpu"``, ``"cuda"`` or ``"cuda:N"``. On CUDA onnxruntime must have it, too: there
            is no silent way back to the CPU.

    Raises:
        FileNotFoundError: there is no such folder or file. Nothing is ever downloaded.
        ValueError: not that pack, or half of it; or another kind of device.
        RuntimeError: ``insightface`` or ``onnxruntime`` is missing, or cannot use the device.
    """

    def __init__(self, weights: str | Path | None, device: str = "cpu") -> None:
        if weights is None:
            raise ValueError(f"{PACK} needs its models: give the path of {PACK}.zip or its folder")
        contents = read_pack(weights)
        packages = _Packages()
        for what in ("OpenCV", "ONNX Runtime"):
            warn_of_several(what)
        providers = providers_for(device, packages.onnxruntime.get_available_providers())
        sessions = {
            file: packages.session(content, f"{file} of {weights}", providers)
            for file, content in contents.items()
        }
        check_detector(sessions[DETECTOR], f"{DETECTOR} of {weights}")
        check_recogniser(sessions[RECOGNISER], f"{RECOGNISER} of {weights}")
        self.detector = packages.detector(session=sessions[DETECTOR])
        self.detector.prepare(
            0, input_size=DETECTOR_INPUT, det_thresh=THRESHOLD, nms_thresh=OVERLAP
        )
        self.recogniser = packages.recogniser(
            model_file=io.BytesIO(contents[RECOGNISER]), session=sessions[RECOGNISER]
        )
        if (self.recogniser.input_mean, self.recogniser.input_std) != (MEAN, DEVIATION):
            raise ValueError(
                f"{RECOGNISER} of {weights} is another model: it normalises its input itself"
                + WANTED
            )
        self.batches = embeds_batches(self.recogniser)
        self._norm_crop = packages.norm_crop
        digests = {file: hashlib.sha256(content).hexdigest() for file, content in contents.items()}
        if digests != OFFICIAL:
            other = [file for file in OFFICIAL if digests[file] != OFFICIAL[file]]
            logger.warning(
                "%s of %s fits %s, but is not the released file; its numbers are not comparable "
                "with published ones",
                " and ".join(other),
                weights,
                PACK,
            )
        self.meta: dict[str, Any] = {
            "implementation": f"insightface {packages.version}, "
            f"onnxruntime {packages.onnxruntime.__version__}",
            "pack": PACK,
            "official": digests == OFFICIAL,
            "sha256": digests,
            "detector_input": list(DETECTOR_INPUT),
            "threshold": THRESHOLD,
            "overlap": OVERLAP,
            "face": "largest box area",
            "licence": LICENCE,
            "source": SOURCE,
        }

    def extract(self, images: np.ndarray) -> dict[str, np.ndarray]:
        """The largest face of each of the uint8 RGB images ``(N, 3, H, W)``.

        Returns:
            ``found`` uint8 ``(N,)``; ``score`` float32 ``(N,)``, the detector's; ``box`` float32
            ``(N, 4)``, x0 y0 x1 y1 in pixels of the image, not clipped to it; ``embedding`` float32
            ``(N, 512)`` of unit length. All are zeros where no face is found.

        Raises:
            RuntimeError: an embedding is not finite or zero.
        """
        check_images(images)
        n = len(images)
        fields = {
            "found": np.zeros(n, np.uint8),
            "score": np.zeros(n, np.float32),
            "box": np.zeros((n, 4), np.float32),
            "embedding": np.zeros((n, WIDTH), np.float32),
        }
        rows, crops = [], []
        for row, image in enumerate(images):
            pixels = np.ascontiguousarray(image[::-1].transpose(1, 2, 0))
            faces, landmarks = self.detector.detect(pixels)
            if not len(faces):
                continue
            face = largest(faces)
            fields["found"][row] = 1
            fields["box"][row], fields["score"][row] = faces[face, :4], faces[face, 4]
            rows.append(row)
            crops.append(self._aligned(pixels, landmarks[face]))
        if rows:
            fields["embedding"][rows] = unit(self._embed(crops))
        return fields

    def _aligned(self, pixels: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
        """The face turned and scaled to ``(112, 112, 3)``, by the package's own function."""
        with warnings.catch_warnings():
            # it calls a method that newer versions of scikit-image deprecate, for every face
            warnings.simplefilter("ignore", FutureWarning)
            return self._norm_crop(pixels, landmarks, CROP)

    def _embed(self, crops: list[np.ndarray]) -> np.ndarray:
        size = BLOCK if self.batches else 1
        blocks = [crops[start : start + size] for start in range(0, len(crops), size)]
        return np.concatenate([self.recogniser.get_feat(block) for block in blocks])


# ------------------------------------------------------------------------------------ the pack

WANTED = (
    f".\nWhat is needed here is {PACK}.zip ({SOURCE}), or the folder that it unpacks to, with "
    f"{DETECTOR} and {RECOGNISER}. {LICENCE}. Nothing is downloaded here"
)


def read_pack(weights: str | Path) -> dict[str, bytes]:
    """The bytes of the detector and the recogniser, by file name, from a folder or a zip.

    Raises:
        FileNotFoundError: there is no such folder or file.
        ValueError: it is no zip, or damaged; a model is missing, empty or a web page; or the pack
            is there more than once. The message says where to get the pack.
    """
    path = Path(weights)
    try:
        return _read_folder(path) if path.is_dir() else _read_zip(path)
    except (FileNotFoundError, ValueError) as error:
        raise type(error)(f"{str(error).rstrip('.')}{WANTED}") from error


def _read_folder(path: Path) -> dict[str, bytes]:
    names = [file.relative_to(path) for file in sorted(path.rglob("*.onnx")) if file.is_file()]
    files = [path / place_of(names, path) / file for file in OFFICIAL]
    for file in files:
        reject_what_is_no_weights_file(file)
    return {file.name: file.read_bytes() for file in files}


def _read_zip(path: Path) -> dict[str, bytes]:
    reject_what_is_no_weights_file(path)
    try:
        with zipfile.ZipFile(path) as archive:
            names = {PurePosixPath(n): n for n in archive.namelist() if n.endswith(".onnx")}
            place = place_of(names, path)
            return {file: archive.read(names[place / file]) for file in OFFICIAL}
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise ValueError(
            f"{path} ({path.stat().st_size} bytes) is no zip file, or was cut short ({error}); "
            "delete it and download it again"
        ) from error


def place_of(names: Iterable[PurePath], where: Path) -> PurePath:
    """The folder, among the relative paths of models, that holds both models of the pack.

    Raises:
        ValueError: none does, or more than one.
    """
    names = list(names)
    holding = {file: {name.parent for name in names if name.name == file} for file in OFFICIAL}
    places = sorted(holding[DETECTOR] & holding[RECOGNISER])
    if len(places) == 1:
        return places[0]
    if places:
        raise ValueError(
            f"{where} holds the pack {len(places)} times, in {', '.join(map(str, places))}; give "
            "one of these folders"
        )
    listed = ", ".join(str(name) for name in names[:10]) or "no .onnx file at all"
    absent = [file for file in OFFICIAL if not holding[file]]
    if not absent:
        raise ValueError(f"{where} has the two models of the pack in different folders: {listed}")
    raise ValueError(
        f"{where} lacks {' and '.join(absent)}: it is another pack, or its download or unpacking "
        f"was cut short. It holds {listed}"
    )


# --------------------------------------------------------------------------------- the packages


class _Packages:
    """What is used of insightface and onnxruntime; imported only when a network is made."""

    def __init__(self) -> None:
        try:
            self.version = version("insightface")
            import onnxruntime
            from insightface.model_zoo.arcface_onnx import ArcFaceONNX
            from insightface.model_zoo.scrfd import SCRFD
            from insightface.utils.face_align import norm_crop
        except ImportError as error:
            raise RuntimeError(
                f"{PACK} needs the packages insightface (2.1 or later) and onnxruntime (for CUDA "
                f"onnxruntime-gpu instead): pip install 'insightface>=2.1,<3'. What is wrong: "
                f"{error}"
            ) from error
        if self.version.split(".")[0] != "2":
            raise RuntimeError(
                f"{PACK} needs insightface 2, but {self.version} is installed: "
                "pip install 'insightface>=2.1,<3'"
            )
        self.onnxruntime = onnxruntime
        self.detector, self.recogniser, self.norm_crop = SCRFD, ArcFaceONNX, norm_crop

    def session(self, content: bytes, what: str, providers: Sequence[Any]) -> Any:
        """An inference session on the first of ``providers``, and on no other.

        Raises:
            ValueError: the bytes are no ONNX model, or are cut short.
            RuntimeError: the session does not run on the first provider.
        """
        import torch

        first = providers[0] if isinstance(providers[0], str) else providers[0][0]
        options = self.onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.use_deterministic_compute = True
        options.log_severity_level = 4
        if first == CUDA:
            self.onnxruntime.preload_dlls()
        try:
            # its fallback would go on with the CPU, now or at a failure later
            session = self.onnxruntime.InferenceSession(
                content, options, providers=list(providers), enable_fallback=0
            )
        except Exception as error:  # each kind of failure has a class of its own, without a base
            if first == CUDA:
                raise RuntimeError(
                    f"onnxruntime cannot load {what} on CUDA ({error}). {NO_CUDA}"
                ) from error
            raise ValueError(
                f"{what} ({len(content)} bytes) is no ONNX model, or was cut short ({error})"
                + WANTED
            ) from error
        require_provider(session, first)
        return session


NO_CUDA = (
    "For CUDA uninstall onnxruntime and install onnxruntime-gpu, in the version for the CUDA of "
    "this machine (both at once do not work); or run with --resources gpu=0, or SEESAW_DEVICE=cpu, "
    "for the CPU"
)


def providers_for(device: str, available: Sequence[str]) -> list[Any]:
    """Providers of onnxruntime for a torch device, the wanted one first.

    CUDA without TF32 and without timing trials, so that it computes the same in every run.

    Args:
        device: ``"cpu"``, ``"cuda"`` or ``"cuda:N"``.
        available: the providers of this build of onnxruntime.

    Raises:
        ValueError: another kind of device.
        RuntimeError: this build has no CUDA.
    """
    kind, _, index = device.partition(":")
    if kind == "cpu":
        return [CPU]
    if kind != "cuda":
        raise ValueError(f"{PACK} runs on 'cpu' or 'cuda', not on {device!r}")
    if CUDA not in available:
        raise RuntimeError(
            f"{PACK} is to run on {device}, but this onnxruntime has no CUDA: it has "
            f"{', '.join(available)}. {NO_CUDA}"
        )
    options = {
        "device_id": index or "0",
        "use_tf32": "0",
        "cudnn_conv_algo_search": "HEURISTIC",
    }
    return [(CUDA, options), CPU]


def require_provider(session: Any, wanted: str) -> None:
    """Raise unless a session runs on ``wanted``: onnxruntime leaves out what it cannot load."""
    active = session.get_providers()
    if active[0] != wanted:
        raise RuntimeError(
            f"onnxruntime was asked for {wanted}, but took {', '.join(active)}: the libraries that "
            f"it needs (CUDA, cuDNN) are missing or of another version. {NO_CUDA}"
        )


# ----------------------------------------------------------------------------------- the models


def check_detector(session: Any, what: str) -> None:
    """Raise unless a session has SCRFD's inputs and outputs: 3 strides, with landmarks."""
    inputs, outputs = session.get_inputs(), session.get_outputs()
    shape = list(inputs[0].shape)
    sides = [side for side in shape[2:] if isinstance(side, int)]
    fits = (
        len(inputs) == 1
        and inputs[0].type == "tensor(float)"
        and len(shape) == 4
        and shape[1] == 3
        and all(side == DETECTOR_INPUT[0] for side in sides)
    )
    widths = [output.shape[-1] if output.shape else None for output in outputs]
    if not fits or widths != DETECTOR_WIDTHS:
        raise ValueError(
            f"{what} is another model: input {inputs[0].type} {shape}, outputs of width {widths}; "
            f"expected tensor(float) [1, 3, any, any], {DETECTOR_WIDTHS}" + WANTED
        )


def check_recogniser(session: Any, what: str) -> None:
    """Raise unless a session takes crops of 112 x 112 and returns 512 numbers."""
    inputs, outputs = session.get_inputs(), session.get_outputs()
    shape, result = list(inputs[0].shape), list(outputs[0].shape)
    fits = (
        len(inputs) == len(outputs) == 1
        and inputs[0].type == "tensor(float)"
        and shape[1:] == [3, CROP, CROP]
        and result[1:] == [WIDTH]
    )
    if not fits:
        raise ValueError(
            f"{what} is another model: input {inputs[0].type} {shape}, {len(outputs)} output(s), "
            f"the first {result}; expected tensor(float) [any, 3, {CROP}, {CROP}] and one output "
            f"[any, {WIDTH}]" + WANTED
        )


def embeds_batches(recogniser: Any) -> bool:
    """Whether a recogniser computes each row of a batch as it does alone.

    Some exported graphs declare a free batch axis but have a batch of one built in.
    """
    if isinstance(recogniser.session.get_inputs()[0].shape[0], int):
        return False
    crops = [np.full((CROP, CROP, 3), level, np.uint8) for level in (60, 190)]
    alone = np.concatenate([recogniser.get_feat([crop]) for crop in crops])
    try:
        together = recogniser.get_feat(crops)
    except Exception:  # onnxruntime's exceptions have no common base
        return False
    scale = np.abs(alone).max()
    return together.shape == alone.shape and np.allclose(together, alone, atol=1e-3 * scale)


def largest(boxes: np.ndarray) -> int:
    """Row of the largest box among ``(M, >=4)``, x0 y0 x1 y1; of equal ones the first."""
    return int(((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])).argmax())


def unit(embeddings: np.ndarray) -> np.ndarray:
    """Rows ``(N, D)`` divided by their length.

    Raises:
        RuntimeError: a row is zero or not finite.
    """
    lengths = np.linalg.norm(embeddings, axis=1, keepdims=True)
    if not (np.isfinite(lengths) & (lengths > 0)).all():
        raise RuntimeError(f"{PACK} returned an embedding that is zero or not finite")
    return embeddings / lengths
