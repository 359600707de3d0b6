import inspect
import itertools
import re

import numpy as np
import pandas as pd
import pytest
import scipy.stats

from seesaw.files import write_csv
from seesaw.published import benchmark, correlation, read, scores, subsets
from seesaw.published import tables as published_tables
from seesaw.published.correlation import (
    benchmark_subsets,
    comparison_row,
    correlation_row,
    vectors_with,
)
from seesaw.published.data import FOLDER
from seesaw.published.joined import COUNT, SPECTRUM
from seesaw.published.tables import TABLES, make_table
from seesaw.score_table import CONDITIONS, label, worse
from seesaw.stats import spearman

ORDER = ("canny", "depth", "segmentation", "spatial", "identity", "face-recall", "clip", "dino")
FIGURE2 = {
    (6, "gfid"): (0.086, 0.086, 0.086, 0.086, 0.086, 0.029, 0.086, 0.257),
    (33, "rfid"): (0.902, 0.956, 0.938, 0.923, 0.907, 0.893, 0.921, 0.958),
    (33, "psnr"): (0.991, 0.964, 0.965, 0.989, 0.998, 0.895, 0.985, 0.964),
    (33, "ssim"): (0.990, 0.957, 0.960, 0.988, 0.994, 0.909, 0.976, 0.968),
    (33, "lpips"): (0.943, 0.984, 0.955, 0.953, 0.951, 0.865, 0.950, 0.973),
    (6, "rfid"): (0.714, 0.714, 0.714, 0.714, 0.714, 0.771, 0.714, 0.829),
    (6, "psnr"): (1.0, 1.0, 1.0, 1.0, 1.0, 0.943, 1.0, 0.886),
}
"""Spearman of Seesaw's Figure 2, computed once with scipy from the printed table."""


@pytest.fixture(scope="module")
def made():
    """Every table, each made once, with fewer draws than the workflow takes."""
    found = {}
    monkeypatch = pytest.MonkeyPatch()
    monkeypatch.setattr(correlation, "RESAMPLES", 300)
    monkeypatch.setattr(correlation, "PERMUTATIONS", 500)

    def make(name):
        if name not in found:
            found[name] = make_table(name)
        return found[name]

    yield make
    monkeypatch.undo()


def one(table, **wanted):
    for column, value in wanted.items():
        table = table[table[column] == value]
    assert len(table) == 1
    return table.iloc[0]


class TestEveryTable:
    @pytest.mark.parametrize("name", TABLES)
    def test_is_named_after_its_function_and_has_no_nan(self, made, name, tmp_path):
        assert getattr(published_tables, name) is TABLES[name]
        assert inspect.getdoc(TABLES[name])
        write_csv(tmp_path / "table.csv", made(name))
        text = (tmp_path / "table.csv").read_text().lower()
        assert not re.search(r"(^|[,\"])(nan|none|inf|-inf|<na>)([,\"]|$)", text, re.M)
        assert len(text.splitlines()) == len(made(name)) + 1

    def test_rule_lists_them_all(self):
        rules = (FOLDER.parents[1] / "workflow/rules/published.smk").read_text()
        listed = re.search(r"PUBLISHED_TABLES = \[(.*?)\]", rules, re.S)[1]
        assert re.findall(r'"(\w+)"', listed) == list(TABLES)

    def test_unknown_table(self):
        with pytest.raises(ValueError, match="unknown published table 'table9'.*cross_paper"):
            make_table("table9")

    @pytest.mark.parametrize("name", ["ifid_vs_gfid"])
    def test_seed_moves_intervals_only(self, made, name):
        again, other = make_table(name, 0), make_table(name, 1)
        pd.testing.assert_frame_equal(again, made(name))
        assert other["value"].equals(again["value"])
        assert not other["bca_low"].equals(again["bca_low"])


