"""CLIP and DINOv2: official numbers from official layouts, every container, errors in words."""

import importlib
import json
import os
import pickle
import re
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from timm.models.vision_transformer import VisionTransformer
from torch import nn

from seesaw.diffusion.backbones import load_backbone
from seesaw.networks import dinov2, load_detector, load_feature_network, load_network
from seesaw.networks.clip_vit import MEAN, STD, ClipVitB32
from seesaw.networks.dinov2 import Dinov2VitB14, Dinov2VitL14, hub_positions
from seesaw.networks.torchscript import is_torchscript, torchscript_state
from seesaw.registry import ALIASES, BACKBONES, NETWORKS

REFERENCE = Path(__file__).parents[1] / "reference"
recipe = importlib.import_module("recipe")
OFFICIAL = {
    name: json.loads((REFERENCE / f"{name}.json").read_text())
    for name in ("clip_vit_b32", "dinov2_vitb14")
}
CLIP_SIZES = {768: 48, 2304: 144, 3072: 192, 50: 17, 512: 8, 32: 56}
DINO_SIZES = {768: 48, 2304: 144, 3072: 192}


class TinyClip(ClipVitB32):
    width, depth, heads, patch, dim = 48, 2, 2, 56, 8


class TinyDino(Dinov2VitB14):
    width, depth, heads = 48, 2, 2


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def rows_of(name, sizes=None, depth=12):
    """Key -> (shape, fill) of the official layout, at other sizes if wanted."""
    rows = {}
    for key, shape, kind in OFFICIAL[name]["tensors"]:
        shape = tuple((sizes or {}).get(n, n) for n in shape)
        found = re.search(r"\{0-11\}", key)
        for index in range(depth if found else 1):
            rows[key.replace("{0-11}", str(index))] = (shape, kind)
    return rows


def fill(rows):
    return {
        key: torch.from_numpy(recipe.fill(key, shape, kind)) for key, (shape, kind) in rows.items()
    }


def clip_state():
    """Tiny, in OpenAI's names; the text encoder is there."""
    return fill(rows_of("clip_vit_b32", CLIP_SIZES | {49408: 9, 77: 5}, depth=2))


def dino_state():
    return fill(rows_of("dinov2_vitb14", DINO_SIZES, depth=2))


def archive(state, path):
    """A TorchScript archive with these names: integers and floats as buffers, as OpenAI's has."""
    root = nn.Module()
    for key, tensor in state.items():
        *stems, last = key.split(".")
        module = root
        for stem in stems:
            if not hasattr(module, stem):
                module.add_module(stem, nn.Module())
            module = getattr(module, stem)
        module.register_buffer(last, tensor)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.script(root), str(path))
    return path


def rewritten(path, target, replace):
    """A copy of a zip file: ``replace(name, content) -> content``."""
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(target, "w") as new:
        for name in old.namelist():
            new.writestr(name, replace(name, old.read(name)))
    return target


# --------------------------------------------------------------------------------- official numbers


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """The published container: a TorchScript archive (of float32, which the numbers are of)."""
    rows = rows_of("clip_vit_b32")
    heavy = re.compile(r"token_embedding|^transformer\.resblocks\.([1-9]|10|11)\.")
    state = fill({key: row for key, row in rows.items() if not heavy.search(key)})
    for key, size in {"input_resolution": 224, "context_length": 77, "vocab_size": 49408}.items():
        state[key] = torch.tensor(size)
    path = archive(state, tmp_path_factory.mktemp("clip") / "ViT-B-32.pt")
    network = load_feature_network("clip_vit_b32", weights=path)
    path.unlink()
    return network


@pytest.fixture(scope="module")
def dino(tmp_path_factory):
    path = tmp_path_factory.mktemp("dino") / "dinov2_vitb14_pretrain.pth"
    torch.save(fill(rows_of("dinov2_vitb14")), path)
    yield load_feature_network("dinov2_vitb14", weights=path), path
    path.unlink()


def close(found, name, key, count=None):
    expected = np.load(REFERENCE / f"{name}.npz")[key][:count]
    np.testing.assert_allclose(found, expected, atol=OFFICIAL[name]["atol"][key], rtol=0)


