import numpy as np
import pandas as pd
import pytest
from scipy.stats import pearsonr, spearmanr
from synthetic_scores import DEFAULT, NAMES, make_scores

from seesaw.files import write_csv
from seesaw.generation_tables import generation
from seesaw.protocol_tables import protocol_sweep, protocols
from seesaw.results import Score
from seesaw.score_table import (
    CONDITIONS,
    QUALITY,
    check_scores,
    describe,
    pool,
    read_scores_csv,
    values,
)
from seesaw.tables import (
    correlations,
    diffusability_losses,
    ifid_table4,
    ifid_table5,
    network_quality,
    table2,
    table3,
    table4,
    table5,
)


@pytest.fixture(scope="module")
def scores():
    return make_scores()


@pytest.fixture(scope="module")
def twins():
    """A pool with one autoencoder whose weights repeat another's."""
    scores = make_scores()
    scores.loc[scores["autoencoder"] == "kl-f4c4-long", "duplicate_of"] = "kl-f4c4"
    return scores


class TestScores:
    def test_csv_round_trip(self, scores, tmp_path):
        holed = scores.copy()
        holed.loc[3, "value"] = np.nan
        write_csv(tmp_path / "scores.csv", holed)
        read = read_scores_csv(tmp_path / "scores.csv")
        assert np.array_equal(read["value"], holed["value"], equal_nan=True)
        for column in ("variant", "duplicate_of", "higher_is_better", "network", "unit"):
            assert read[column].tolist() == holed[column].tolist()

    def test_tables_of_stages_that_were_left_out_say_so(self):
        nothing = read_scores_csv([])
        for item in (generation, table4, diffusability_losses, protocols, protocol_sweep):
            assert item(nothing).columns.tolist() == ["Note"]

    def test_autoencoder_named_na_stays(self, scores, tmp_path):
        renamed = scores.replace({"autoencoder": {"rae": "NA"}})
        write_csv(tmp_path / "scores.csv", renamed)
        assert "NA" in pool(read_scores_csv(tmp_path / "scores.csv")).index

    def test_groups_stand_together_in_order_of_appearance(self):
        names = {"a": "KL", "b": "RAE", "c": "KL"}
        assert pool(make_scores(names=names)).index.tolist() == ["a", "c", "b"]

    def test_missing_column_is_named(self, scores, tmp_path):
        write_csv(tmp_path / "scores.csv", scores.drop(columns="unit"))
        with pytest.raises(ValueError, match="lack the columns unit"):
            read_scores_csv(tmp_path / "scores.csv")

    def test_two_scores_for_one_number_are_an_error(self, scores, tmp_path):
        write_csv(tmp_path / "scores.csv", pd.concat([scores, scores.iloc[[0]]]))
        with pytest.raises(ValueError, match="two scores for autoencoder 'kl-f4c4'"):
            read_scores_csv(tmp_path / "scores.csv")

    def test_mixed_directions_are_an_error(self, scores):
        mixed = scores.copy()
        mixed.loc[0, "higher_is_better"] = not mixed.loc[0, "higher_is_better"]
        with pytest.raises(ValueError, match="more than one higher_is_better"):
            describe(mixed, mixed.loc[0, "metric"])

    def test_mixed_networks_are_both_named(self, scores):
        mixed = scores.copy()
        row = mixed[(mixed["metric"] == "rfid") & (mixed["autoencoder"] == "rae")].index
        mixed.loc[row, "network"] = "inception"
        assert describe(mixed, "rfid").network == "mini-inception / Inception (FID weights)"


