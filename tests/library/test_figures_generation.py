"""Figures of the generating half: what is drawn is what was measured."""

import json
from functools import cache, partial

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import pearsonr, spearmanr
from synthetic_scores import TIMES, make_generation, make_scores

from seesaw.diffusion.sample import sample_latents
from seesaw.diffusion.samplers import Sampler
from seesaw.diffusion.sit import SiT
from seesaw.figures.generation import figure1, gfid_t, ifid_figure1, ranked
from seesaw.figures.samples import class_words, ifid_figure2, read_denoised, sample_grid
from seesaw.gfid_times import EXAMPLES, Denoiser
from seesaw.reconstruct import decode_batch
from seesaw.score_table import values
from seesaw.shards import Shards, ShardWriter

FIVE = dict(zip("abcde", "ABCDE", strict=True))


@pytest.fixture(scope="module")
def scores():
    return make_generation()


@pytest.fixture(scope="module")
def curves(scores):
    return gfid_t(scores)


@pytest.fixture(scope="module")
def fits(scores):
    return ifid_figure1(scores)


def texts(figure):
    return [text.get_text() for text in figure.findobj(mpl.text.Text) if text.get_text()]


class TestFigure1:
    def test_the_lines_join_the_ranks(self):
        scores = make_generation(names=FIVE, gfid=dict(zip("abcde", (1, 2, 3, 4, 5))))
        rows = (scores["metric"] == "spatial") & (scores["variant"] == "")
        drift = dict(zip("abcde", (0.5, 0.4, 0.3, 0.2, 0.1)))
        scores.loc[rows, "value"] = scores.loc[rows, "autoencoder"].map(drift)
        figure, points = figure1(scores)
        left = points[points["x_metric"] == "gfid"].set_index("autoencoder")
        assert left["x_rank"].to_dict() == dict(zip("abcde", (1, 2, 3, 4, 5)))
        assert left["y_rank"].to_dict() == dict(zip("abcde", (5, 4, 3, 2, 1)))
        assert left["rho"].unique().tolist() == [pytest.approx(-1)]
        assert left["n"].unique().tolist() == [5]
        lines = [line.get_ydata() for line in figure.axes[0].lines]
        assert sorted(map(tuple, lines)) == [(1, 5), (2, 4), (3, 3), (4, 2), (5, 1)]
        words = " ".join(texts(figure))
        assert "gFID selects a, Spatial drift selects e (bold)" in words
        assert "gFID SiT-B plain\nmini-inception" in words

    def test_equal_values_share_a_rank_and_not_a_place(self):
        scores = make_generation(names=FIVE, gfid=dict.fromkeys("abcde", 7))
        frame = ranked(scores, "gfid", "psnr")
        assert frame["x_rank"].tolist() == [1] * 5
        assert sorted(frame["x_place"]) == [1, 2, 3, 4, 5]
        assert frame["rho"].isna().all()

    def test_one_that_lacks_a_value_is_not_ranked(self, scores):
        holed = scores.copy()
        row = (holed["autoencoder"] == "rae") & (holed["metric"] == "spatial")
        holed.loc[row, "value"] = np.nan
        _, points = figure1(holed)
        assert "rae" not in points["autoencoder"].tolist()
        assert points.groupby("x_metric")["x_rank"].max().tolist() == [9, 9]

    def test_both_best_are_one(self):
        scores = make_generation(names=FIVE, gfid=dict.fromkeys("abcde", 7))
        best = values(scores, "spatial").idxmin()
        rows = (scores["metric"] == "gfid") & (scores["autoencoder"] == best)
        scores.loc[rows, "value"] = 1
        words = " ".join(texts(figure1(scores)[0]))
        assert f"gFID selects {best}, so does drift (bold)" in words

    def test_without_gfid_or_drift_there_are_words(self, scores):
        assert texts(figure1(make_scores())[0]) == ["Not measured: gFID"]
        spatial = ["spatial", "canny", "depth", "segmentation"]
        figure, points = figure1(scores[~scores["metric"].isin(spatial)])
        assert texts(figure) == ["Not measured: condition drift"]
        assert points.empty