def test_clip_has_openais_numbers(clip):
    stored = np.load(REFERENCE / "clip_vit_b32.npz")
    images = recipe.pictures("input:256", 2, 256, 256)
    seen = clip.prepare(images).transpose(0, 2, 3, 1)
    np.testing.assert_array_equal(seen[:, ::4, ::4], stored["preprocessed_256"])
    found = clip.extract(images[:1])["features"]
    assert found.dtype == np.float32
    close(found, "clip_vit_b32", "image_embedding_256", 1)
    images = recipe.pictures("input:224", 1, 224, 224)
    close(clip.extract(images)["features"], "clip_vit_b32", "image_embedding_224", 1)


def test_dinov2_has_the_hub_models_numbers(dino):
    network, _ = dino
    found = network.extract(recipe.pictures("input:256", 1, 256, 256))["features"]
    assert found.dtype == np.float32
    close(found, "dinov2_vitb14", "cls_256_direct", 1)


@pytest.mark.slow
def test_clip_has_all_of_openais_numbers_also_in_one_batch(clip):
    for key, size, count in (("image_embedding_224", 224, 4), ("image_embedding_256", 256, 2)):
        images = recipe.pictures(f"input:{size}", count, size, size)
        close(clip.extract(images)["features"], "clip_vit_b32", key)


@pytest.mark.slow
def test_dinov2_has_all_numbers_and_the_way_of_resizing_positions_shows(dino):
    network, path = dino
    images = recipe.pictures("input:224", 3, 224, 224)
    close(network.extract(images)["features"], "dinov2_vitb14", "cls_224")
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    pixels = torch.from_numpy(images / 255.0).permute(0, 2, 3, 1)
    pixels = ((pixels - torch.tensor(mean)) / torch.tensor(std)).permute(0, 3, 1, 2).float()
    with torch.no_grad():
        tokens = network.run(pixels, network.positions)
        other = network.run(pixels, network.positions_by_size)
    close(tokens[:, 1:].mean(1), "dinov2_vitb14", "patch_mean_224")
    contrast = OFFICIAL["dinov2_vitb14"]["contrast"]["pos_embed offset 0 (resize by size)"]
    assert float((other - tokens)[:, 0].abs().max()) > contrast
    images = recipe.pictures("input:256", 2, 256, 256)
    close(network.extract(images)["features"], "dinov2_vitb14", "cls_256_direct")
    official = load_feature_network("dinov2_vitb14-crop", weights=path)
    close(official.extract(images)["features"], "dinov2_vitb14", "cls_256_official")


def test_dinov2_vitl14_has_the_published_number_of_values():
    with torch.device("meta"):
        vit = VisionTransformer(
            img_size=518,
            patch_size=14,
            embed_dim=Dinov2VitL14.width,
            depth=Dinov2VitL14.depth,
            num_heads=Dinov2VitL14.heads,
            init_values=1.0,
            num_classes=0,
        )
    # with the mask token that the file has
    assert sum(p.numel() for p in vit.parameters()) + 1024 == 304_368_640


# ------------------------------------------------------------------------------------- closed forms


def cubic(x, a=-0.75):
    x = abs(x)
    if x <= 1:
        return (a + 2) * x**3 - (a + 3) * x**2 + 1
    return a * (x**3 - 5 * x**2 + 8 * x - 4) if x < 2 else 0.0


def test_positions_are_sampled_where_the_hub_model_samples_them():
    """At (i + 1/2) 37 / 16.1 - 1/2 by cubic convolution, the border repeated."""
    table = torch.from_numpy(recipe.fill("table", (1, 1370, 3), "embed:10"))
    weights = np.zeros((16, 37))
    for row in range(16):
        centre = (row + 0.5) * 37 / 16.1 - 0.5
        for place in range(int(np.floor(centre)) - 1, int(np.floor(centre)) + 3):
            weights[row, min(max(place, 0), 36)] += cubic(centre - place)
    grid = table[0, 1:].double().numpy().reshape(37, 37, 3)
    expected = np.einsum("ia,jb,abd->ijd", weights, weights, grid).reshape(256, 3)
    found = hub_positions(table)[0].numpy()
    np.testing.assert_array_equal(found[0], table[0, 0].numpy())
    np.testing.assert_allclose(found[1:], expected, atol=2e-6, rtol=0)


