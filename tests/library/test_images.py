"""Figures made of images: what is drawn, where, and what is refused."""

import json
import runpy
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from seesaw.figures.gallery import Condition, gallery, pick, read_condition, read_numbers
from seesaw.figures.images import (
    Sheet,
    autoencoder_grid,
    choose_ids,
    figure4,
    has_box,
    ifid_figure5,
    label_colors,
    map_colors,
    probe_strip,
    read_examples,
    read_probes,
    scenes,
)
from seesaw.files import write_tensors
from seesaw.shards import Shards, ShardWriter

SCRIPTS = Path(__file__).parents[2] / "workflow" / "scripts"
STRIPS = ("images", "neighbours", "interpolations", "reconstructions")


def pictures(n, side=8, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (n, 3, side, side), dtype=np.uint8)


def drawn(figure):
    """Pixels of every image on a sheet, in drawing order, as (3, H, W)."""
    return [np.asarray(image.get_array()).transpose(2, 0, 1) for image in figure.axes[0].images]


def words(figure):
    return [text.get_text() for text in figure.axes[0].texts]


def assert_inside(figure):
    """Every word and image lies on the page."""
    figure.canvas.draw()
    page = figure.bbox
    for artist in [*figure.axes[0].texts, *figure.axes[0].images]:
        box = artist.get_window_extent(figure.canvas.get_renderer())
        assert box.x0 >= page.x0 - 1
        assert box.x1 <= page.x1 + 1
        assert box.y0 >= page.y0 - 1
        assert box.y1 <= page.y1 + 1, artist


def test_sheet_places_pixels_exactly():
    sheet = Sheet(1.0, 2.0)
    colors = np.array([[[255, 0], [0, 10]], [[0, 255], [0, 20]], [[0, 0], [255, 30]]], np.uint8)
    sheet.image(colors, 0.5, 0.2, 0.6)
    sheet.figure.canvas.draw()
    page = np.asarray(sheet.figure.canvas.buffer_rgba())[..., :3]
    assert page.shape[:2] == (200, 400)
    for row in range(2):
        for column in range(2):
            y, x = int((0.2 + 0.15 + 0.3 * row) * 200), int((0.5 + 0.15 + 0.3 * column) * 200)
            assert page[y, x].tolist() == colors[:, row, column].tolist()
    assert page[5, 5].tolist() == [255, 255, 255]


def test_sheet_draws_a_box_where_the_pixels_are():
    sheet = Sheet(1.0, 1.0)
    sheet.box(np.array([2, 4, 6, 100]), 8, 0.2, 0.1, 0.8, "red")
    box = sheet.axes.patches[0].get_bbox()
    assert box.extents == pytest.approx([0.2 + 0.2, 0.1 + 0.4, 0.2 + 0.6, 0.1 + 0.8])


def test_choose_ids_ignores_order_and_follows_the_seed():
    ids = [f"val-{i}" for i in range(200)]
    chosen = choose_ids(ids, 12, seed=3)
    assert chosen == choose_ids(ids[::-1], 12, seed=3)
    assert chosen != choose_ids(ids, 12, seed=4)
    assert len(set(chosen)) == 12
    assert sorted(choose_ids(ids[:5], 12, seed=3)) == ids[:5]


def examples_of(names, n=8):
    return {
        name: {key: pictures(n, seed=10 * i + j) for j, key in enumerate(STRIPS)}
        for i, name in enumerate(names)
    }


def test_ifid_figure5_shows_each_strip():
    ids = [f"val/{i:06d}" for i in range(8)]
    examples = examples_of(["kl-f4", "a-name-that-is-rather-long-for-its-row"])
    figure = ifid_figure5(examples, ids, count=4, per_row=3)
    shown = drawn(figure)
    expected = [
        examples[name][key][example] for example in range(4) for name in examples for key in STRIPS
    ]
    assert len(shown) == 2 * 4 * 4
    for one, other in zip(shown, expected, strict=True):
        np.testing.assert_array_equal(one, other)
    assert [word for word in words(figure) if word.startswith("val/")] == ids[:4]
    assert_inside(figure)


