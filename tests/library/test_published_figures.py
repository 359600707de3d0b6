"""Figures from the papers' numbers: points are the data, captions hold computed numbers."""

import re
from html import unescape
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
import yaml
from matplotlib.colors import to_rgba
from scipy.stats import pearsonr, spearmanr
from synthetic_scores import make_scores

from seesaw.figures import scatter, sweeps
from seesaw.figures.scatter import panel_points, scatter_grid
from seesaw.figures.style import COLOURS, FAMILIES, FULL_WIDTH, group_styles, new_figure, short
from seesaw.published import autoencoders, benchmark, read
from seesaw.published.figures import FIGURES, draw_figure, module_of
from seesaw.published.figures.benchmark import benchmark_scores, paper_band
from seesaw.published.figures.choice import joined_scores, lost_by, regrets
from seesaw.published.figures.pools import pools, whole
from seesaw.published.figures.words import listed, p_span, power, span, strength
from seesaw.published.page import write_page
from seesaw.score_table import distinct, pool, values
from seesaw.stats import Correlation, fisher_interval, smallest_detectable

ROOT = Path(__file__).parents[2]
DRAWN = [name for name in FIGURES if not re.fullmatch("figure[36789]", name)]
"""Figures 3 and 6 to 9 are Figure 5 with other conditions; drawing them takes long."""


@pytest.fixture(scope="module")
def drawn():
    return {name: draw_figure(name) for name in DRAWN}


@pytest.fixture(scope="module")
def table5():
    return read("seesaw_table5")


def texts(figure):
    return [text.get_text() for text in figure.findobj(mpl.text.Text) if text.get_text()]


def two_panels(table, condition):
    """Points of gFID and PSNR against a condition, without drawing them."""
    return pd.concat([panel_points(distinct(table), x, condition) for x in ("gfid", "psnr")])


class TestAll:
    @pytest.mark.parametrize("name", DRAWN)
    def test_a_figure_has_points_and_a_caption_and_fits_the_page(self, drawn, name):
        figure, points, caption = drawn[name]
        assert len(points)
        assert figure.get_figwidth() == FULL_WIDTH
        assert figure.get_figheight() < 9.5
        assert len(caption) > 150
        assert caption.endswith(".")
        assert not re.search(r"\bnan\b|None|none,|\{|\}|  |  ", caption), caption

    @pytest.mark.parametrize("name", DRAWN)
    def test_text_stays_on_the_page(self, drawn, name):
        figure = drawn[name][0]
        figure.draw_without_rendering()  # lays out
        box = figure.get_tightbbox()
        assert box.x0 > -0.02
        assert box.y0 > -0.02
        assert box.x1 < figure.get_figwidth() + 0.02
        assert box.y1 < figure.get_figheight() + 0.02

    def test_unknown_name_lists_the_valid_ones(self):
        with pytest.raises(ValueError, match="unknown published figure 'figure4'.*figure2"):
            draw_figure("figure4")
        with pytest.raises(ValueError, match="unknown published figure"):
            module_of("figure1")


class TestLooks:
    def test_every_published_group_has_its_own(self):
        groups = set(autoencoders()["group"])
        assert groups == set(FAMILIES)
        assert len(set(FAMILIES.values())) == len(FAMILIES)
        sheet = yaml.safe_load((ROOT / "config/autoencoders.yaml").read_text())["autoencoders"]
        rows = [e for e in sheet.values() if {"seesaw", "ifid"} & set(e["published"])]
        assert {entry["group"] for entry in rows} == groups

    def test_it_is_the_same_in_every_pool_and_beside_others(self):
        names = {"a": "Own", "b": "RAE", "c": "REPA-E", "d": "Other"}
        styles = group_styles(make_scores(names=names))
        assert styles["RAE"] == FAMILIES["RAE"] == group_styles(whole())["RAE"]
        assert group_styles(benchmark_scores())["REPA-E"] == styles["REPA-E"]
        assert not {styles["Own"], styles["Other"]} & set(FAMILIES.values())
        colours = [colour for colour, _ in styles.values()]
        assert len(set(colours)) == len(colours)

    @pytest.mark.parametrize("name", ["figure5", "seesaw", "ifid_figure1", "regret"])
    def test_drawn_points_have_it(self, drawn, name):
        looks = {(to_rgba(colour), marker) for colour, marker in FAMILIES.values()}
        inks = {to_rgba(colour) for colour in COLOURS[:-1]}
        lines = [line for axis in drawn[name][0].axes for line in axis.lines]
        found = {(to_rgba(line.get_color()), line.get_marker()) for line in lines}
        coloured = {look for look in found if look[0] in inks}
        assert coloured
        assert coloured <= looks