class TestTable5:
    def test_headers_name_unit_and_network(self, scores):
        header = table5(scores).columns
        for name in (
            "rFID (mini-inception)",
            "PSNR [dB]",
            "LPIPS (LPIPS heads on a random AlexNet)",
            "Canny drift [L1] (cv2.Canny 100/200)",
            "Identity [cosine] (mini-face)",
        ):
            assert name in header
        assert not any("gFID" in name for name in header)

    def test_values_and_counts(self, scores):
        rows = table5(scores).query("Row == 'autoencoder'").set_index("Autoencoder")
        assert rows.index.tolist() == list(NAMES)
        assert rows["PSNR [dB]"].tolist() == values(scores, "psnr").tolist()
        assert set(rows["n images"]) == {2000}
        assert set(rows["n Identity"]) == {780}

    def test_baselines_are_blocks_below(self, scores):
        table = table5(scores)
        assert table["Row"].unique().tolist() == ["autoencoder", "shuffled pairs", "all-zero map"]
        zero = table[table["Row"] == "all-zero map"]
        canny = "Canny drift [L1] (cv2.Canny 100/200)"
        assert zero[canny].tolist() == values(scores, "canny", "zero").tolist()
        assert zero["PSNR [dB]"].isna().all()

    def test_gfid_comes_first_once_it_is_there(self):
        header = table5(make_scores(gfid=True)).columns.tolist()
        assert header[3] == "gFID (mini-inception)"

    def test_missing_value_is_an_empty_cell(self, scores, tmp_path):
        holed = scores.copy()
        row = holed[(holed["metric"] == "ssim") & (holed["autoencoder"] == "rae")].index
        holed.loc[row, "value"] = np.nan
        write_csv(tmp_path / "t.csv", table5(holed))
        text = pd.read_csv(tmp_path / "t.csv", keep_default_na=False, dtype=str)
        cell = text.loc[(text["Autoencoder"] == "rae") & (text["Row"] == "autoencoder"), "SSIM"]
        assert cell.tolist() == [""]

    def test_duplicates_stay_and_are_marked(self, twins):
        rows = table5(twins).query("Row == 'autoencoder'").set_index("Autoencoder")
        assert len(rows) == 10
        assert rows.loc["kl-f4c4-long", "Duplicate of"] == "kl-f4c4"
        assert "Duplicate of" not in table5(make_scores())


class TestTable2:
    def test_measured_columns_only(self, scores):
        header = table2(scores).columns.tolist()
        assert header[:4] == ["Model", "Group", "Training", "n images"]
        assert not any(name.startswith(("gFID", "Latent", "Canny", "Depth")) for name in header)
        assert any(name.startswith("Spatial drift [L1]") for name in header)

    def test_latent_and_generation_columns_when_measured(self):
        scores = make_scores(gfid=True)
        latent = scores[scores["metric"] == "canny"].assign(metric="latent-canny", network="")
        header = table2(pd.concat([scores, latent])).columns.tolist()
        assert header[4] == "gFID (mini-inception)"
        assert header[-1] == "Latent Canny [L1]"

    def test_distances_of_other_features_name_their_network(self):
        scores = make_scores()
        rfid = scores[scores["metric"] == "rfid"]
        more = [
            rfid.assign(metric="fdd", network="dinov2_vitl14"),
            rfid.assign(metric="fd-infinity"),
            scores[scores["metric"] == "ssim"].assign(metric="ms-ssim"),
        ]
        header = table5(pd.concat([scores, *more])).columns.tolist()
        found = [name for name in header if name.startswith(("rFID", "FD", "KID", "MS", "SSIM"))]
        assert found == [
            "rFID (mini-inception)", "FD-infinity (mini-inception)", "KID [1e-3] (mini-inception)",
            "FDD (DINOv2 ViT-L/14)", "SSIM", "MS-SSIM",
        ]  # fmt: skip

    def test_medians_of_the_baselines_are_the_last_rows(self, scores):
        last = table2(scores).iloc[-2]
        assert last["Model"] == "shuffled pairs (median of 10)"
        expected = values(scores, "identity", "shuffled").median()
        assert last["Identity [cosine] (mini-face)"] == pytest.approx(expected)

    def test_duplicates_are_left_out(self, twins):
        table = table2(twins)
        assert "kl-f4c4-long" not in table["Model"].tolist()
        assert "shuffled pairs (median of 9)" in table["Model"].tolist()