@pytest.mark.parametrize(("autoencoders", "examples"), [(1, 6), (8, 6), (9, 3), (33, 3)])
def test_ifid_figure5_shows_fewer_examples_of_more_autoencoders(autoencoders, examples):
    names = [f"ae{i}" for i in range(autoencoders)]
    figure = ifid_figure5(examples_of(names), [str(i) for i in range(8)])
    assert len(drawn(figure)) == autoencoders * examples * 4


def test_ifid_figure5_refuses_what_it_cannot_show():
    ids = ["a", "b"]
    with pytest.raises(ValueError, match="at least one autoencoder"):
        ifid_figure5({}, ids)
    broken = examples_of(["kl"], 2)
    del broken["kl"]["neighbours"]
    with pytest.raises(ValueError, match="'kl' lack 'neighbours'"):
        ifid_figure5(broken, ids)
    broken = examples_of(["kl"], 2)
    broken["kl"]["images"] = broken["kl"]["images"].astype(np.float32)
    with pytest.raises(ValueError, match=r"uint8 RGB images \(2, 3, H, W\), got float32"):
        ifid_figure5(broken, ids)
    with pytest.raises(ValueError, match=r"\(3, 3, H, W\)"):
        ifid_figure5(examples_of(["kl"], 2), ["a", "b", "c"])


def test_read_examples(tmp_path):
    for name, ids in {"a": ["x", "y"], "b": ["x", "y"], "c": ["y", "x"]}.items():
        write_tensors(tmp_path / name, examples_of([name], 2)[name], {"ids": json.dumps(ids)})
    examples, ids = read_examples({"a": tmp_path / "a", "b": tmp_path / "b"})
    assert ids == ["x", "y"]
    assert set(examples["b"]) == set(STRIPS)
    with pytest.raises(ValueError, match="different images"):
        read_examples({"a": tmp_path / "a", "c": tmp_path / "c"})


def test_autoencoder_grid_rows_and_numbers():
    images = pictures(5)
    reconstructions = {"kl": pictures(5, seed=1), "one-with-a-longer-name": pictures(5, seed=2)}
    figure = autoencoder_grid(images, reconstructions, {"kl": 23.456})
    shown = drawn(figure)
    expected = [*images, *reconstructions["kl"], *reconstructions["one-with-a-longer-name"]]
    for one, other in zip(shown, expected, strict=True):
        np.testing.assert_array_equal(one, other)
    assert "kl\n23.46 dB" in words(figure)
    assert words(figure)[0] == "original"
    assert_inside(figure)
    with pytest.raises(ValueError, match="reconstructions of 'kl'"):
        autoencoder_grid(images, {"kl": pictures(4)}, {})


def test_label_colors():
    labels = np.array([[[0, 2], [1, 1]]], np.uint8)
    palette = [[0, 0, 0], [1, 2, 3], [250, 251, 252]]
    colors = label_colors(labels, palette)
    assert colors.shape == (1, 3, 2, 2)
    assert colors[0, :, 0, 1].tolist() == [250, 251, 252]
    assert colors[0, :, 1, 0].tolist() == [1, 2, 3]
    with pytest.raises(ValueError, match="label 2 has no colour: the palette holds 2"):
        label_colors(labels, palette[:2])
    assert label_colors(labels + 20, None).shape == (1, 3, 2, 2)


def test_map_colors_share_one_scale():
    levels = np.array([[[0, 51], [102, 255]]], np.uint8)
    np.testing.assert_array_equal(
        map_colors(levels, "magma"), map_colors((levels / 255).astype(np.float32), "magma")
    )
    np.testing.assert_array_equal(map_colors(levels, "gray")[0, 0], levels[0])
    # a map alone is drawn as it is among others
    np.testing.assert_array_equal(
        map_colors(levels[:, :1], "magma"), map_colors(levels, "magma")[:, :, :1]
    )


@pytest.mark.parametrize(
    ("corners", "is_box"),
    [
        ([1, 1, 3, 4], True),
        ([0, 0, 0, 0], False),
        ([3, 1, 1, 4], False),
        ([1, 1, np.nan, 4], False),
    ],
)
def test_has_box(corners, is_box):
    assert has_box(np.array(corners, np.float32)) is is_box


