"""Official-layout weights files of published autoencoders, filled by the recipe.

``tests/reference/autoencoders/<architecture>.json`` has the layout of the authors' files and the
``.npz`` what their code computes with these tensors (seed 0), thinned out.
"""

import json
import pickle
import sys
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

REFERENCE = Path(__file__).parents[1] / "reference"
sys.path.insert(0, str(REFERENCE))

from recipe import fill, generator  # noqa: E402

FOLDER = REFERENCE / "autoencoders"
ARCHITECTURES = sorted(path.stem for path in FOLDER.glob("*.json"))
MEAN, STD = np.float32([0.485, 0.456, 0.406]), np.float32([0.229, 0.224, 0.225])


def layout(architecture):
    """The description of an architecture's files and numbers."""
    return json.loads((FOLDER / f"{architecture}.json").read_text())


def expected(architecture):
    """Name -> array (thinned) or ``stats/name`` -> mean, std, min, max of the whole array."""
    with np.load(FOLDER / f"{architecture}.npz") as stored:
        return {name: stored[name] for name in stored.files if not name.startswith("literal/")}


def tensors(architecture, rows, *, seed=0, prefix=""):
    """Key -> tensor in the dtype of the file."""
    with np.load(FOLDER / f"{architecture}.npz") as stored:
        literals = {n.removeprefix("literal/"): stored[n] for n in stored.files if "literal/" in n}
    state = {}
    for key, shape, dtype, kind in rows:
        if kind == "literal" and key.endswith("decoder_pos_embed"):
            values = np.load(FOLDER / "position_table.npz")["decoder_pos_embed"]
        elif kind == "literal":
            values = literals[key]
        else:
            kept = "float32" if dtype == "bfloat16" else dtype
            values = fill(prefix + key, shape, kind, seed=seed, dtype=kept)
        tensor = torch.from_numpy(np.asarray(values).reshape(shape).copy())
        state[key] = tensor.to(getattr(torch, dtype))
    return state


def official_files(architecture, folder, *, seed=0, extras=True):
    """Write the files as their authors publish them; role -> path.

    Extra keys that a loader must drop, decoys and other top-level entries are written too.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    paths = {}
    for file in layout(architecture)["files"]:
        prefix = file["name_prefix"]
        state = tensors(architecture, file["tensors"], seed=seed, prefix=prefix)
        if extras:
            state |= tensors(architecture, file.get("extras", []), seed=seed, prefix=prefix)
        if file["container"] == "safetensors":
            paths[file["role"]] = folder / f"{file['role']}.safetensors"
            save_file(
                {key: value.contiguous() for key, value in state.items()}, paths[file["role"]]
            )
            continue
        content = dict.fromkeys(file.get("other_top_level", []), 1)
        for decoy in file.get("decoys", []):
            false = tensors(architecture, file["tensors"], seed=seed, prefix=decoy["hash_prefix"])
            _nest(content, decoy["path"], false)
        content = _nest(content, file["entry"], state) if file["entry"] else state
        if file["container"] == "pickle":
            paths[file["role"]] = folder / f"{file['role']}.pkl"
            content = {n: {k: v.numpy() for k, v in s.items()} for n, s in content.items()}
            paths[file["role"]].write_bytes(pickle.dumps(content))
        else:
            paths[file["role"]] = folder / f"{file['role']}.pt"
            torch.save(content, paths[file["role"]])
    return paths


def images(architecture, *, seed=0):
    """The input of the numbers, float32 in [-1, 1], ``(batch, 3, 256, 256)``."""
    given = layout(architecture)["input"]
    pictures = plane_waves(given["batch"], given["size"], seed=seed)
    return torch.from_numpy(pictures.astype(np.float32)).permute(0, 3, 1, 2) / 127.5 - 1


def plane_waves(count, size, *, seed=0):
    """uint8 pictures ``(count, size, size, 3)``: three plane waves per channel, and noise."""
    rows, columns = np.meshgrid(*2 * [np.arange(size) / size], indexing="ij")
    pictures = np.empty((count, size, size, 3), np.uint8)
    for i in range(count):
        rng = generator(seed, f"image/{i}")
        waves = rng.random((3, 3, 3))
        for channel in range(3):
            total = 0
            for up, along, phase in waves[channel]:
                angle = (8 * up - 4) * rows + (8 * along - 4) * columns + phase
                total = total + np.sin(2 * np.pi * angle)
            values = 127.5 + 32.0 * total + 12.0 * rng.standard_normal((size, size))
            pictures[i, :, :, channel] = np.clip(np.floor(values + 0.5), 0, 255)
    return pictures


def in_official_range(architecture, decoded):
    """Images about [-1, 1] in the range that the authors' decoder gives."""
    kind = layout(architecture)["image_range"]
    if kind == "pm1":
        return decoded
    unit = (decoded + 1) / 2
    if kind == "unit":
        return unit
    return (unit - torch.tensor(MEAN).view(-1, 1, 1)) / torch.tensor(STD).view(-1, 1, 1)


def thinned(values, architecture, name):
    """The part of a whole array that is stored."""
    steps = layout(architecture)["arrays"][name]["steps"]
    return np.asarray(values.float())[tuple(slice(None, None, step) for step in steps)]


def _nest(content, path, value):
    *outer, last = path
    inner = content
    for name in outer:
        inner = inner.setdefault(name, {})
    inner[last] = value
    return content