class TestCorrelations:
    @pytest.fixture(scope="class")
    @staticmethod
    def table(scores):
        return correlations(scores)

    def test_every_pair_by_both_methods(self, table):
        conditions = {(x, y) for x in QUALITY for y in CONDITIONS}
        found = set(zip(table["x"], table["y"]))
        assert conditions < found
        assert ("rfid", "psnr") in found
        assert len(found) == len(QUALITY) * 8 + len(QUALITY) * (len(QUALITY) - 1) // 2
        assert len(table) == 2 * len(found)

    @pytest.mark.parametrize(
        "x, y, sign", [("psnr", "canny", -1), ("rfid", "canny", 1), ("rfid", "identity", -1),
                       ("psnr", "clip", 1)]
    )  # fmt: skip
    def test_oriented_so_that_plus_is_worse_together(self, scores, table, x, y, sign):
        raw = {"pearson": pearsonr, "spearman": spearmanr}
        for method, function in raw.items():
            expected = sign * function(values(scores, x), values(scores, y)).statistic
            row = table[(table["x"] == x) & (table["y"] == y) & (table["method"] == method)].iloc[0]
            assert row["value"] == pytest.approx(expected, abs=1e-12)
            assert expected > 0
            assert row["low"] <= row["value"] <= row["high"]
            assert row["n"] == 10

    def test_unmeasured_says_so(self, table):
        gfid = table[table["x"] == "gfid"]
        assert gfid["value"].isna().all()
        assert gfid["note"].str.contains("gFID: not measured").all()
        psnr = table[table["x"] == "psnr"]
        assert psnr[psnr["y"] == "ms-ssim"]["note"].str.contains("MS-SSIM: not measured").all()
        assert psnr[psnr["y"] != "ms-ssim"]["value"].notna().all()

    def test_gfid_is_picked_up(self):
        table = correlations(make_scores(gfid=True), pairs=[("gfid", "canny")])
        assert table["value"].notna().all()

    def test_duplicated_weights_count_once(self, scores, twins):
        without = scores[scores["autoencoder"] != "kl-f4c4-long"]
        pairs = [("psnr", "canny"), ("rfid", "identity")]
        pd.testing.assert_frame_equal(
            correlations(twins, pairs=pairs), correlations(without, pairs=pairs)
        )

    def test_a_mean_over_a_few_faces_is_in_no_correlation(self, scores):
        """What destroys all faces but one has an identity in the tables, but none to compare."""
        who, few = "kl-f8c16", scores.copy()
        plain = (few["metric"] == "identity") & (few["variant"] == "")
        few.loc[plain & (few["autoencoder"] == who), ["value", "n"]] = [0.9999, 19]
        pairs = [("rfid", "identity"), ("rfid", "face-recall")]
        found = correlations(few, pairs=pairs)
        without = correlations(scores[scores["autoencoder"] != who], pairs=pairs)
        columns = ["value", "n", "low", "high", "p"]
        pd.testing.assert_frame_equal(found[columns][:2], without[columns][:2])
        assert (found["n"].tolist(), found["value"].isna().any()) == ([9, 9, 10, 10], False)
        for note in found["note"][:2]:
            assert "1 of 10 pairs left out" in note
            assert note.endswith("Identity below n = 20 counts as missing: kl-f8c16 (n = 19)")
        assert not found["note"][2:].any(), "recall is over the faces of the reference"
        table = table5(few).set_index("Autoencoder")
        shown = table.loc[[who], ["Identity [cosine] (mini-face)", "n Identity"]].iloc[0]
        assert shown.tolist() == [0.9999, 19], "tables show the value"
        few.loc[plain & (few["autoencoder"] == who), "n"] = 20
        assert (correlations(few, pairs=pairs)["n"] == 10).all()
        few.loc[plain, "n"] = range(1, 11)
        note = correlations(few, pairs=pairs)["note"][0]
        assert "0 of the 3 pairs" in note
        assert note.endswith("(n = 3), 7 more")

    def test_too_few_autoencoders(self):
        table = correlations(make_scores(names={"a": "A", "b": "B"}), pairs=[("psnr", "canny")])
        assert table["value"].isna().all()
        assert table["note"].str.contains("2 of the 3 pairs").all()