def test_scenes():
    n, side = 8, 16
    rng = np.random.default_rng(0)
    boxes = np.zeros((n, 4), np.float32)
    boxes[[1, 6]] = 2, 2, 9, 9
    captions = [
        f"{i} objects, an orange cylinder with cone, upper centre, on moss" for i in range(n)
    ]
    figure = scenes(
        pictures(n, side),
        rng.integers(0, 256, (n, side, side), dtype=np.uint8),
        rng.integers(0, 3, (n, side, side), dtype=np.uint8),
        boxes=boxes,
        captions=captions,
        palette=[[0, 0, 0], [9, 9, 9], [200, 0, 0]],
        classes=["background", "ball", "face"],
    )
    assert len(drawn(figure)) == 3 * n + 3
    assert len(figure.axes[0].patches) == 2
    flat = [" ".join(word.split()) for word in words(figure)]
    assert all(caption in flat for caption in captions)
    assert flat[-3:] == ["background", "ball", "face"]
    assert_inside(figure)


def test_pick():
    values = pd.Series({f"i{k}": float(k) for k in range(9)} | {"none": np.nan})
    up = pick(values, count=2, higher_is_better=True)
    assert up == {"worst": ["i0", "i1"], "median": ["i3", "i4"], "best": ["i7", "i8"]}
    down = pick(values, count=2, higher_is_better=False)
    assert down["worst"] == ["i8", "i7"]
    assert down["best"] == ["i1", "i0"]


@pytest.mark.parametrize("n", [1, 2, 3, 4, 7, 50])
def test_pick_names_no_image_twice(n):
    values = pd.Series(np.zeros(n), index=[f"i{k}" for k in range(n)])
    picked = pick(values, count=5, higher_is_better=True)
    ids = [image_id for chosen in picked.values() for image_id in chosen]
    assert len(ids) == len(set(ids)) > 0
    shuffled = pick(values.sample(frac=1, random_state=1), count=5, higher_is_better=True)
    assert shuffled == picked


def test_pick_without_numbers():
    with pytest.raises(ValueError, match="no image has a number"):
        pick(pd.Series([np.nan]), count=1, higher_is_better=True)


def gallery_parts(n=9, side=16):
    rng = np.random.default_rng(0)

    def maps():
        return rng.integers(0, 256, (n, side, side), dtype=np.uint8)

    box = np.tile(np.float32([2, 2, 9, 9]), (n, 1))
    found = np.arange(n) % 3
    conditions = {
        "canny": Condition("canny", "canny", "edges", {"map": maps()}, {"map": maps()}),
        "depth": Condition("depth", "their-depth", "map", {"map": maps()}, {"map": maps()}),
        "segmentation": Condition(
            "segmentation",
            "mini-segmentation",
            "labels",
            {"labels": maps() % 3},
            {"labels": maps() % 3},
            [[0, 0, 0], [9, 9, 9], [200, 0, 0]],
        ),
        "face": Condition(
            "face",
            "mini-face",
            "faces",
            {"found": found > 0, "box": box},
            {"found": found > 1, "box": box},
        ),
    }
    ids = [f"val-{i:07d}" for i in range(n)]
    numbers = pd.DataFrame(
        {
            "canny": np.linspace(0.1, 0.2, n),
            "identity": np.where(found > 1, 0.5, np.nan),
            "psnr": np.linspace(18, 30, n),
        },
        index=ids,
    )
    picks = {"worst": ids[:3], "median": ids[3:6], "best": ids[6:]}
    return picks, pictures(n, side), pictures(n, side, 1), conditions, numbers