class TestCorrelations:
    @pytest.mark.parametrize("n, metric", FIGURE2)
    def test_figure2_to_the_third_decimal(self, made, n, metric):
        subset = "all rows" if n == 33 else "rows with gFID"
        for condition, expected in zip(ORDER, FIGURE2[n, metric], strict=True):
            row = one(
                made("correlations"),
                subset=subset,
                x=label(metric),
                y=label(condition),
                method="spearman",
            )
            assert row["n"] == n
            assert round(row["value"], 3) == pytest.approx(expected, abs=1e-9)

    def test_agree_with_scipy(self, made):
        table = read("seesaw_table5")
        x, y = -table["psnr"], table["canny_l1"]
        wanted = {
            "pearson": scipy.stats.pearsonr(x, y),
            "spearman": scipy.stats.spearmanr(x, y),
            "kendall": scipy.stats.kendalltau(x, y),
        }
        for method, found in wanted.items():
            row = one(
                made("correlations"), subset="all rows", x="PSNR", y="Canny drift", method=method
            )
            assert row["value"] == pytest.approx(found.statistic, abs=6e-5)

    def test_gfid_on_six_rows_tells_nothing(self, made):
        row = one(
            made("correlations"),
            subset="rows with gFID",
            x="gFID",
            y="Spatial drift",
            method="spearman",
        )
        assert row["value"] == pytest.approx(0.0857, abs=1e-4)
        assert row["p_method"] == "exact"
        assert row["p"] == pytest.approx(scipy_exact_p(6, 0.0857142857), abs=1e-5)
        assert row["fisher_low"] < -0.7
        assert row["fisher_high"] > 0.7
        assert row["detectable"] > 0.9

    def test_every_pair_in_every_subset(self, made):
        table = made("correlations")
        sizes = table.groupby("subset", sort=False).size()
        assert sizes["rows with gFID"] == 5 * 8 * 3
        assert set(table["method"]) == {"pearson", "spearman", "kendall"}
        assert table.loc[table["subset"] == "one per family", "n"].max() == 6
        assert table.loc[table["subset"] == "duplicates removed", "n"].max() == 29
        assert table["value"].notna().all()

    def test_latent_conditions_of_table2(self, made):
        table = made("correlations")
        wanted = {"Latent Canny": -1.0, "Latent depth": 0.4286}
        for condition, value in wanted.items():
            row = one(table, subset="Table 2 as printed", x="PSNR", y=condition, method="spearman")
            # drift of probes goes with PSNR's loss, so that "worse together" is the other sign
            assert row["value"] == pytest.approx(-value, abs=1e-4)

    def test_missing_and_constant_columns_get_words(self):
        names = list("abcd")
        x = pd.Series([1.0, 2.0, np.nan, 4.0], names)
        row = correlation_row(x, pd.Series(1.0, names), "spearman", 0)
        assert row["value"] is None
        assert "equal" in row["note"]
        row = correlation_row(x[:2], pd.Series([1.0, 3.0], names[:2]), "pearson", 0)
        assert row["value"] is None
        assert "2 of the 3 pairs" in row["note"]
        assert all(cell is None or cell == cell for cell in row.values())


def scipy_exact_p(n, value):
    ranks = np.arange(n)
    found = np.array([spearman(ranks, order) for order in itertools.permutations(range(n))])
    return (np.abs(found) >= value - 1e-9).mean()


class TestIfid:
    @pytest.mark.parametrize(
        "subset, model, pearson, spearman, n",
        [
            ("in the paper", "gFID SiT-XL", 0.903, 0.918, 13),
            ("all", "gFID SiT-XL", 0.896, 0.881, 14),
            ("all", "gFID SiT-B", 0.856, 0.830, 13),
            ("in the paper", "gFID SiT-B", 0.859, 0.846, 12),
        ],
    )
    def test_benchmark_to_the_third_decimal(self, made, subset, model, pearson, spearman, n):
        for method, value in (("pearson", pearson), ("spearman", spearman)):
            row = one(made("ifid_vs_gfid"), subset=subset, x="iFID", y=model, method=method)
            assert (row["n"], round(row["value"], 3)) == (n, value)

    def test_the_papers_values_stand_beside(self, made):
        table = made("ifid_vs_gfid")
        printed = {("gFID SiT-XL", "pearson"): 0.89, ("gFID SiT-XL", "spearman"): 0.91}
        printed |= {("gFID SiT-B", "pearson"): 0.85, ("gFID SiT-B", "spearman"): 0.86}
        for (model, method), value in printed.items():
            row = one(table, subset="in the paper", x="iFID", y=model, method=method)
            assert row["paper"] == value
            assert row["difference"] == pytest.approx(row["value"] - value, abs=1e-4)
            assert row["paper_in_interval"] == "yes"
        assert table.loc[table["method"] == "kendall", "paper"].isna().all()

    def test_models_agree(self, made):
        for method, value in (("pearson", 0.993), ("spearman", 0.978)):
            row = one(
                made("ifid_vs_gfid"), subset="all", x="gFID SiT-XL", y="gFID SiT-B", method=method
            )
            assert round(row["value"], 3) == value

    def test_leave_one_out_range(self, made):
        row = one(made("ifid_vs_gfid"), subset="all", x="iFID", y="gFID SiT-XL", method="pearson")
        assert (round(row["loo_low"], 3), round(row["loo_high"], 3)) == (0.853, 0.921)

    def test_no_small_subset_gives_the_papers_numbers(self, made):
        table = made("ifid_subsets")
        few = table[(table["model"] == "SiT-B") | (table["left_out"] <= 2)]
        assert (few["subsets_with_both_of_the_paper"] == 0).all()
        assert table["subsets"].tolist()[:4] == [1, 14, 91, 364]
        whole = one(table, model="SiT-XL", left_out=0)
        assert whole["pcc_low"] == whole["pcc_high"] == pytest.approx(0.8958, abs=1e-4)

    def test_one_per_family(self):
        votes = benchmark_subsets()["one per family"]
        table = benchmark().set_index("vae")
        expected = table.loc[["SD-VAE", "IN-VAE", "REPAE-VAE"], "ifid"].mean()
        assert votes.loc["REPA-E", "ifid"] == pytest.approx(expected)
        assert len(votes) == 11

    def test_table3_keeps_what_is_printed(self, made):
        table = made("ifid_table3").set_index("Metric")
        printed = read("ifid_table3")
        for row in printed.itertuples():
            words = f"{row.diffusion_model}, {'guidance' if row.cfg == 'yes' else 'no guidance'}"
            assert table.loc[row.metric, f"PCC {words}"] == row.pcc
            assert table.loc[row.metric, f"SRCC {words}"] == row.srcc
        again = table.loc["iFID, benchmark"]
        assert again["PCC SiT-XL, no guidance"] == pytest.approx(0.903, abs=5e-4)
        half = 1.959964 / np.sqrt(10)  # Fisher, n = 13
        assert table.loc["iFID", "PCC SiT-XL, no guidance: low"] == pytest.approx(
            np.tanh(np.arctanh(0.89) - half), abs=1e-4
        )

    def test_tables_1_4_and_5(self, made):
        assert made("ifid_table1")["PCC iFID"].tolist() == [
            0.06,
            0.26,
            0.67,
            0.69,
            0.77,
            0.85,
            0.89,
        ]
        assert made("ifid_table4")["SRCC with gFID SiT-XL, guidance"].tolist()[-1] == 0.92
        alphas = made("ifid_table5")
        assert alphas["alpha"].tolist() == [0, 0.1, 0.2, 0.3, 0.4, 0.5]
        assert alphas["Where alpha is from"].tolist()[1] == "inferred"