class TestFigure2:
    def test_three_pools_side_by_side(self, drawn, table5):
        figure, points, _ = drawn["figure2"]
        titles = [axis.get_title() for axis in figure.axes[:3]]
        assert titles == [
            "All rows: n = 33 (gFID 6)", "Rows with gFID: n = 6",
            "Duplicates removed: n = 29 (gFID 6)",
        ]  # fmt: skip
        assert len(points) == 3 * 5 * 8

    @pytest.mark.parametrize(
        "x, y, rows, expected",
        [
            ("psnr", "spatial", "all rows", 0.989),
            ("gfid", "spatial", "all rows", 0.086),
            ("rfid", "dino", "all rows", 0.958),
            ("psnr", "identity", "all rows", 0.998),
            ("rfid", "face-recall", "rows with gFID", 0.771),
            ("psnr", "dino", "rows with gFID", 0.886),
            ("gfid", "dino", "duplicates removed", 0.257),
        ],
    )
    def test_published_correlations(self, drawn, x, y, rows, expected):
        points = drawn["figure2"][1].set_index(["x", "y", "rows"])
        assert points.loc[(x, y, rows), "value"] == pytest.approx(expected, abs=5e-4)

    def test_what_could_be_chance_is_in_brackets(self, drawn):
        figure, points, _ = drawn["figure2"]
        for axis, (_, block) in zip(figure.axes[:3], points.groupby("rows", sort=False)):
            cells = [text.get_text() for text in axis.texts]
            unsure = [f"({short(v, 2)})" for v in block.loc[block["p"] >= 0.05, "value"]]
            assert sorted(text for text in cells if text[0] == "(") == sorted(unsure)

    def test_caption(self, drawn):
        _, points, caption = drawn["figure2"]
        of = points.set_index(["rows", "x"]).sort_index()
        assert f"PSNR has {span(of.loc[('all rows', 'psnr'), 'value'])}" in caption
        assert f"{span(of.loc[('all rows', 'gfid'), 'value'])}" in caption
        assert power(6) in caption
        assert "13 of 33 of REPA-E" in caption
        assert "Williams' t" in caption