@pytest.mark.parametrize(
    "roles", [[], ["canny"], ["depth", "face"], ["canny", "depth", "segmentation", "face"]]
)
def test_gallery_with_any_roles(roles):
    picks, images, reconstructions, conditions, numbers = gallery_parts()
    figure = gallery(
        picks=picks,
        images=images,
        reconstructions=reconstructions,
        conditions=[conditions[role] for role in roles],
        numbers=numbers,
        ranked_by="psnr",
    )
    maps = [role for role in roles if role != "face"]
    assert len(drawn(figure)) == 9 * 2 * (1 + len(maps))
    np.testing.assert_array_equal(drawn(figure)[0], images[0])
    np.testing.assert_array_equal(drawn(figure)[1], reconstructions[0])
    # faces: in six of nine originals, in three of their reconstructions
    assert len(figure.axes[0].patches) == (9 if "face" in roles else 0)
    text = "\n".join(words(figure))
    assert [f"{sort} by PSNR (dB)" in text for sort in picks] == [True] * 3
    assert text.count("PSNR 18.0 dB") == 1
    assert text.count("Identity 0.500") == 3
    assert ("L1 0.100" in words(figure)) == ("canny" in roles)
    assert ("Canny drift 0.100" in text) == ("canny" not in roles)
    assert_inside(figure)


def test_gallery_refuses_another_number_of_images():
    picks, images, reconstructions, _, numbers = gallery_parts()
    with pytest.raises(ValueError, match=r"reconstructions: expected uint8 RGB images \(9, 3"):
        gallery(
            picks=picks,
            images=images,
            reconstructions=reconstructions[:8],
            conditions=[],
            numbers=numbers,
            ranked_by="psnr",
        )


def test_read_numbers_takes_the_metric_or_the_first_column(tmp_path):
    pd.DataFrame({"id": ["a", "b"], "other": [1.0, 2], "psnr": [20.0, 21]}).to_parquet(
        tmp_path / "p"
    )
    pd.DataFrame({"id": ["b", "a"], "cosine": [0.2, 0.1]}).to_parquet(tmp_path / "c")
    pd.DataFrame({"id": ["a", "b"]}).to_parquet(tmp_path / "f")
    paths = {"psnr": tmp_path / "p", "clip": tmp_path / "c", "rfid": tmp_path / "f"}
    numbers = read_numbers(paths)
    assert list(numbers.columns) == ["psnr", "clip"]
    assert numbers.loc["a"].tolist() == [20.0, 0.1]
    assert numbers.loc["b"].tolist() == [21.0, 0.2]


def write_set(path, arrays, meta=None):
    n = len(next(iter(arrays.values())))
    with ShardWriter(path, shard_size=5, meta=meta or {}) as writer:
        writer.add([f"val-{i}" for i in range(n)], arrays)
    return path


def run_script(name, monkeypatch, output, **parts):
    """Run a workflow script as Snakemake does, with its outputs named after their formats."""
    monkeypatch.setattr("seesaw.log.configure_logging", lambda path: None)
    outputs = {kind: output / f"{name}.{kind}" for kind in ("png", "pdf", "csv")}
    snakemake = SimpleNamespace(
        log=[None],
        output=outputs,
        **{key: SimpleNamespace(**values) for key, values in parts.items()},
    )
    runpy.run_path(
        str(SCRIPTS / f"{name}.py"), init_globals={"snakemake": snakemake}, run_name="__main__"
    )
    assert outputs["png"].read_bytes().startswith(b"\x89PNG")
    assert outputs["pdf"].read_bytes().startswith(b"%PDF")
    return pd.read_csv(outputs["csv"])


