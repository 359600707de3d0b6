"""Tables of the generating half: closed forms on scores whose correlations are known."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import pearsonr, spearmanr
from synthetic_scores import NAMES, TIMES, make_generation, make_scores

from seesaw.generation_tables import generation, ifid_table1, ifid_table2, ifid_table3, table1
from seesaw.score_table import describe, distinct, gfid_curve, sample_sets, values
from seesaw.tables import correlations, ifid_table4, table2, table5

MODELS, SAMPLERS = ("SiT-XL", "SiT-B"), ("plain", "guided")
FIVE = dict(zip("abcde", "ABCDE", strict=True))


@pytest.fixture(scope="module")
def scores():
    """Two models, two ways to sample, two references; the plain gFID is the first of each."""
    return make_generation(models=MODELS, samplers=SAMPLERS, references=("adm-train", "val"))


def replaced(scores, metric, by, variant=""):
    """The scores with other values of one metric, autoencoder -> value."""
    scores = scores.copy()
    rows = (scores["metric"] == metric) & (scores["variant"] == variant)
    scores.loc[rows, "value"] = scores.loc[rows, "autoencoder"].map(by)
    return scores


class TestSampleSets:
    def test_the_plain_one_comes_first(self, scores):
        sets = sample_sets(scores.iloc[::-1])
        assert len(sets) == 8
        assert sets[0].variant == "SiT-XL plain ref=adm-train"
        assert (sets[0].name, sets[0].reference) == ("SiT-XL plain", "adm-train")

    def test_unmeasured_and_plain_only(self):
        assert sample_sets(make_scores()) == []
        (only,) = sample_sets(make_scores(gfid=True))
        assert (only.name, only.variant) == ("", "")

    def test_a_plain_gfid_that_names_no_variant_is_an_error(self, scores):
        odd = scores.copy()
        rows = (odd["metric"] == "gfid") & (odd["variant"] == "")
        odd.loc[rows, "protocol"] = "reference=val; samples=SiT-S plain"
        with pytest.raises(ValueError, match="it names .'SiT-S plain ref=val'.; the variants are"):
            sample_sets(odd)

    def test_the_curve_goes_from_rfid_to_gfid_of_the_evaluation_split(self, scores):
        curve = gfid_curve(scores, "SiT-B")
        assert list(curve) == [*TIMES, 1.0]
        assert np.allclose(curve[0], values(scores, "rfid"))
        ends = values(scores, "gfid", "SiT-B plain ref=val")
        assert curve[1.0].tolist() == ends.tolist()
        assert not np.allclose(ends, values(scores, "gfid", "SiT-B plain ref=adm-train"))

    def test_a_metric_with_variants_only_is_described_by_them(self, scores):
        assert describe(scores, "gfid-t").header == "gFID(t) (mini-inception)"
        assert describe(scores, "diffusion-loss").header == "Diffusion loss"


class TestTable1:
    def test_ranks_and_selection(self):
        scores = make_generation(names=FIVE, gfid=dict(zip("abcde", (5, 1, 2, 3, 4))))
        scores = replaced(scores, "psnr", dict(zip("abcde", (30, 20, 21, 22, 22))))
        scores = replaced(scores, "spatial", dict(zip("abcde", (0.1, 0.5, 0.4, 0.3, 0.2))))
        scores = replaced(scores, "rfid", dict(zip("abcde", (2, 1, 3, 4, np.nan))))
        table = table1(scores).set_index("Model")
        assert table["Rank by gFID, of 5 (mini-inception)"].tolist() == [5, 1, 2, 3, 4]
        assert table["Rank by PSNR, of 5"].tolist() == [1, 5, 4, 2, 2], "equal values share a rank"
        rfid = table["Rank by rFID, of 4 (mini-inception)"]
        assert rfid.tolist()[:4] == [2, 1, 3, 4]
        assert rfid.isna().tolist() == [False] * 4 + [True]
        assert table["rFID measured (mini-inception)"].tolist() == ["yes"] * 4 + ["no"]
        best = table["Best by"].str.split(", ")
        assert {"PSNR", "Spatial drift"} <= set(best["a"])
        assert {"gFID", "rFID"} <= set(best["b"])
        assert not {"gFID", "rFID", "PSNR", "Spatial drift"} & set(best["c"])

    def test_without_gfid_and_with_duplicates(self):
        scores = make_scores()
        scores.loc[scores["autoencoder"] == "rae", "duplicate_of"] = "kl-f4c4"
        table = table1(scores)
        assert not any("gFID" in header for header in table)
        assert "rae" not in table["Model"].tolist()
        assert "Rank by PSNR, of 9" in table


class TestGeneration:
    def test_a_row_per_autoencoder_set_and_reference(self, scores):
        table = generation(scores)
        assert len(table) == 10 * 2 * 2 * 2
        rows = table.query("Model == 'SiT-B' and Sampler == 'guided' and Reference == 'val'")
        found = rows.set_index("Autoencoder")["gFID (mini-inception)"]
        assert found.to_dict() == values(scores, "gfid", "SiT-B guided ref=val").to_dict()
        assert rows["gKID [1e-3] (mini-inception)"].notna().all()
        adm = table[table["Reference"] == "adm-train"]
        assert adm["Recall [share] (mini-inception)"].isna().all()
        assert adm["IS (mini-inception)"].notna().all()
        assert (table["n samples"] == 2000).all()

    def test_unmeasured_and_undefined(self, scores):
        assert generation(make_scores())["Note"].tolist() == ["gFID: not measured"]
        none = scores.copy()
        none.loc[none["metric"] == "inception-score", "value"] = np.nan
        assert set(generation(none)["IS (mini-inception)"]) == {"undefined"}

    def test_an_autoencoder_without_a_diffusion_model_has_no_row(self, scores):
        gone = (scores["autoencoder"] == "rae") & (scores["metric"] == "gfid")
        assert "rae" not in generation(scores[~gone])["Autoencoder"].tolist()


class TestIfidTable1:
    def test_agrees_with_scipy_and_starts_at_one(self, scores):
        table = ifid_table1(scores).set_index(["Model", "Metric", "Correlation"])
        assert len(table) == 2 * 2 * 2
        rfid, ifid = values(scores, "rfid"), values(scores, "ifid")
        row = table.loc["SiT-B", "rFID (mini-inception)", "PCC"]
        assert row["gFID(0) (mini-inception)"] == pytest.approx(1)
        at = values(scores, "gfid-t", "SiT-B t=0.6")
        assert row["gFID(0.6) (mini-inception)"] == pytest.approx(pearsonr(rfid, at).statistic)
        row = table.loc["SiT-XL", "iFID (mini-inception)", "SRCC"]
        end = values(scores, "gfid", "SiT-XL plain ref=val")
        header = "gFID(1) (mini-inception)"
        assert row[header] == pytest.approx(spearmanr(ifid, end).statistic)
        assert row[f"{header}: n"] == 10
        assert row[f"{header}: low"] <= row[header] <= row[f"{header}: high"]
        assert 0 < row[f"{header}: p"] <= 1

    def test_duplicates_count_once(self):
        scores = make_generation(names=FIVE, samplers=["plain"], times=[0])
        twins = scores.copy()
        twins.loc[twins["autoencoder"] == "b", "duplicate_of"] = "a"
        without = scores[scores["autoencoder"] != "b"]
        for function in (ifid_table1, ifid_table3):
            pd.testing.assert_frame_equal(function(twins), function(without))

    def test_unmeasured(self):
        assert ifid_table1(make_scores())["Note"].tolist() == ["gFID(t): not measured"]


def test_ifid_table2_counts_dimensions_and_tokens():
    scores = make_scores(names={"grid": "KL", "tokens": "1D"})
    scores.loc[scores["autoencoder"] == "tokens", "duplicate_of"] = "grid"
    builds = {
        "grid": {
            "family": "diffusers-kl",
            "patch_size": 2,
            "latent_shape": [4, 8, 8],
            "parameters": 12345,
        },
        "tokens": {
            "family": "m:C",
            "patch_size": 1,
            "latent_shape": [16, 12],
            "parameters": None,
        },
    }
    table = ifid_table2(scores, builds).set_index("Autoencoder")
    assert table["Latent shape"].tolist() == ["4 x 8 x 8", "16 x 12"]
    assert table["Latent dimensions"].tolist() == [256, 192]
    assert table["Tokens"].tolist() == [16, 16]
    assert table.loc["grid", "Patch size"] == 2
    assert table["Patch size"].isna().tolist() == [False, True]
    assert table["Parameters"].isna().tolist() == [False, True]
    assert table["PSNR [dB]"].to_dict() == values(scores, "psnr").to_dict()
    assert table["rFID (mini-inception)"].to_dict() == values(scores, "rfid").to_dict()
    assert table["n images"].tolist() == [2000, 2000]
    assert table["Duplicate of"].tolist() == ["", "grid"]


class TestIfidTable3:
    def test_oriented_like_the_paper(self, scores):
        table = ifid_table3(scores)
        header = "SRCC with gFID SiT-B guided (mini-inception)"
        val = table[table["Reference"] == "val"].set_index("Metric")
        gfid = values(scores, "gfid", "SiT-B guided ref=val")
        for metric, name, sign in (("psnr", "-PSNR", -1), ("ifid", "iFID", 1), ("kid", "KID", 1)):
            expected = sign * spearmanr(values(scores, metric), gfid).statistic
            assert val.loc[name, header] == pytest.approx(expected)
            assert val.loc[name, f"{header}: n"] == 10
        assert val.index[0] == "-PSNR"
        assert val.index[-1] == "iFID"
        assert table["Reference"].tolist() == ["adm-train"] * 8 + ["val"] * 8
        assert "Undefined for" not in table

    def test_a_diffusion_loss_stands_beside_its_own_model(self):
        scores = make_generation(models=MODELS, samplers=["plain"])
        scores = scores[~scores["metric"].isin(["psnr", "ssim", "lpips", "kid", "ifid"])]
        b = dict(zip(NAMES, range(10)))
        moved = replaced(scores, "diffusion-loss", b, "SiT-B")
        table = ifid_table3(moved)
        row = table[(table["Metric"] == "Diffusion loss") & (table["Reference"] == "val")].iloc[0]
        own = values(moved, "gfid", "SiT-B plain ref=val")
        expected = spearmanr(list(b.values()), own[list(b)]).statistic
        assert row["SRCC with gFID SiT-B plain (mini-inception)"] == pytest.approx(expected)
        assert row["SRCC with gFID SiT-XL plain (mini-inception)"] == pytest.approx(1)

    def test_undefined_losses(self):
        scores = make_generation(models=["SiT-B"])
        loss = scores[scores["metric"] == "psnr"].assign(
            metric="eq-loss", unit="L1", higher_is_better=False, value=1.0
        )
        loss["value"] = np.arange(10.0)
        loss.loc[loss["autoencoder"].isin(["rae", "tokens-32"]), "value"] = np.nan
        gone = loss.assign(metric="gmm-loss", value=np.nan)
        table = ifid_table3(pd.concat([scores, loss, gone])).set_index("Metric")
        header = "PCC with gFID SiT-B plain (mini-inception)"
        assert table.loc["EQ loss", f"{header}: n"] == 8
        assert isinstance(table.loc["EQ loss", header], float)
        assert table.loc["EQ loss", "Undefined for"] == "rae, tokens-32"
        assert table.loc["GMM loss", header] == "undefined"
        assert table.loc["-PSNR", "Undefined for"] == ""

    def test_unmeasured(self):
        assert ifid_table3(make_scores())["Note"].tolist() == ["gFID: not measured"]


class TestTheOthers:
    def test_table4_has_the_first_models_samples_against_the_first_reference(self, scores):
        table = ifid_table4(scores)
        both = [h for h in table if h.startswith("SRCC with gFID") and ":" not in h]
        assert both == [
            "SRCC with gFID SiT-XL plain (mini-inception)",
            "SRCC with gFID SiT-XL guided (mini-inception)",
        ]
        last = table.iloc[-1]
        gfid = values(scores, "gfid", "SiT-XL guided ref=adm-train")
        expected = spearmanr(values(scores, "ifid"), gfid).statistic
        assert last["SRCC with gFID SiT-XL guided (mini-inception)"] == pytest.approx(expected)

    def test_table2_shows_the_plain_samples(self, scores):
        table = table2(scores)
        assert table.columns[4:8].tolist() == [
            "gFID (mini-inception)",
            "IS (mini-inception)",
            "Precision [share] (mini-inception)",
            "Recall [share] (mini-inception)",
        ]
        rows = table.set_index("Model").loc[list(NAMES)]
        plain = values(scores, "gfid", "SiT-XL plain ref=adm-train")
        assert rows["gFID (mini-inception)"].to_dict() == plain.to_dict()
        assert set(table["n images"]) == {"2000"}

    def test_the_number_of_samples_is_not_that_of_images(self, scores):
        more = scores.copy()
        samples = ["gfid", "gkid", "inception-score", "precision", "recall"]
        more.loc[more["metric"].isin(samples), "n"] = 9999
        assert set(table5(more)["n images"].dropna()) == {2000}

    def test_correlations_read_the_plain_gfid(self, scores):
        row = correlations(scores, pairs=[("gfid", "psnr")], methods=["spearman"]).iloc[0]
        gfid, psnr = (values(distinct(scores), m) for m in ("gfid", "psnr"))
        assert row["value"] == pytest.approx(-spearmanr(gfid, psnr).statistic)