class TestScatter:
    def test_points_are_the_table(self, drawn, table5):
        points = drawn["figure5"][1]
        known = autoencoders()["seesaw_table5"]
        printed = table5.set_index("weight_name")
        for metric in ("gfid", "rfid", "psnr"):
            panel = points[points["x_metric"] == metric]
            assert len(panel) == (6 if metric == "gfid" else 29)
            rows = printed.loc[known[panel["autoencoder"]]]
            assert panel["x"].tolist() == rows[metric].tolist()
            assert panel["y"].tolist() == rows["canny_l1"].tolist()
            assert panel["group"].tolist() == rows["group"].tolist()

    @pytest.mark.parametrize(
        "name, conditions",
        [
            ("figure6", ["depth"]), ("figure7", ["segmentation"]),
            ("figure8", ["identity", "face-recall"]), ("figure9", ["clip", "dino"]),
        ],
    )  # fmt: skip
    def test_other_conditions_are_drawn_alike(self, monkeypatch, name, conditions):
        asked = []

        def grid(table, cells, missing, key):
            asked.extend(cell for row in cells for cell in row)
            return new_figure(1, 1), two_panels(table, conditions[0])

        monkeypatch.setattr(sweeps, "scatter_grid", grid)
        _, _, caption = draw_figure(name)
        across = ["gfid", "rfid", "psnr", "ssim", "lpips"]
        assert asked == [(x, y) for y in conditions for x in across]
        assert "gFID, which 6 have" in caption

    def test_figure3_is_three_by_three(self, monkeypatch):
        asked = []

        def grid(table, cells, missing, key):
            asked.extend(cells)
            return new_figure(1, 1), two_panels(table, "spatial")

        monkeypatch.setattr(scatter, "scatter_grid", grid)
        draw_figure("figure3")
        conditions = ["spatial", "identity", "clip"]
        assert asked == [[(x, y) for y in conditions] for x in ("gfid", "rfid", "psnr")]

    def test_correlation_and_caption(self, drawn, table5):
        _, points, caption = drawn["figure5"]
        panel = points[points["x_metric"] == "psnr"]
        rho = spearmanr(-panel["x"], panel["y"]).statistic
        assert panel["rho"].iloc[0] == pytest.approx(rho)
        every = spearmanr(-table5["psnr"], table5["canny_l1"]).statistic
        assert f"PSNR {short(rho, 2)} (p < .001; all 33 rows: {short(every, 3)})" in caption
        six = table5[table5["gfid"].notna()]
        rho = spearmanr(six["gfid"], six["canny_l1"]).statistic
        assert f"gFID, which 6 have: ρ is {short(rho, 2)}" in caption
        assert power(6) in caption

    def test_key_has_families_with_n_and_few_points_are_named(self, drawn):
        figure, points, _ = drawn["figure5"]
        entries = [text.get_text() for text in figure.legends[0].get_texts()]
        assert "REPA-E (n = 10)" in entries
        counts = points.drop_duplicates("autoencoder")["group"].value_counts()
        assert entries == [f"{g} (n = {counts[g]})" for g in dict.fromkeys(points["group"])]
        named = [axis for axis in figure.axes if axis.texts]
        assert len(named) == 1
        assert {t.get_text() for t in named[0].texts} == {
            "VA-VAE", "RAE", "VTP", "UAE", "REPA-E", "SVG",
        }  # fmt: skip

    def test_numbers_remain_for_own_pools(self):
        figure, _ = scatter_grid(make_scores(), [[("psnr", "canny")]])
        assert {text.get_text() for text in figure.axes[0].texts} == set(map(str, range(1, 11)))


class TestChoice:
    def test_the_seesaw(self, drawn, table5):
        _, points, caption = drawn["seesaw"]
        six = table5[table5["gfid"].notna()]
        assert set(points.loc[points["metric"] == "gfid", "value"]) == set(six["gfid"])
        chosen = points.dropna(subset=["selected_by"]).drop_duplicates("autoencoder")
        assert dict(zip(chosen["selected_by"], chosen["autoencoder"])) == {
            "gfid": "RAE", "spatial": "UAE",
        }  # fmt: skip
        rae = points[(points["autoencoder"] == "RAE") & (points["metric"] != "gfid")]
        assert rae["share_of_range"].eq(1).sum() == 7  # of DINO it is SVG
        assert "worst of the 6 in 7 of 8 conditions" in caption
        more = 100 * (0.1092 / 0.0463 - 1)
        assert f"{more:.0f}% above that of UAE" in caption
        assert "0.17 above the best, rank 2 of 6" in caption
        assert power(6) in caption
        assert "exact p = .919" in caption

    def test_regret_of_a_small_pool(self):
        by, target = np.array([1.0, 2.0, 3.0]), np.array([5.0, 4.0, 2.0])
        assert lost_by(by, target) == 3.0
        assert lost_by(target, target) == 0.0

    def test_regret_is_what_the_table_says(self, drawn, table5):
        points = drawn["regret"][1]
        six = table5[table5["gfid"].notna()]
        panel = points[points["pool"] == "rows with gFID"].set_index(["target", "metric"])
        best = six["spatial"].min()
        for metric, column, sign in [
            ("gfid", "gfid", 1),
            ("rfid", "rfid", 1),
            ("psnr", "psnr", -1),
        ]:
            row = six.loc[(sign * six[column]).idxmin()]
            lost = panel.loc[("spatial", metric), "lost"]
            assert lost == pytest.approx(row["spatial"] - best)
            gfid = panel.loc[("gfid", metric), "lost"]
            assert gfid == pytest.approx(row["gfid"] - six["gfid"].min())
        assert panel.loc[("spatial", "gfid"), "blind"] == pytest.approx(
            (six["spatial"] - best).mean()
        )

    def test_left_out_range_holds_every_smaller_pool(self):
        six = pools()["rows with gFID"]
        row = regrets(six, "spatial").set_index("metric").loc["gfid"]
        found = []
        for name in pool(six).index:
            rest = six[six["autoencoder"] != name]
            gfid, drift = values(rest, "gfid"), values(rest, "spatial")
            found.append(drift[gfid.idxmin()] - drift.min())
        assert (row["low"], row["high"]) == pytest.approx((min(found), max(found)))

    def test_both_papers_are_joined_by_identity(self):
        table = joined_scores()
        names = set(table["autoencoder"])
        known = autoencoders()
        both = known[(known["seesaw_table5"] != "") & (known["ifid_benchmark"] != "")]
        assert names == set(both.index)
        other = benchmark().set_index("autoencoder")
        assert values(table, "ifid").to_dict() == other.loc[list(names), "ifid"].to_dict()

    def test_a_metric_that_lacks_a_value_is_not_compared(self):
        six = pools()["rows with gFID"]
        holed = six[(six["metric"] != "psnr") | (six["autoencoder"] != "svg")]
        assert "psnr" not in set(regrets(holed, "spatial")["metric"])

    def test_captions_of_regret(self, drawn):
        _, points, caption = drawn["regret"]
        row = points[(points["pool"] == "in both papers") & (points["target"] == "spatial")]
        row = row.set_index("metric").loc["ifid"]
        assert f"iFID takes {row['group']}" in caption
        assert f"{row['lost']:.4f} of drift" in caption