class TestComparisons:
    def test_williams_by_hand(self):
        # two predictors with r = .5 and .3, r between .4, n = 103 (closed form of the statistic)
        a, b, c, n = 0.5, 0.3, 0.4, 103
        found = comparison_row(
            "q", "s", ["A", "B", "T"],
            vectors_with(np.array([[1, c, a], [c, 1, b], [a, b, 1]]), n), "pearson",
        )  # fmt: skip
        determinant = 1 - a * a - b * b - c * c + 2 * a * b * c
        t = (a - b) * np.sqrt(
            (n - 1) * (1 + c)
            / (2 * (n - 1) / (n - 3) * determinant + ((a + b) / 2) ** 2 * (1 - c) ** 3)
        )  # fmt: skip
        assert (found["r_first"], found["r_second"]) == (a, b)
        assert found["t"] == pytest.approx(t, abs=1e-4)
        assert found["p"] == pytest.approx(2 * scipy.stats.t.sf(t, n - 3), abs=1e-6)
        assert found["first_given_second"] == pytest.approx(
            (a - b * c) / np.sqrt((1 - b * b) * (1 - c * c)), abs=1e-4
        )

    def test_vectors_have_the_correlations_asked_for(self):
        matrix = np.array([[1, 0.06, 0.89], [0.06, 1, -0.06], [0.89, -0.06, 1]])
        found = np.corrcoef(vectors_with(matrix, 13))
        assert np.allclose(found, matrix, atol=1e-12)
        with pytest.raises(ValueError, match="no 13 autoencoders have the correlations"):
            vectors_with(np.array([[1, 0.9, 0.9], [0.9, 1, -0.9], [0.9, -0.9, 1]]), 13)

    def test_psnr_and_rfid(self, made):
        table = made("comparisons")
        part = table[(table["question"] == "drift") & (table["second"] == "rFID")]
        once = part[(part["subset"] == "all rows") & (part["method"] == "spearman")]
        assert len(once) == len(CONDITIONS)
        assert (once["r_first"] > once["r_second"]).all()  # on all 8, as the text says
        assert set(once["n"]) == {33}

    def test_ifid_beats_rfid_from_printed_coefficients(self, made):
        table = made("comparisons")
        printed = table[table["question"].str.contains("coefficients")]
        assert len(printed) == 8
        assert (printed["n"] == 13).all()
        assert (printed["p"] < 0.01).all()
        assert set(printed["verdict"]) == {"iFID predicts better"}
        row = one(printed, target="gFID SiT-XL, no guidance", method="pearson")
        assert (row["r_first"], row["r_second"], row["r_between"]) == (0.89, -0.06, 0.06)

    def test_verdict_needs_evidence(self, made):
        table = made("comparisons")
        weak = table["p"].isna() | (table["p"] >= 0.05)
        assert (table.loc[weak, "verdict"] == "cannot be told").all()
        assert table.loc[~weak, "verdict"].str.endswith("predicts better").all()

    def test_coefficients_that_contradict_each_other_are_said(self, made):
        table = made("comparisons")
        row = one(table, target="gFID SiT-XL, with guidance", method="spearman", first="iFID")
        assert "0.92, -0.31 and 0.1 with each other cannot all hold" in row["note"]
        assert row["r_first"] == pytest.approx(0.92, abs=0.0051)
        matrix, note = correlation.feasible(0.06, 0.89, -0.06)
        assert note == ""
        assert matrix[0, 2] == 0.89
        with pytest.raises(ValueError, match="not even within 0.005"):
            correlation.feasible(0.9, 0.9, -0.9)