class TestIfid:
    def test_table4_has_the_variants_at_the_default_alpha(self, scores):
        table = ifid_table4(scores)
        settings = (
            table[["Interpolation", "K", "Reference images"]].astype(str).agg(" ".join, axis=1)
        )
        assert settings.tolist() == [
            "linear 1 500", "mask 1 500", "slerp 1 500", "slerp 1 2000", "slerp 1 all",
            "slerp 10 all",
        ]  # fmt: skip
        assert table["Name"].tolist() == [""] * 5 + ["(iFID)"]
        assert (table["alpha"] == 0.5).all()

    def test_table5_runs_from_rfid_to_ifid(self, scores):
        table = ifid_table5(scores)
        assert table["alpha"].tolist() == [0, 0.1, 0.2, 0.3, 0.4, 0.5]
        assert table["Name"].tolist() == ["(rFID)", "", "", "", "", "(iFID)"]
        assert table.loc[0, "PCC with rFID (mini-inception)"] == pytest.approx(1)
        assert table.loc[5, "SRCC with default"] == pytest.approx(1)
        shown = table.filter(like="iFID rae").iloc[5, 0]
        assert shown == values(scores, "ifid", DEFAULT)["rae"]

    def test_correlations_agree_with_scipy(self, scores):
        row = ifid_table5(scores).iloc[2]
        ifid, rfid = values(scores, "ifid", "slerp alpha=0.2 k=10 n=all"), values(scores, "rfid")
        assert row["PCC with rFID (mini-inception)"] == pytest.approx(
            pearsonr(ifid, rfid).statistic
        )
        assert row["SRCC with rFID (mini-inception)"] == pytest.approx(
            spearmanr(ifid, rfid).statistic
        )
        assert row["SRCC with rFID (mini-inception): n"] == 10

    def test_gfid_columns_only_when_measured(self, scores):
        without = ifid_table4(scores)
        assert not any("with gFID" in name for name in without)
        assert (without["Note"] == "gFID: not measured").all()
        there = ifid_table4(make_scores(gfid=True))
        assert there["SRCC with gFID (mini-inception)"].notna().all()
        assert (there["Note"] == "").all()

    def test_default_is_the_one_that_the_plain_ifid_names(self, scores):
        same = scores[(scores["metric"] == "ifid") & (scores["variant"] == DEFAULT)]
        more = pd.concat([scores, same.assign(variant="slerp alpha=0.5 k=10 n=8000")])
        assert len(ifid_table5(more)) == 6

    def test_unknown_default_is_an_error(self, scores):
        other = scores[scores["variant"] != DEFAULT]
        with pytest.raises(ValueError, match="must name one of its variants"):
            ifid_table4(other)

    def test_not_measured(self, scores):
        without = scores[scores["metric"] != "ifid"]
        assert ifid_table4(without)["Note"].tolist() == ["iFID: not measured"]
        assert ifid_table5(without)["Note"].tolist() == ["iFID: not measured"]


@pytest.fixture(scope="module")
def lossy():
    """Scores with two diffusability losses: a grid's and a tokenizer's EQ loss undefined."""
    scores = make_scores()
    psnr = scores[scores["metric"] == "psnr"].assign(unit="L1", higher_is_better=False, n=300)
    eq = psnr.assign(metric="eq-loss", value=1 / psnr["value"])
    turned = eq.assign(variant="rotations", value=eq["value"] / 2)
    for table, names in ((eq, ["rae", "tokens-32"]), (turned, ["tokens-32"])):
        table.loc[table["autoencoder"].isin(names), ["value", "n"]] = np.nan, 0
        table.loc[table["autoencoder"].isin(names), "note"] = "undefined: it has no grid"
    gmm = psnr.assign(metric="gmm-loss", unit="nats", value=psnr["value"] + 7)
    return check_scores(pd.concat([scores, gmm, eq, turned]))