class TestBenchmark:
    def test_points_are_the_readme(self, drawn):
        points = drawn["ifid_vs_gfid"][1]
        table = read("ifid_readme_benchmark").set_index("vae")
        for model, column in (("SiT-XL", "gfid_xl_no_cfg"), ("SiT-B", "gfid_b_no_cfg")):
            panel = points[points["samples"] == f"{model} unguided"].set_index("autoencoder")
            there = table[table[column].notna()]
            assert panel["y"].to_dict() == there[column].to_dict()
            assert panel["x"].to_dict() == there["ifid"].to_dict()

    @pytest.mark.parametrize(
        "model, subset, n, pcc, srcc",
        [
            ("SiT-XL", "all", 14, 0.896, 0.881), ("SiT-XL", "in the paper", 13, 0.903, 0.918),
            ("SiT-B", "all", 13, 0.856, 0.830), ("SiT-B", "in the paper", 12, 0.859, 0.846),
        ],
    )  # fmt: skip
    def test_correlations(self, drawn, model, subset, n, pcc, srcc):
        _, points, caption = drawn["ifid_vs_gfid"]
        rows = points[(points["model"] == model) & (points["subset"] == subset)]
        rows = rows.set_index("method")
        assert (rows["n"] == n).all()
        assert rows.loc["pearson", "value"] == pytest.approx(pcc, abs=5e-4)
        assert rows.loc["spearman", "value"] == pytest.approx(srcc, abs=5e-4)
        assert (rows["low"] < rows["value"]).all()
        assert (rows["without_low"] <= rows["value"]).all()
        assert f"PCC = {short(rows.loc['pearson', 'value'], 2)}" in caption

    def test_the_band_is_that_of_table_3(self, drawn):
        assert paper_band() == (0.85, 0.91)
        assert "the paper: .85 to .91" in " ".join(texts(drawn["ifid_vs_gfid"][0]))

    def test_figure1_takes_rfid_from_seesaw(self, drawn):
        _, points, caption = drawn["ifid_figure1"]
        panel = points[(points["samples"] == "SiT-XL unguided") & (points["x_metric"] == "rfid")]
        names = benchmark().set_index("vae")["autoencoder"]
        rfid = values(whole(), "rfid")
        assert panel["x"].tolist() == rfid[names[panel["autoencoder"]]].tolist()
        assert len(panel) == 6
        r = pearsonr(panel["x"], panel["y"]).statistic
        assert f"SiT-XL r = {short(r, 2)}" in caption
        assert "the paper gives r −.06 to −.04" in caption