def test_without_its_blocks_clip_is_two_layer_norms_of_the_class_token(tmp_path):
    """Attention and perceptrons of weight zero: no image enters."""
    state = clip_state()
    for key in state:
        if re.search(r"visual.*\.(out_proj|c_proj)\.", key):
            state[key] = torch.zeros_like(state[key])
    torch.save(state, tmp_path / "clip.pt")
    network = TinyClip(tmp_path / "clip.pt")

    def norm(x, name):
        x = (x - x.mean()) / np.sqrt(x.var() + 1e-5)
        return x * state[f"{name}.weight"].numpy() + state[f"{name}.bias"].numpy()

    first = state["visual.class_embedding"].double() + state["visual.positional_embedding"][0]
    expected = norm(norm(first.numpy(), "visual.ln_pre"), "visual.ln_post")
    expected = expected @ state["visual.proj"].numpy()
    found = network.extract(recipe.pictures("any", 2, 40, 30))["features"]
    np.testing.assert_allclose(found, [expected, expected], atol=1e-5, rtol=0)


def test_what_the_networks_see(tmp_path):
    torch.save(clip_state(), tmp_path / "clip.pt")
    torch.save(dino_state(), tmp_path / "dino.pth")
    clip, direct = TinyClip(tmp_path / "clip.pt"), TinyDino(tmp_path / "dino.pth")
    official = TinyDino(tmp_path / "dino.pth", crop="official")
    images = recipe.pictures("input:256", 1, 256, 256)
    np.testing.assert_array_equal(official.prepare(images), images[:, :, 16:240, 16:240])
    whole = Image.fromarray(images[0].transpose(1, 2, 0)).resize((224, 224), Image.BICUBIC)
    np.testing.assert_array_equal(direct.prepare(images)[0], np.asarray(whole).transpose(2, 0, 1))
    np.testing.assert_array_equal(clip.prepare(images), direct.prepare(images))
    small = recipe.pictures("input:224", 1, 224, 224)
    np.testing.assert_array_equal(clip.prepare(small), small)
    np.testing.assert_array_equal(direct.prepare(small), small)
    # a wide image: CLIP sees its middle, DINOv2 all of it
    wide = np.zeros((1, 3, 224, 448), np.uint8)
    wide[..., :112] = 200
    assert not clip.prepare(wide).any()
    assert direct.prepare(wide)[..., :50].min() == 200
    np.testing.assert_array_equal(clip.prepare(np.full((1, 3, 9, 31), 77, np.uint8)), 77)
    np.testing.assert_allclose(MEAN, [0.481, 0.458, 0.408], atol=5e-4)
    np.testing.assert_allclose(STD, [0.269, 0.261, 0.276], atol=5e-4)


def test_tokens_are_those_of_timms_model_on_pixels_from_minus_one_to_one(tmp_path):
    """The VF loss's teacher: bilinear to 224, no ImageNet statistics, timm's own resizing."""
    state = dino_state()
    torch.save(state, tmp_path / "dino.pth")
    network = TinyDino(tmp_path / "dino.pth")
    timm = VisionTransformer(
        img_size=518,
        patch_size=14,
        embed_dim=48,
        depth=2,
        num_heads=2,
        init_values=1e-5,
        num_classes=0,
        dynamic_img_size=True,
    ).eval()
    timm.load_state_dict({key: value for key, value in state.items() if key != "mask_token"})
    images = torch.from_numpy(recipe.pictures("input:256", 2, 256, 256)).float() / 127.5 - 1
    resized = nn.functional.interpolate(images, (224, 224), mode="bilinear", align_corners=False)
    with torch.no_grad():
        expected = timm.forward_features(resized)[:, 1:]
    found = network.tokens(images)
    assert found.shape == (2, network.grid**2, network.dim) == (2, 256, 48)
    np.testing.assert_allclose(found.numpy(), expected.numpy(), atol=1e-5, rtol=0)
    # a training objective takes them: gradients reach the images, not the weights
    network.tokens(images.requires_grad_())[:, 0].sum().backward()
    assert images.grad.abs().max() > 0
    assert not any(p.requires_grad for p in network.vit.parameters())


# --------------------------------------------------------------------------------------- containers