def test_gallery_script(tmp_path, monkeypatch):
    _, images, reconstructions, _, _ = gallery_parts()
    n, side = len(images), images.shape[-1]
    labels = {"labels": images[:, 0] % 2}
    edges = {"map": images[:, 1]}
    features = {"features": np.zeros((n, 4), np.float32)}
    faces = {
        "found": np.ones(n, np.uint8),
        "score": np.ones(n, np.float32),
        "box": np.tile(np.float32([1, 1, side, side]), (n, 1)),
        "embedding": np.zeros((n, 4), np.float32),
    }
    palette = {"palette": [[0, 0, 0], [255, 0, 0]]}
    arrays = {"canny": edges, "segmentation": labels, "face": faces, "clip": features}
    manifests = [
        write_set(tmp_path / role / "manifest.json", fields, palette)
        for role, fields in arrays.items()
    ]
    table = tmp_path / "psnr.parquet"
    psnr = np.random.default_rng(0).permutation(n) + 15.0
    pd.DataFrame({"id": [f"val-{i}" for i in range(n)], "psnr": psnr}).to_parquet(table)
    points = run_script(
        "gallery",
        monkeypatch,
        tmp_path,
        input={
            "images": write_set(tmp_path / "data" / "manifest.json", {"images": images}),
            "reconstructions": write_set(
                tmp_path / "reconstruct" / "manifest.json", {"images": reconstructions}
            ),
            "metrics": [table],
            "reference_conditions": manifests,
            "conditions": manifests,
        },
        params={
            "metrics": ["psnr"],
            "networks": {
                "canny": "canny", "segmentation": "mini-segmentation", "face": "mini-face",
                "clip": "mini-clip",
            },
            "ranked_by": "psnr",
            "images_shown": 2,
        },
    )  # fmt: skip
    assert points["sort"].tolist() == ["worst"] * 2 + ["median"] * 2 + ["best"] * 2
    assert points["psnr"].tolist() == [15, 16, 18, 19, 22, 23]
    sets = [Shards(path) for path in manifests]
    kinds = [
        read_condition(role, network, one, one, ["val-3"])
        for (role, network), one in zip({"canny": "canny", "segmentation": "x"}.items(), sets)
    ]
    assert [condition.kind for condition in kinds] == ["edges", "labels"]
    np.testing.assert_array_equal(kinds[1].reference["labels"], labels["labels"][3:4])
    assert read_condition("clip", "mini-clip", sets[3], sets[3], ["val-3"]) is None


def test_other_scripts(tmp_path, monkeypatch):
    images, n = pictures(9, 16), 9
    truth = {
        "images": images,
        "depth": images[:, 0],
        "labels": images[:, 1] % 12,
        "face_box": np.zeros((n, 4), np.float32),
    }
    packed = write_set(tmp_path / "data" / "manifest.json", truth)
    decoded = write_set(tmp_path / "ae" / "manifest.json", {"images": pictures(9, 16, 1)})
    ids = [f"val-{i}" for i in range(n)]
    pd.DataFrame({"id": ids, "psnr": np.full(n, 20.0)}).to_parquet(tmp_path / "psnr.parquet")
    pd.DataFrame({"id": ids, "caption": ids}).to_parquet(tmp_path / "index.parquet")
    write_tensors(
        tmp_path / "examples.safetensors", examples_of(["ae"])["ae"], {"ids": json.dumps(ids[:8])}
    )
    grid = run_script(
        "autoencoder_grid",
        monkeypatch,
        tmp_path,
        input={"images": packed, "reconstructions": [decoded], "psnr": [tmp_path / "psnr.parquet"]},
        params={"autoencoders": ["ae"], "images_shown": 4, "seed": 0},
    )
    assert grid["id"].tolist() == choose_ids(ids, 4, 0)
    shown = run_script(
        "scenes",
        monkeypatch,
        tmp_path,
        input={"images": packed, "index": tmp_path / "index.parquet"},
        params={"images_shown": 3, "seed": 0},
    )
    assert shown["caption"].tolist() == shown["id"].tolist() == choose_ids(ids, 3, 0)
    strips = run_script(
        "ifid_figure5",
        monkeypatch,
        tmp_path,
        input={"examples": [tmp_path / "examples.safetensors"]},
        params={"autoencoders": ["ae"]},
    )
    assert strips["id"].tolist() == ids[:8]


# ------------------------------------------------------------------------------------------- probes


def maps_of(n, seed):
    return np.random.default_rng(seed).integers(0, 256, (n, 8, 8), dtype=np.uint8)


def test_probe_strip_shows_images_maps_and_what_each_latent_gave():
    images, truth = pictures(5), {"canny": maps_of(5, 1), "depth": maps_of(5, 2)}
    found = {
        name: {"canny": maps_of(5, seed), "depth": maps_of(5, seed + 1)}
        for name, seed in (("kl-f4", 3), ("a-name-that-is-rather-long-for-its-row", 5))
    }
    titles = {"canny": "Canny (cv2)", "depth": "depth (mini-depth)"}
    figure = probe_strip(images, truth, found, titles=titles)
    expected = []
    for condition, colors in (("canny", "gray"), ("depth", "magma")):
        maps = [truth[condition], *(found[name][condition] for name in found)]
        for row in [images, *(map_colors(values, colors) for values in maps)]:
            expected += list(row[:4])
    shown = drawn(figure)
    assert len(shown) == 2 * 4 * 4
    for one, other in zip(shown, expected, strict=True):
        np.testing.assert_array_equal(one, other)
    assert {"Canny (cv2)", "depth (mini-depth)", "image", "its map", "kl-f4"} <= set(words(figure))
    assert_inside(figure)
    with pytest.raises(ValueError, match="at least one condition"):
        probe_strip(images, {}, found, titles=titles)
    found["kl-f4"]["depth"] = maps_of(4, 0)
    with pytest.raises(ValueError, match=r"depth of 'kl-f4': expected uint8 RGB images \(5"):
        probe_strip(images, truth, found, titles=titles)