class TestSheets:
    def test_table3(self, drawn):
        _, points, caption = drawn["ifid_table3"]
        printed = read("ifid_table3")
        assert len(points) == 2 * len(printed)
        pcc = points[points["column"] == "pcc"]["value"].tolist()
        assert pcc == printed["pcc"].tolist()
        row = points[(points["metric"] == "iFID") & (points["column"] == "pcc")].iloc[0]
        assert (row["low"], row["high"]) == pytest.approx(fisher_interval(row["value"], 13))
        own = points.loc[points["metric"] == "iFID", "value"]
        assert f"iFID has {span(own)}" in caption
        assert power(13) in caption

    @pytest.mark.parametrize("name", ["ifid_table4", "ifid_table5"])
    def test_tables_4_and_5(self, drawn, name):
        _, points, caption = drawn[name]
        printed = read(name).select_dtypes("float").drop(columns="alpha", errors="ignore")
        assert sorted(points["value"]) == sorted(printed.to_numpy().ravel())
        assert (points["n"] == 13).all()
        inside = points[points["value"].abs() < 1]
        assert inside["low"].notna().all()
        assert (inside["low"] < inside["value"]).all()

    def test_perfect_correlations_have_no_interval_in_words_or_as_nan(self, drawn):
        points = drawn["ifid_table5"][1]
        perfect = points[points["value"] == 1]
        assert len(perfect) == 2


class TestWords:
    def test_spans(self):
        assert span([0.958, 0.893]) == ".89 to .96"
        assert span([0.5, None, np.nan]) == ".50"
        assert span([]) == "none"
        assert p_span([0.657, 1.0]) == "p = .657 to 1.000"
        assert p_span([0.0001, 0.0002]) == "p < .001"
        assert p_span([0.0001, 0.03]) == "p < .001 to .030"
        assert p_span([None]) == "no p"
        assert listed(["a", "b", "c"]) == "a, b and c"
        assert listed(["a"]) == "a"

    def test_power_is_the_smallest_detectable(self):
        least = smallest_detectable(6)
        assert f"|ρ| ≥ {short(least, 2)} from 0" in power(6)
        assert "too few" in power(3)

    def test_strength(self):
        found = Correlation(
            value=0.0857, n=6, low=-0.9, high=1.0, p=0.919, method="spearman", p_method="exact"
        )
        assert strength(found) == "ρ = .09 (95% interval −.90 to 1.00, exact p = .919, n = 6)"
        none = Correlation(value=None, n=2, method="spearman", note="2 of the 3 pairs")
        assert strength(none) == "no ρ (2 of the 3 pairs; n = 2)"


class TestPage:
    def make(self, folder, captions=("figure2", "regret")):
        for name in ("figure2", "regret"):
            (folder / "figures").mkdir(exist_ok=True)
            (folder / f"figures/{name}.png").write_bytes(b"\x89PNG")
        for name in captions:
            (folder / f"figures/{name}.txt").write_text(f"{name}: ρ < .5 & p\n")
        write_page(
            output=folder / "index.html",
            figures=[folder / "figures/regret.png", folder / "figures/figure2.png"],
            captions=[folder / f"figures/{name}.txt" for name in captions],
            tables=[folder / "tables/table5.csv", folder / "tables/table5.html"],
            provenance={"seed": 0},
        )
        return (folder / "index.html").read_text()

    def test_shows_figures_in_order_with_captions_and_links_tables(self, tmp_path):
        page = self.make(tmp_path)
        assert page.index('id="regret"') < page.index('id="figure2"')
        assert "figure2: ρ < .5 & p" in unescape(page)
        assert "< .5" not in page
        assert page.count("data:image/png;base64,") == 2
        assert 'href="tables/table5.csv">CSV' in page
        assert 'href="tables/table5.html">HTML' in page
        assert 'href="figures/regret.png">PNG' in page

    def test_a_figure_without_caption_is_an_error(self, tmp_path):
        with pytest.raises(ValueError, match="alone are regret"):
            self.make(tmp_path, captions=("figure2",))