def in_threes(key, value, stem, names):
    """A fused tensor as three rows of blocks, in the hub's names."""
    kind = "weight" if key.endswith("weight") else "bias"
    return {f"{stem}.{name}.{kind}": part for name, part in zip(names, value.chunk(3))}


def clip_in_hub_names(state):
    """As CLIPModel is saved: the image encoder, some of the text encoder, old buffers."""
    new = {"logit_scale": torch.tensor(0.0), "text_model.final_layer_norm.weight": torch.zeros(8)}
    new["vision_model.embeddings.position_ids"] = torch.arange(17)[None]
    swaps = {
        "visual.class_embedding": "vision_model.embeddings.class_embedding",
        "visual.positional_embedding": "vision_model.embeddings.position_embedding.weight",
        "visual.conv1": "vision_model.embeddings.patch_embedding",
        "visual.ln_pre": "vision_model.pre_layrnorm",
        "visual.ln_post": "vision_model.post_layernorm",
        "visual.transformer.resblocks": "vision_model.encoder.layers",
        ".attn.out_proj": ".self_attn.out_proj",
        ".ln_": ".layer_norm",
        ".c_fc": ".fc1",
        ".c_proj": ".fc2",
    }
    for key, value in state.items():
        if not key.startswith("visual."):
            continue
        name = key
        for old, better in swaps.items():
            name = name.replace(old, better)
        if "in_proj" in name:
            stem = name.replace(".attn.in_proj", ".self_attn").rpartition("_")[0]
            new |= in_threes(key, value, stem, ("q_proj", "k_proj", "v_proj"))
        elif key == "visual.proj":
            new["visual_projection.weight"] = value.T
        else:
            new[name] = value
    return new


def dino_in_hub_names(state, version):
    parts = {
        4: [f"attention.{n}" for n in ("query", "key", "value")],
        5: ["q_proj", "k_proj", "v_proj"],
    }
    swaps = {
        "cls_token": "embeddings.cls_token",
        "pos_embed": "embeddings.position_embeddings",
        "mask_token": "embeddings.mask_token",
        "patch_embed.proj": "embeddings.patch_embeddings.projection",
        "blocks.": "encoder.layer.",
        "attn.proj": {4: "attention.output.dense", 5: "attention.o_proj"}[version],
        "ls1.gamma": "layer_scale1.lambda1",
        "ls2.gamma": "layer_scale2.lambda1",
    }
    new = {}
    for key, value in state.items():
        name = "layernorm" + key.removeprefix("norm") if key.startswith("norm.") else key
        for old, better in swaps.items():
            name = name.replace(old, better)
        if ".attn.qkv" in name:
            stem = name.partition(".attn.qkv")[0] + ".attention"
            new |= in_threes(key, value, stem, parts[version])
        else:
            new[name] = value
    return new


def write(state, path):
    if path.suffix == ".safetensors":
        save_file({key: value.contiguous() for key, value in state.items()}, path)
    else:
        torch.save(state, path)
    return path


def test_clip_is_the_same_from_every_file(tmp_path):
    state = {key: value.half() for key, value in clip_state().items()}
    sizes = {"input_resolution": 224, "context_length": 77, "vocab_size": 49408}
    as_tensors = {key: torch.tensor(size) for key, size in sizes.items()}
    hub = clip_in_hub_names(state)
    assert len(hub) == 3 + 7 + 1 + 2 * 16
    files = {
        "archive": archive(state | as_tensors, tmp_path / "ViT-B-32.pt"),
        "state": write(state | as_tensors, tmp_path / "state.pt"),
        "numbers": write(state | sizes, tmp_path / "numbers.pt"),
        "wrapped": write({"state_dict": state}, tmp_path / "wrapped.pt"),
        "tower": write({k: v for k, v in state.items() if k[:7] == "visual."}, tmp_path / "t.pt"),
        "safetensors": write(hub, tmp_path / "model.safetensors"),
        "bin": write(hub, tmp_path / "pytorch_model.bin"),
    }
    images = recipe.pictures("clip", 2, 60, 50)
    expected = TinyClip(files["state"]).extract(images)["features"]
    assert expected.shape == (2, 8)
    assert expected.std() > 0.1
    for name, path in files.items():
        found = TinyClip(path).extract(images)["features"]
        np.testing.assert_array_equal(found, expected, err_msg=name)