class TestIfidFigure1:
    def test_a_row_of_panels_per_way_to_sample(self, fits):
        figure, points = fits
        panels = points[["samples", "x_metric"]].drop_duplicates().to_numpy().tolist()
        assert panels == [
            ["SiT-B plain", "rfid"], ["SiT-B plain", "ifid"],
            ["SiT-B guided", "rfid"], ["SiT-B guided", "ifid"],
        ]  # fmt: skip
        assert len([axis for axis in figure.axes if axis.axison]) == 4

    def test_fits_and_correlations(self, scores, fits):
        _, points = fits
        panel = points[(points["samples"] == "SiT-B guided") & (points["x_metric"] == "ifid")]
        x, y = values(scores, "ifid"), values(scores, "gfid", "SiT-B guided ref=val")
        assert panel["y"].tolist() == y.tolist()
        row = panel.iloc[0]
        slope, intercept = np.polyfit(x, y, 1)
        assert row["slope"] == pytest.approx(slope)
        assert row["intercept"] == pytest.approx(intercept)
        assert row["r"] == pytest.approx(pearsonr(x, y).statistic)
        assert row["rho"] == pytest.approx(spearmanr(x, y).statistic)
        assert (row["r_n"], row["rho_n"]) == (10, 10)

    def test_titles_give_r_and_rho(self, fits):
        for axis in fits[0].axes:
            first, second = axis.get_title(loc="left").split("\n")
            assert first.startswith("r = ")
            assert second.startswith("ρ = ")
            assert first.endswith("n = 10")
        assert "gFID SiT-B guided" in fits[0].axes[2].get_ylabel()

    def test_only_the_first_reference(self):
        scores = make_generation(names=FIVE, samplers=["plain"], references=("adm-train", "val"))
        _, points = ifid_figure1(scores)
        assert len(points) == 5 * 2
        plain = points[points["samples"] == "SiT-B plain"]
        expected = values(scores, "gfid", "SiT-B plain ref=adm-train")
        assert set(plain["y"]) == set(expected)

    def test_unmeasured(self):
        assert texts(ifid_figure1(make_scores())[0]) == ["Not measured: gFID"]


class TestGfidT:
    def test_lines_are_the_curves(self, curves):
        figure, points = curves
        rows = points[points["gfid_t"].notna()]
        assert len(rows) == 10 * (len(TIMES) + 1)
        axis = figure.axes[0]
        drawn = {tuple(line.get_ydata()) for line in axis.lines}
        of_rae = rows[rows["autoencoder"] == "rae"].sort_values("t")
        assert tuple(of_rae["gfid_t"]) in drawn
        assert axis.get_yscale() == "log"
        assert {text.get_text() for text in axis.texts} == set(map(str, range(1, 11)))

    def test_agreement_is_that_of_table_1(self, scores, curves):
        _, points = curves
        rows = points[points["metric"].notna()].set_index(["metric", "t"])
        assert len(rows) == 2 * (len(TIMES) + 1)
        assert rows.loc[("rfid", 0.0), "value"] == pytest.approx(1)
        expected = spearmanr(values(scores, "ifid"), values(scores, "gfid-t", "SiT-B t=0.4"))
        assert rows.loc[("ifid", 0.4), "value"] == pytest.approx(expected.statistic)

    def test_a_row_per_model(self):
        figure, _ = gfid_t(make_generation(names=FIVE, models=("SiT-XL", "SiT-B"), times=[0]))
        assert [axis.get_ylabel() for axis in figure.axes[::2]] == [
            "gFID(t), SiT-XL\nmini-inception",
            "gFID(t), SiT-B\nmini-inception",
        ]

    def test_unmeasured(self):
        assert texts(gfid_t(make_scores())[0]) == ["Not measured: gFID(t)"]


def pictures(n, value=0):
    return np.full((n, 3, 4, 4), value, np.uint8)


def shown(figure):
    """Every image on a sheet as (column, row, red of its first pixel), from the top left."""
    found = []
    for image in figure.axes[0].images:
        x, _, _, y = image.get_extent()
        found.append((round(x, 3), round(y, 3), int(image.get_array()[0, 0, 0])))
    return found


class TestIfidFigure2:
    def test_columns_are_times_and_rows_autoencoders(self):
        times = [0, 0.5, 1.0]
        found = {
            name: np.stack([pictures(2, base + k) for k in range(3)])
            for name, base in (("a", 10), ("b", 20))
        }
        figure = ifid_figure2(pictures(2, 5), found, ids=["i", "j"], times=times, count=1)
        rows: dict = {}
        for _, y, value in sorted(shown(figure)):
            rows.setdefault(y, []).append(value)
        assert [rows[y] for y in sorted(rows)] == [[5, 10, 11, 12], [5, 20, 21, 22]]
        assert {"a", "b", "i", "image", "t = 0", "t = 0.5", "t = 1"} <= set(texts(figure))

    @pytest.mark.parametrize(
        "change, match",
        [
            ({"denoised": {}}, "at least one autoencoder"),
            ({"times": [0]}, "have 2 times, expected 1"),
            ({"images": pictures(3)}, "images: expected uint8"),
        ],
    )
    def test_wrong_examples_are_named(self, change, match):
        good = {
            "images": pictures(2),
            "denoised": {"a": np.stack([pictures(2)] * 2)},
            "ids": ["i", "j"],
            "times": [0, 1],
        }
        with pytest.raises(ValueError, match=match):
            ifid_figure2(**good | change)