class TestRegret:
    def test_gfid_picks_the_worst_drift_of_six(self, made):
        part = made("regret")
        part = part[part["pool"] == "Seesaw, rows with gFID"]
        row = one(part, selected_by="gFID", outcome="Spatial drift [L1]")
        assert row["chosen"] == "rae_dinov2_reconstruction"
        assert row["best"] == "uae"
        assert row["regret"] == pytest.approx(0.1092 - 0.0463)
        assert (row["rank"], row["regret_share"]) == (6, 1.0)
        row = one(part, selected_by="PSNR", outcome="gFID")
        assert row["regret"] == pytest.approx(1.68 - 1.51)
        assert row["chosen"] == "uae"

    def test_higher_is_better_outcomes_keep_their_sign(self, made):
        part = made("regret")
        row = one(part, pool="both papers", selected_by="iFID", outcome="Identity")
        assert (row["chosen_value"], row["best_value"]) == (0.3096, 0.6891)
        row = one(
            part, pool="Seesaw, duplicates removed", selected_by="PSNR", outcome="Identity [cosine]"
        )
        assert row["regret"] == 0
        assert row["chosen_value"] == 0.7434

    def test_never_negative_and_a_lot_beside_it(self, made):
        table = made("regret")
        assert (table["regret"] >= 0).all()
        assert table["regret_share"].between(0, 1).all()
        assert table["random_share"].between(0, 1).all()
        part = subsets(scores())["rows with gFID"]
        drift = worse(part, "spatial")
        row = one(
            table[table["pool"] == "Seesaw, rows with gFID"],
            selected_by="gFID",
            outcome="Spatial drift [L1]",
        )
        by_lot = (drift.mean() - drift.min()) / (drift.max() - drift.min())
        assert row["random_share"] == pytest.approx(by_lot, abs=1e-4)


class TestCrossPaper:
    def test_joined_by_identity(self, made):
        table = made("cross_paper").set_index("Autoencoder")
        row = table.loc["vavae_f16d32"]
        assert row["iFID (iFID Readme)"] == 19.57
        assert row["gFID (Seesaw Table 5)"] == 2.17
        assert row["gFID SiT-XL (iFID Readme)"] == 8.57
        assert row["FID under control, canny (Seesaw Table 3)"] == 11.59
        assert row["Spatial drift (Seesaw Table 5)"] == 0.0709

    def test_missing_cells_stay_and_are_counted(self, made):
        table = made("cross_paper").set_index("Autoencoder")
        counts, rows = table.loc[COUNT], table.drop(index=COUNT)
        assert counts[SPECTRUM] == 0
        assert counts["iFID (iFID Readme)"] == 14
        assert counts["PSNR (Seesaw Table 5)"] == 33
        measures = rows.drop(columns=["Family", "Duplicate of", COUNT])
        assert (measures.notna().sum(axis=1) == rows[COUNT]).all()
        assert counts[COUNT] == rows[COUNT].sum()
        both = rows["iFID (iFID Readme)"].notna() & rows["PSNR (Seesaw Table 5)"].notna()
        assert both.sum() == 6
        assert both.iloc[:6].all()


class TestRenderings:
    def test_table5_holds_every_printed_number(self, made):
        table = made("table5")
        printed = read("seesaw_table5").set_index("weight_name")
        assert set(table["Name in the paper"]) == set(printed.index)
        psnr = table.set_index("Name in the paper")["PSNR [dB]"]
        assert psnr.to_dict() == printed["psnr"].to_dict()
        assert (table["Duplicate of"] != "").sum() == 4

    def test_table2(self, made):
        table = made("table2").set_index("Model")
        printed = read("seesaw_table2").set_index("model")
        assert table["IS"].dropna().to_dict() == printed["is"].dropna().to_dict()
        assert table.index.tolist() == printed.index.tolist()