@pytest.mark.parametrize("version", [4, 5])
@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin"])
def test_dinov2_is_the_same_in_the_names_of_transformers(tmp_path, version, name):
    state = dino_state()
    hub = dino_in_hub_names(state, version)
    assert len(hub) == len(state) + 2 * 2 * 2
    images = recipe.pictures("dino", 1, 60, 50)
    write({k: v for k, v in state.items() if k != "mask_token"}, tmp_path / "official.pth")
    expected = TinyDino(tmp_path / "official.pth").extract(images)["features"]
    found = TinyDino(write(hub, tmp_path / name)).extract(images)["features"]
    assert expected.std() > 0.1
    np.testing.assert_array_equal(found, expected)


# --------------------------------------------------------------------- archives, without their code


class Evil:
    """Makes a folder when it is unpickled."""

    def __init__(self, folder):
        self.folder = str(folder)

    def __reduce__(self):
        return os.mkdir, (self.folder,)


class Restored(nn.Module):
    """A scripted module whose own code runs when torch.jit loads it."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(3))

    @torch.jit.export
    def __getstate__(self):
        return (self.weight, self.training)

    @torch.jit.export
    def __setstate__(self, state: tuple[torch.Tensor, bool]):
        self.weight = state[0]
        self.training = state[1]
        raise RuntimeError("code of the archive has run")


def test_an_archive_is_read_as_torch_reads_it_but_without_its_code(tmp_path):
    shared = torch.arange(12.0)
    state = {
        "a.0.small": torch.randn(2, 3).half(),
        "a.0.transposed": torch.randn(4, 5).T,
        "a.part": shared[3:9].view(2, 3),
        "a.whole": shared,
        "long": torch.tensor(224),
        "empty": torch.zeros(0, 4),
        "flags": torch.tensor([True, False]),
        "brain": torch.randn(3).bfloat16(),
    }
    path = archive(state, tmp_path / "a.pt")
    assert is_torchscript(path)
    theirs = torch.jit.load(str(path)).state_dict()
    found = torchscript_state(path)
    assert found.keys() == theirs.keys() == state.keys()
    for key, tensor in theirs.items():
        assert found[key].dtype == tensor.dtype == state[key].dtype
        assert torch.equal(found[key], tensor)
    rubbish = rewritten(path, tmp_path / "b.pt", lambda n, c: b"rubbish" if "/code/" in n else c)
    with pytest.raises((RuntimeError, torch.jit.Error)):
        torch.jit.load(str(rubbish))
    again = torchscript_state(rubbish)
    assert all(torch.equal(again[key], tensor) for key, tensor in theirs.items())


def test_no_code_of_an_archive_runs(tmp_path):
    folder = tmp_path / "made"
    path = archive({"x": torch.ones(2)}, tmp_path / "a.pt")
    content = pickle.dumps({"x": Evil(folder)}, protocol=2)
    evil = rewritten(path, tmp_path / "b.pt", lambda n, c: content if n[-9:] == "/data.pkl" else c)
    with pytest.raises(ValueError, match="of a dict, no module"):
        torchscript_state(evil)
    assert not folder.exists()
    pickle.loads(content)
    assert folder.exists(), "the same pickle does run code elsewhere"
    torch.jit.save(torch.jit.script(Restored()), str(tmp_path / "c.pt"))
    with pytest.raises(torch.jit.Error, match="code of the archive has run"):
        torch.jit.load(str(tmp_path / "c.pt"))
    assert torchscript_state(tmp_path / "c.pt") == {}


def test_a_damaged_archive_is_told_in_words(tmp_path):
    path = archive(clip_state(), tmp_path / "ViT-B-32.pt")
    whole = path.read_bytes()
    (tmp_path / "half.pt").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match="cut short") as caught:
        TinyClip(tmp_path / "half.pt")
    assert "ViT-B-32.pt of openai/CLIP" in str(caught.value)
    middle = bytearray(whole)
    with zipfile.ZipFile(path) as opened:
        at = max(opened.infolist(), key=lambda member: member.file_size).header_offset + 2000
    middle[at] ^= 1
    (tmp_path / "bit.pt").write_bytes(middle)
    with pytest.raises(ValueError, match="damaged TorchScript archive"):
        TinyClip(tmp_path / "bit.pt")
    short = rewritten(
        path, tmp_path / "short.pt", lambda n, c: c[:-4] if "/data/" in n and len(c) > 99 else c
    )
    with pytest.raises(ValueError, match=r"damaged TorchScript archive.*bytes for"):
        TinyClip(short)


# ------------------------------------------------------------------------------- errors and batches


@pytest.mark.parametrize("cls, make", [(TinyClip, clip_state), (TinyDino, dino_state)])
def test_batches_do_not_matter_and_other_arrays_are_refused(tmp_path, cls, make):
    torch.save(make(), tmp_path / "weights.pth")
    network = cls(tmp_path / "weights.pth")
    images = recipe.pictures("batch", 5, 48, 64)
    whole = network.extract(images)["features"]
    parts = [network.extract(images[i : i + n])["features"] for i, n in ((0, 1), (1, 3), (4, 1))]
    np.testing.assert_allclose(np.concatenate(parts), whole, atol=5e-6, rtol=0)
    assert np.abs(whole[0] - whole[1]).max() > 1e-2
    assert len(network.extract(images[:0])["features"]) == 0
    json.dumps(network.meta)
    for wrong in (images.astype(np.float32), images[:, :1], images[0], images / 255):
        with pytest.raises(ValueError, match="expected uint8 RGB images"):
            network.extract(wrong)


@pytest.mark.parametrize(
    "cls, make, key, wanted",
    [
        (TinyClip, clip_state, "visual.ln_post.bias", "ViT-B-32.pt of openai/CLIP"),
        (TinyClip, clip_state, "visual.proj", "openai/clip-vit-base-patch32"),
        (
            TinyClip,
            clip_state,
            "visual.transformer.resblocks.1.attn.in_proj_weight",
            "ViT-B-32.pt of openai/CLIP",
        ),
        (TinyDino, dino_state, "blocks.1.ls2.gamma", "dinov2_vitb14_pretrain.pth"),
        (TinyDino, dino_state, "pos_embed", "facebook/dinov2-base"),
    ],
)
def test_a_tensor_that_does_not_fit_is_named_as_the_authors_name_it(
    tmp_path, cls, make, key, wanted
):
    path, state = tmp_path / "weights.pth", make()
    shape = tuple(state[key].shape)
    torch.save({k: v for k, v in state.items() if k != key}, path)
    with pytest.raises(
        ValueError, match=f"1 missing:\n    {re.escape(f'{key} {shape}')}"
    ) as caught:
        cls(path)
    assert wanted in str(caught.value)
    torch.save(state | {key: state[key][..., :-1]}, path)
    with pytest.raises(ValueError, match=re.escape(f"expected {shape}")):
        cls(path)
    torch.save(state | {key: torch.zeros(shape, dtype=torch.int64)}, path)
    with pytest.raises(ValueError, match="of the wrong dtype"):
        cls(path)
    torch.save(state | {"visual.extra": torch.zeros(3)}, path)
    with pytest.raises(ValueError, match=r"1 unexpected:\n    visual.extra \(3,\)"):
        cls(path)


def test_a_hub_file_that_lacks_a_query_says_so(tmp_path):
    hub = dino_in_hub_names(dino_state(), 4)
    del hub["encoder.layer.0.attention.attention.query.bias"]
    with pytest.raises(ValueError, match="does not fit") as caught:
        TinyDino(write(hub, tmp_path / "model.safetensors"))
    assert "blocks.0.attn.qkv.bias (144,)" in str(caught.value)
    assert "encoder.layer.0.attention.attention.key.bias (48,)" in str(caught.value)


@pytest.mark.parametrize(
    "name, wanted",
    [
        ("clip_vit_b32", "ViT-B-32.pt of openai/CLIP"),
        ("dinov2_vitb14", "dinov2_vitb14/dinov2_vitb14_pretrain.pth"),
        ("dinov2_vitl14", "dinov2_vitl14/dinov2_vitl14_pretrain.pth"),
    ],
)
def test_what_is_no_file_of_these_weights_says_which_one_is_needed(tmp_path, name, wanted):
    with pytest.raises(ValueError, match="needs a weights file"):
        load_network(name)
    with pytest.raises(ValueError, match="give the path of") as caught:
        NETWORKS.load(name)(None)
    assert wanted in str(caught.value)
    with pytest.raises(FileNotFoundError, match=re.escape(wanted)):
        load_network(name, tmp_path / "absent.pth")
    for content, words in (
        (b"", "is empty"),
        (b"<!DOCTYPE html><html>Sign in</html>", "is a web page"),
        (b"PK\x03\x04 cut short", "cannot be read"),
    ):
        (tmp_path / "w.pth").write_bytes(content)
        with pytest.raises(ValueError, match=words) as caught:
            load_network(name, tmp_path / "w.pth")
        assert wanted in str(caught.value)
    torch.save({"features.0.weight": torch.zeros(64, 3, 11, 11)}, tmp_path / "alexnet.pth")
    with pytest.raises(ValueError, match=r"unexpected:\n    features.0.weight") as caught:
        load_network(name, tmp_path / "alexnet.pth")
    assert wanted in str(caught.value)


# ---------------------------------------------------------------------------- doors and other names


def test_options_and_kinds_are_checked_in_words(tmp_path):
    with pytest.raises(ValueError, match="unknown crop .*Valid: direct, official"):
        load_feature_network("dinov2_vitb14", tmp_path / "x.pth", crop="centre")
    with pytest.raises(ValueError, match="does not take 'size'; .* it takes crop"):
        load_feature_network("dinov2_vitb14", tmp_path / "x.pth", size=3)
    with pytest.raises(ValueError, match="does not take 'crop'; .* it takes nothing"):
        load_feature_network("clip_vit_b32", tmp_path / "x.pth", crop="direct")
    with pytest.raises(ValueError, match="'features', which load_feature_network loads") as caught:
        load_detector("clip_vit_b32", tmp_path / "x.pth")
    assert "canny" in str(caught.value)
    with pytest.raises(ValueError, match="'edges', which load_detector loads"):
        load_feature_network("canny")
    with pytest.raises(ValueError, match="unknown network 'clip_vit_b31'"):
        load_feature_network("clip_vit_b31")


def test_other_names_load_the_same(tmp_path):
    images = recipe.pictures("edges", 1, 32, 32)
    assert load_detector("canny").extract(images)["map"].any()
    with pytest.raises(FileNotFoundError, match="weights-inception-2015"):
        load_feature_network("inception_fid", weights=tmp_path / "absent.pth")
    with pytest.raises(FileNotFoundError, match="alexnet-owt"):
        load_feature_network("lpips_alex", weights=tmp_path / "absent.pth")
    for name, (registered, _) in ALIASES.items():
        assert name not in NETWORKS
        assert name not in BACKBONES
        assert (registered in NETWORKS) != (registered in BACKBONES)


@pytest.mark.parametrize(
    "name, config, shape, shift",
    [
        ("sit_b_2", {"size": "SiT-Ti"}, (4, 32, 32), 1.0),
        ("sit_b_1", {"size": "SiT-Ti"}, (32, 16, 16), 2**0.5),
        ("sit_b_1d", {"size": "SiT-Ti"}, (128, 32), 0.8),
        ("sit_xl_2", {"size": "SiT-Ti"}, (16, 32, 32), 2.0),
        ("lightningdit_xl_1", {"depth": 1, "width": 64, "heads": 2}, (32, 16, 16), None),
        (
            "rae_ditdh_xl",
            {"depth": 1, "width": 64, "heads": 2, "head_width": 96, "head_heads": 2},
            (768, 16, 16),
            None,
        ),
    ],
)
def test_backbones_by_their_other_names(name, config, shape, shift):
    """Depth and width are made small here; the rest is the published size's."""
    backbone = load_backbone(name, config=config)
    assert backbone.latent_shape == shape
    assert shift is None or backbone.time_shift == pytest.approx(shift)


def test_dinov2_files_are_named_after_their_size():
    assert "dinov2-large" in Dinov2VitL14.weights_file()
    assert "dinov2_vitl14_pretrain.pth" in Dinov2VitL14.weights_file()
    assert dinov2.GRID == 16