class TestDiffusabilityLosses:
    def test_undefined_is_said_and_why(self, lossy):
        table = diffusability_losses(lossy).set_index("Autoencoder")
        assert table.columns.tolist() == [
            "Group", "EQ loss [L1]", "EQ loss, rotations [L1]", "GMM loss [nats]", "n images",
            "Why undefined",
        ]  # fmt: skip
        assert table["EQ loss [L1]"].drop(["rae", "tokens-32"]).map(type).eq(float).all()
        assert table.loc[["rae", "tokens-32"], "EQ loss [L1]"].tolist() == ["undefined"] * 2
        assert table.loc["tokens-32", "EQ loss, rotations [L1]"] == "undefined"
        assert table.loc["rae", "EQ loss, rotations [L1]"] > 0
        assert table["GMM loss [nats]"].tolist() == values(lossy, "gmm-loss").tolist()
        assert table["n images"].eq(300).all()
        why = table["Why undefined"].dropna()
        assert why.to_dict() == dict.fromkeys(["rae", "tokens-32"], "EQ loss: it has no grid")

    def test_an_undefined_value_is_no_image(self, lossy):
        assert describe(lossy, "eq-loss").n == "300"

    def test_correlations_say_their_n(self, lossy):
        table = correlations(lossy, methods=["spearman"])
        rows = table[table["x"] == "eq-loss"].set_index("y")
        assert rows.loc["psnr", "n"] == 8
        assert rows.loc["psnr", "value"] == pytest.approx(1), "both: worse together"
        assert "2 of 10 pairs left out" in rows.loc["psnr", "note"]
        assert rows.loc["gfid", "note"] == "gFID: not measured"
        assert set(table.loc[table["x"] == "gmm-loss", "y"]) == set(QUALITY)

    def test_undefined_for_all_is_not_unmeasured(self, lossy):
        none = lossy.copy()
        none.loc[none["metric"] == "eq-loss", "value"] = np.nan
        row = correlations(none, pairs=[("eq-loss", "psnr")]).iloc[0]
        assert row["note"] == "EQ loss: undefined for every autoencoder"
        assert diffusability_losses(none)["EQ loss [L1]"].tolist() == ["undefined"] * 10

    def test_not_measured(self, scores):
        notes = diffusability_losses(scores)["Note"].tolist()
        assert notes == ["diffusability losses: not measured"]


def test_network_quality_sets_baselines_beside():
    def score(metric, value, variant="", higher=True):
        return Score(
            metric=metric, value=value, n=50, unit="share", higher_is_better=higher,
            metric_version="1", variant=variant,
        )  # fmt: skip

    table = network_quality(
        [
            ("mini-depth", [score("error", 0.2, higher=False), score("error", 0.1, "constant")]),
            ("mini-inception", [score("accuracy", 0.9), score("accuracy", 0.1, "chance"),
                                score("loss", None)]),
        ]
    )  # fmt: skip
    assert table["Network"].tolist() == ["mini-depth", "mini-inception", "mini-inception"]
    assert table["Beats baseline"].tolist() == ["no", "yes", ""]
    assert table["Baseline"].tolist() == ["constant", "chance", ""]
    assert table["n"].tolist() == [50] * 3


CONTROL_PROTOCOL = (
    "data=mini; crop=c; condition={}; backbone=SiT-Ti; copied blocks=2 of 4; lr=0.002; steps=110; "
    "optimiser=AdamW 0.9 0.999, decay 0.01; batch_size=32; last loss=0.61"
)


