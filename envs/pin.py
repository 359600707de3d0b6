"""Write envs/*.yaml: the packages of each group of rules, pinned as in requirements.lock."""

import re
from pathlib import Path

ENVS = Path(__file__).parent
COMMON = [
    "jsonschema",
    "numpy",
    "opencv-python",
    "pandas",
    "pillow",
    "pyarrow",
    "pyyaml",
    "requests",
    "safetensors",
    "scipy",
    "snakemake",
    "tqdm",
]
GROUPS = {
    "tables": [*COMMON, "docutils", "jinja2", "matplotlib", "seaborn"],
    "torch": [
        *COMMON,
        "diffusers",
        "insightface",
        "lpips",
        "matplotlib",
        "onnxruntime",
        "timm",
        "torch",
        "torch-fidelity",
        "torchmetrics",
        "torchvision",
    ],
}
TEMPLATE = """\
# Written by envs/pin.py (make lock). Rules name this file in conda:; run with --sdm conda.
name: seesaw-{group}
channels:
  - conda-forge
dependencies:
  - python=3.11
  - pip
  - pip:
{pins}
"""


def locked(lock: str) -> dict[str, str]:
    """Package -> version of a lock file, as pinned for Python 3.11 on Linux."""
    pins: dict[str, str] = {}
    for line in lock.splitlines():
        match = re.match(r"([A-Za-z0-9_.-]+)==([^ ;]+)(?: ; (.*))?$", line.strip())
        if match and "python_full_version >= '3.12'" not in (match[3] or ""):
            pins.setdefault(match[1].lower(), match[2])
    return pins


def environments(lock: str) -> dict[str, str]:
    """File name -> content of every environment."""
    pins = locked(lock)
    return {
        f"{group}.yaml": TEMPLATE.format(
            group=group, pins="\n".join(f"      - {name}=={pins[name]}" for name in names)
        )
        for group, names in GROUPS.items()
    }


if __name__ == "__main__":
    for name, text in environments((ENVS.parent / "requirements.lock").read_text()).items():
        (ENVS / name).write_text(text)