class TestSampleGrid:
    def test_blocks_are_ways_and_rows_autoencoders(self):
        plain = {"a": pictures(2, 1), "b": pictures(2, 2)}
        found = {"M plain": plain, "M guided": {"b": pictures(2, 3)}}
        figure = sample_grid(pictures(2, 9), found, labels=["disc", "ring"])
        rows: dict = {}
        for _, y, value in sorted(shown(figure)):
            rows.setdefault(y, []).append(value)
        assert [rows[y] for y in sorted(rows)] == [[9] * 4, [1, 1], [2, 2, 3, 3]]
        assert {"M plain", "M guided", "real image", "a", "b", "disc", "ring"} <= set(texts(figure))

    def test_wrong_samples_are_named(self):
        with pytest.raises(ValueError, match="samples M of 'a': expected uint8"):
            sample_grid(pictures(2), {"M": {"a": pictures(3)}}, labels=["x", "y"])
        with pytest.raises(ValueError, match="at least one set"):
            sample_grid(pictures(0), {}, labels=[])

    def test_words_for_classes(self):
        ids = ["n01/a", "b", "c", "n02/d"]
        assert class_words([0, 1, -1, 7], ids) == ["n01", "class 1", "no class", "n02"]
        named = class_words([0, 1, -1, 7], ids, ["disc", "ring"])
        assert named == ["disc", "ring", "no class", "n02"]


class Half(torch.nn.Module):
    """Decodes a latent (3, 4, 4) to an image of twice the size."""

    def decode(self, latents):
        return latents.repeat_interleave(2, -1).repeat_interleave(2, -2) / 4


@cache
def denoiser():
    """A small SiT with random weights, so that its velocity is not zero."""
    torch.manual_seed(0)
    model = SiT((3, 4, 4), size="SiT-Ti", patch_size=2, num_classes=2).eval()
    with torch.no_grad():
        for weight in model.parameters():
            if weight.requires_grad:
                weight.normal_(0, 0.05)
    labels = {f"i{k}": k % 2 for k in range(12)}
    sampler = Sampler(mode="sde", steps=4)
    return Denoiser(
        model=model, decode=partial(decode_batch, Half()), extract=None, labels=labels,
        sampler=sampler, seed=3, device="cpu",
    )  # fmt: skip


class TestExamples:
    @pytest.fixture(scope="class")
    @staticmethod
    def written(tmp_path_factory):
        folder = tmp_path_factory.mktemp("examples")
        rng = np.random.default_rng(0)
        ids = [f"i{k}" for k in range(12)]
        fields = {
            "latents": rng.normal(size=(12, 3, 4, 4)).astype(np.float32),
            "images": rng.integers(0, 255, (12, 3, 8, 8)).astype(np.uint8),
        }
        for name, order in (("one", ids), ("two", ids[::-1])):
            path = folder / name / "manifest.json"
            with ShardWriter(path, shard_size=5, meta={}) as writer:
                rows = [ids.index(i) for i in order]
                writer.add(order, {key: value[rows] for key, value in fields.items()})
            source = Shards(path)
            denoiser().write_examples(folder / f"{name}.safetensors", source, source, [0.5, 0])
        return folder

    def test_the_ends_are_reconstruction_and_sample(self, written):
        source = Shards(written / "one/manifest.json")
        images, found, ids, times = read_denoised({"a": written / "one.safetensors"})
        assert times == [0, 0.5, 1.0]
        assert len(ids) == EXAMPLES
        assert found["a"].shape == (3, EXAMPLES, 3, 8, 8)
        taken = source.take(ids, ["latents", "images"])
        assert np.array_equal(images, taken["images"])
        z = torch.from_numpy(taken["latents"])
        assert np.array_equal(found["a"][0], decode_batch(Half(), z, ids, "x")[0])
        y = torch.tensor([int(i[1:]) % 2 for i in ids])
        d = denoiser()
        with torch.inference_mode():
            sample = sample_latents(d.model, y, ids, Sampler(mode="sde", steps=4), seed=3)
        assert np.array_equal(found["a"][2], decode_batch(Half(), sample, ids, "x")[0])
        assert not np.array_equal(found["a"][1], found["a"][0])
        assert not np.array_equal(found["a"][1], found["a"][2])

    def test_the_order_of_the_shards_changes_nothing(self, written):
        one = read_denoised({"a": written / "one.safetensors"})
        two = read_denoised({"a": written / "two.safetensors"})
        assert np.array_equal(one[1]["a"], two[1]["a"])
        assert one[2:] == two[2:]

    def test_other_images_or_times_are_an_error(self, written, tmp_path):
        from seesaw.files import write_tensors

        said = {"ids": json.dumps(["x"]), "times": json.dumps([0, 1])}
        arrays = {"images": pictures(1), "denoised": pictures(1)[None]}
        write_tensors(tmp_path / "o.safetensors", arrays, said)
        with pytest.raises(ValueError, match="hold other images or times"):
            read_denoised({"a": written / "one.safetensors", "b": tmp_path / "o.safetensors"})
        with pytest.raises(ValueError, match="no examples"):
            read_denoised({})


def test_the_points_can_be_written(fits, curves, tmp_path):
    for _, points in (fits, curves):
        points.to_csv(tmp_path / "p.csv", index=False)
        assert len(pd.read_csv(tmp_path / "p.csv")) == len(points)