def control_rows(name, condition, network, values):
    """Rows of one run: metric and variant -> value."""
    return [
        {
            "autoencoder": name, "group": "G", "training": "", "metric": metric,
            "variant": f"{condition} {variant}".strip(), "value": value, "n": 500,
            "unit": "L1" if metric == "control-l1" else "1", "higher_is_better": False,
            "network": network if metric == "control-l1" else "mini-inception",
            "protocol": CONTROL_PROTOCOL.format(condition), "note": "", "duplicate_of": "",
        }
        for (metric, variant), value in values.items()
    ]  # fmt: skip


@pytest.fixture(scope="module")
def controlled():
    """Two runs on kl-f4c4, one of them without plain samples, and one on rae."""
    full = {
        ("control-fid", ""): 10.5, ("control-fid", "uncontrolled"): 9.5,
        ("control-l1", ""): 0.1, ("control-l1", "shuffled"): 0.2, ("control-l1", "zero"): 0.3,
        ("control-l1", "uncontrolled"): 0.4,
    }  # fmt: skip
    bare = {key: value + 1 for key, value in full.items() if key[1] != "uncontrolled"}
    rows = control_rows("rae", "canny", "canny", full)
    rows += control_rows("kl-f4c4", "canny", "canny", bare)
    rows += control_rows("kl-f4c4", "depth", "mini-depth", full)
    return check_scores(pd.concat([make_scores(), pd.DataFrame(rows)], ignore_index=True))


class TestControl:
    def test_table3_has_a_row_per_run_and_its_baselines(self, controlled):
        table = table3(controlled)
        names = ["kl-f4c4", "kl-f4c4", "rae"]
        assert table["Autoencoder"].tolist() == names
        assert [text.split()[0] for text in table["Condition"]] == ["canny", "depth", "canny"]
        assert "Mini depth" in table["Condition"][1] or "mini" in table["Condition"][1]
        assert set(table["Backbone"]) == {"SiT-Ti"}
        fid = [c for c in table if c.startswith("FID (")]
        assert len(fid) == 1
        assert table[fid[0]].tolist() == [11.5, 10.5, 10.5]
        assert table["L1"].tolist() == [1.1, 0.1, 0.1]
        assert table["L1 of shuffled pairs"].tolist() == [1.2, 0.2, 0.2]
        assert table["L1 of an all-zero map"].tolist() == [1.3, 0.3, 0.3]
        assert np.isnan(table["L1 without control"][0])
        assert table["L1 without control"].tolist()[1:] == [0.4, 0.4]
        assert set(table["n samples"]) == {500}
        counts = controlled[controlled["variant"] == ""].set_index(["autoencoder", "metric"])["n"]
        pairs = zip(names, ["canny", "depth", "canny"], strict=True)
        whole = [counts[pair] for pair in pairs]
        assert table["n reconstructions"].tolist() == whole
        drift = [
            values(controlled, metric)[name]
            for name, metric in zip(names, ["canny", "depth", "canny"], strict=True)
        ]
        assert table["L1 of reconstructions"].tolist() == drift

    def test_table4_says_how_each_branch_was_trained(self, controlled):
        table = table4(controlled)
        assert table["Autoencoder"].tolist() == ["kl-f4c4", "kl-f4c4", "rae"]
        assert table["Condition"].tolist() == ["canny", "depth", "canny"]
        first = table.iloc[0]
        assert first["Learning rate"] == "0.002"
        assert first["Copied blocks"] == "2 of 4"
        assert first["Optimiser"] == "AdamW 0.9 0.999, decay 0.01"
        assert first["Epochs"] == ""

    def test_not_measured(self, scores):
        for table in (table3, table4):
            assert table(scores)["Note"].tolist() == ["control: not measured"]

    def test_other_tables_are_left_alone(self, scores, controlled):
        for table in (table2, table5):
            pd.testing.assert_frame_equal(table(scores), table(controlled))