def test_figure4_shows_conditions_samples_and_what_was_found():
    images, hints = pictures(9), {"canny": maps_of(9, 1), "depth": maps_of(9, 2)}
    runs = {
        name: {c: (pictures(9, seed=seed + i), maps_of(9, seed + i)) for i, c in enumerate(hints)}
        for name, seed in (("kl-f4", 3), ("a-name-that-is-rather-long-for-its-row", 5))
    }
    titles = {"canny": "Canny (cv2)", "depth": "depth (mini-depth)"}
    figure = figure4(images, hints, runs, titles=titles)
    expected = []
    for condition, colors in (("canny", "gray"), ("depth", "magma")):
        pairs = [(images, hints[condition]), *(runs[name][condition] for name in runs)]
        for shown, maps in pairs:
            for column in range(4):
                expected += [shown[column], map_colors(maps, colors)[column]]
    found = drawn(figure)
    assert len(found) == 2 * 3 * 2 * 4
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, other)
    assert {"Canny (cv2)", "depth (mini-depth)", "image", "kl-f4\nsample"} <= set(words(figure))
    assert_inside(figure)
    one = figure4(images, {"canny": hints["canny"]}, runs, titles=titles)
    assert len(drawn(one)) == 3 * 2 * 8
    with pytest.raises(ValueError, match="at least one autoencoder and condition"):
        figure4(images, hints, {}, titles=titles)
    runs["kl-f4"]["depth"] = (pictures(4), maps_of(4, 0))
    with pytest.raises(ValueError, match=r"depth of 'kl-f4': expected uint8 RGB images \(9"):
        figure4(images, hints, runs, titles=titles)


def test_read_probes_leaves_out_what_has_none(tmp_path):
    paths = {
        name: {role: tmp_path / f"{name}-{role}.safetensors" for role in ("canny", "depth")}
        for name in ("kl", "tokens")
    }
    ids = {"ids": json.dumps(["b", "a"])}
    for seed, role in enumerate(("canny", "depth")):
        arrays = {"maps": maps_of(2, seed), "predictions": maps_of(2, seed + 10)}
        write_tensors(paths["kl"][role], arrays, ids)
        write_tensors(paths["tokens"][role], {}, {"ids": "[]"})
    truth, predictions, found = read_probes(paths)
    assert found == ["b", "a"]
    assert list(predictions) == ["kl"]
    np.testing.assert_array_equal(truth["depth"], maps_of(2, 1))
    np.testing.assert_array_equal(predictions["kl"]["canny"], maps_of(2, 10))
    write_tensors(paths["kl"]["depth"], arrays, {"ids": json.dumps(["a", "c"])})
    with pytest.raises(ValueError, match="hold different images"):
        read_probes(paths)


@pytest.mark.parametrize("probed", [True, False])
def test_probe_strip_script(tmp_path, monkeypatch, probed):
    ids = ["val-3", "val-0"] if probed else []
    arrays = {"maps": maps_of(2, 0), "predictions": maps_of(2, 1)} if probed else {}
    write_tensors(tmp_path / "canny.safetensors", arrays, {"ids": json.dumps(ids)})
    manifest = write_set(tmp_path / "images" / "manifest.json", {"images": pictures(4)}, {})
    points = run_script(
        "probe_strip",
        monkeypatch,
        tmp_path,
        input={"images": manifest, "examples": [tmp_path / "canny.safetensors"]},
        params={"autoencoders": ["kl"], "conditions": {"canny": "canny"}},
    )
    assert points["id"].tolist() == ids
