"""Which device a job runs on. Call :func:`claim_device` before torch is imported."""

import logging
import os
import shutil

logger = logging.getLogger(__name__)


def claim_device(gpu: int) -> str:
    """The torch device of a job that was given ``gpu`` GPUs, ``"cuda"`` or ``"cpu"``.

    ``gpu=0`` is the CPU mode: the job then sees no GPU. With ``gpu >= 1`` it runs on what
    ``CUDA_VISIBLE_DEVICES`` (set by a scheduler or a person) leaves visible.
    """
    if gpu == 0:
        if shutil.which("nvidia-smi") and os.environ.get("CUDA_VISIBLE_DEVICES") != "":
            logger.info("CPU mode; this host has NVIDIA tools: --resources gpu=N uses N GPUs")
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
        return "cpu"
    import torch

    if not torch.cuda.is_available():
        raise RuntimeError(
            f"{gpu} GPU(s) asked for, but torch {torch.__version__} sees none; run with "
            "--resources gpu=0 for the CPU, or install a torch build for this driver"
        )
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    return "cuda"
