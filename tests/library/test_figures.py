import logging

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from synthetic_scores import NAMES, make_scores

from seesaw.figures.correlation import figure2
from seesaw.figures.scatter import figure3
from seesaw.figures.style import (
    COLOURS,
    correlation_text,
    group_styles,
    new_figure,
    p_text,
    save_figure,
    short,
)
from seesaw.figures.sweeps import figure5, figure6, figure7, figure8, figure9
from seesaw.score_table import values
from seesaw.stats import Correlation, spearman


@pytest.fixture(scope="module")
def scores():
    return make_scores()


@pytest.fixture(scope="module")
def heatmap(scores):
    return figure2(scores)


@pytest.fixture(scope="module")
def canny(scores):
    return figure5(scores)


@pytest.fixture(scope="module")
def faces(scores):
    return figure8(scores)


def small(scores):
    """Only what one panel needs, to be quick."""
    return scores[scores["metric"].isin(["psnr", "canny"])]


def texts(figure):
    return [text.get_text() for text in figure.findobj(mpl.text.Text) if text.get_text()]


def panels(figure):
    return [axis for axis in figure.axes if axis.axison and axis.get_xlabel()]


class TestStyle:
    def test_groups_look_different_and_the_same_everywhere(self):
        many = {f"ae{i}": f"group{i}" for i in range(40)}
        scores = make_scores(names=many)
        styles = group_styles(scores)
        assert len(set(styles.values())) == 40
        assert styles["group0"][0] == COLOURS[0]
        some = scores[scores["metric"] != "rfid"]
        assert group_styles(some) == styles

    @pytest.mark.parametrize(
        "value, text",
        [(0.934, ".93"), (-0.104, "−.10"), (1, "1.00"), (-1, "−1.00"), (-1e-3, ".00")],
    )
    def test_short(self, value, text):
        assert short(value, 2) == text

    def test_p(self):
        assert p_text(0.0004) == "p < .001"
        assert p_text(0.0312) == "p = .031"
        assert p_text(1.0) == "p = 1.000"

    def test_correlation_in_words(self):
        found = Correlation(value=0.5, n=7, low=-0.2, high=0.9, p=0.2, method="spearman")
        assert correlation_text(found) == "ρ = .50 [−.20, .90], p = .200, n = 7"
        assert correlation_text(Correlation(value=None, n=1, method="spearman", note="why")) == (
            "no ρ (why)"
        )

    def test_nothing_leaks(self, scores):
        before = dict(mpl.rcParams)
        figure5(small(scores))
        assert dict(mpl.rcParams) == before

    def test_save_writes_all_kinds_and_repeats_to_the_byte(self, tmp_path, caplog):
        caplog.set_level(logging.INFO)
        points = pd.DataFrame({"x": [1.0]})
        for folder in ("a", "b"):
            figure = new_figure(3.4, 2)
            figure.subplots().plot([1, 2])
            save_figure(
                figure, points, {k: tmp_path / folder / f"f.{k}" for k in ("pdf", "png", "csv")}
            )
        for kind in ("pdf", "png", "csv"):
            first, second = ((tmp_path / folder / f"f.{kind}").read_bytes() for folder in "ab")
            assert first == second
        assert not caplog.records  # a job's log is not for the glyphs of a font
        assert (tmp_path / "a" / "f.pdf").read_bytes().startswith(b"%PDF")
        assert mpl.image.imread(tmp_path / "a" / "f.png").shape[:2] == (400, 680)

    def test_save_refuses_other_kinds(self, tmp_path):
        with pytest.raises(ValueError, match="valid: pdf, png, csv"):
            save_figure(new_figure(1, 1), pd.DataFrame(), {"svg": tmp_path / "f.svg"})


class TestFigure2:
    def test_cells_show_the_oriented_rho(self, scores, heatmap):
        figure, points = heatmap
        cell = points[(points["x"] == "psnr") & (points["y"] == "canny")].iloc[0]
        assert cell["value"] == pytest.approx(
            -spearman(values(scores, "psnr"), values(scores, "canny"))
        )
        assert short(cell["value"], 2) in texts(figure)

    def test_weak_cells_stand_in_brackets_and_are_hatched(self):
        figure, points = figure2(make_scores(noise=0.5))
        weak = int((points["p"] >= 0.05).sum())
        assert 0 < weak < points["value"].notna().sum()
        hatched = [p for p in figure.findobj(mpl.patches.Rectangle) if p.get_hatch()]
        assert len(hatched) == weak
        assert sum(text.startswith("(") for text in texts(figure)) == weak

    def test_gfid_row_says_not_measured(self, heatmap):
        assert texts(heatmap[0]).count("not\nmeasured") == 8
        assert "not\nmeasured" not in texts(figure2(make_scores(gfid=True))[0])

    def test_unmeasured_metrics_are_named(self, scores):
        figure, _ = figure2(scores[~scores["metric"].isin(["kid", "depth"])])
        assert any(
            "Not measured: FD-infinity, KID, FDD, MS-SSIM, Depth drift." in text
            for text in texts(figure)
        )

    def test_networks_and_n_are_named(self, heatmap):
        shown = "\n".join(texts(heatmap[0]))
        assert "rFID\nmini-inception" in shown
        assert "n = 10 autoencoders" in shown

    def test_two_autoencoders_get_words(self):
        figure, _ = figure2(make_scores(names={"a": "A", "b": "B"}))
        assert any("2 of the 3 pairs" in text for text in texts(figure))


class TestScatter:
    @pytest.mark.parametrize(
        "function, conditions",
        [(figure5, ["canny"]), (figure6, ["depth"]), (figure7, ["segmentation"]),
         (figure8, ["identity", "face-recall"]), (figure9, ["clip", "dino"])],
    )  # fmt: skip
    def test_a_panel_per_metric_and_condition(self, scores, function, conditions):
        figure, points = function(scores[~scores["metric"].isin(["ifid", "ssim", "lpips"])])
        drawn = list(dict.fromkeys(zip(points["x_metric"], points["y_metric"])))
        assert drawn == [(x, y) for y in conditions for x in ("rfid", "psnr")]
        assert len(panels(figure)) == len(drawn)
        assert any("Not measured: gFID, iFID, SSIM, LPIPS." in text for text in self.keys(figure))

    def test_all_measured_metrics_are_there(self, canny):
        figure, points = canny
        across = ["rfid", "ifid", "psnr", "ssim", "lpips"]
        assert points["x_metric"].unique().tolist() == across
        assert len(panels(figure)) == 5
        assert any("Not measured: gFID." in text for text in self.keys(figure))

    @staticmethod
    def keys(figure):
        return [legend.get_title().get_text() for legend in figure.legends]

    def test_gfid_is_picked_up(self):
        scores = make_scores(gfid=True)
        figure, points = figure5(scores[scores["metric"].isin(["gfid", "canny", "psnr"])])
        assert points["x_metric"].iloc[0] == "gfid"
        assert not any("Not measured: gFID" in text for text in self.keys(figure))

    def test_points_are_what_is_drawn(self, scores):
        figure, points = figure3(scores)
        axis = panels(figure)[0]
        drawn = sorted((line.get_xdata()[0], line.get_ydata()[0]) for line in axis.lines)
        first = points[(points["x_metric"] == "rfid") & (points["y_metric"] == "spatial")]
        assert drawn == sorted(zip(first["x"], first["y"]))
        assert first["rho"].iloc[0] == pytest.approx(
            spearman(values(scores, "rfid"), values(scores, "spatial"))
        )

    def test_a_point_that_rests_on_a_few_faces_is_hollow_and_not_in_rho(self, scores):
        who, few = "kl-f8c16", scores.copy()
        plain = (few["metric"] == "identity") & (few["variant"] == "")
        few.loc[plain & (few["autoencoder"] == who), "n"] = 1
        few = few[few["metric"].isin(["rfid", "identity"])]
        figure, points = figure8(few)
        of = points[(points["y_metric"] == "identity") & (points["x_metric"] == "rfid")]
        assert of["autoencoder"][~of["in_rho"]].tolist() == [who]
        rest = scores[scores["autoencoder"] != who]
        expected = spearman(-values(rest, "rfid"), values(rest, "identity"))
        assert of["rho"].iloc[0] == pytest.approx(expected)
        assert of["note"].iloc[0].endswith("counts as missing: kl-f8c16 (n = 1)")
        [axis, *_] = [a for a in panels(figure) if "Identity" in a.get_ylabel()]
        hollow = [line.get_xydata()[0] for line in axis.lines if line.get_fillstyle() == "none"]
        [place] = of.loc[~of["in_rho"], ["x", "y"]].to_numpy()
        np.testing.assert_array_equal(hollow, [place])
        assert axis.get_title(loc="left").endswith("n = 9")
        assert any("Hollow: n too small, not in ρ." in text for text in self.keys(figure))
        whole, points = figure8(scores[scores["metric"].isin(["rfid", "identity"])])
        assert points["in_rho"].all()
        assert not any("Hollow" in text for text in self.keys(whole))

    def test_every_axis_points_to_better(self, canny, faces):
        figure, points = faces
        pairs = dict.fromkeys(zip(points["x_metric"], points["y_metric"]))
        for axis, (x, _) in zip(panels(figure), pairs, strict=True):
            assert axis.xaxis_inverted() == (x in ("rfid", "ifid", "lpips"))
            assert not axis.yaxis_inverted()
            assert "better →" in axis.get_xlabel()
        assert all(axis.yaxis_inverted() for axis in panels(canny[0]))

    def test_titles_give_interval_p_and_n(self, canny):
        for axis in panels(canny[0]):
            title = axis.get_title(loc="left")
            assert title.startswith("ρ = ")
            assert title.endswith("n = 10")
            assert "[" in title
            assert "p " in title

    def test_numbers_overlap_neither_each_other_nor_points(self):
        many = make_scores(names={f"ae{i}": f"group{i % 6}" for i in range(20)}, noise=0.03)
        figure, _ = figure5(small(many))
        (axis,) = panels(figure)
        numbers = [text for text in axis.texts if text.get_text().isdigit()]
        assert [int(text.get_text()) for text in numbers] == list(range(1, 21))
        renderer = figure.canvas.get_renderer()
        boxes = []
        for text in numbers:
            text.update_positions(renderer)
            box = mpl.text.Text.get_window_extent(text, renderer)
            spare = 0.2 * box.height  # a line of text is higher than its digits
            boxes.append((box.x0, box.y0 + spare, box.x1, box.y1 - spare))
        boxes = np.array(boxes)
        points = axis.transData.transform([line.get_xydata()[0] for line in axis.lines])
        low, high = boxes[:, None, :2], boxes[:, None, 2:]
        overlapping = ((low < boxes[:, 2:]) & (high > boxes[:, :2])).all(axis=2)
        assert overlapping.sum() == 20  # each with itself
        assert not ((low < points) & (high > points)).all(axis=2).any()

    def test_same_figure_every_time(self, scores, tmp_path):
        for name in ("a.png", "b.png"):
            save_figure(*figure5(small(scores)), {"png": tmp_path / name})
        assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()

    @pytest.mark.parametrize("level, lines", [(0.21, 1), (0.9, 0)])
    def test_baseline_is_drawn_where_it_is_near(self, scores, level, lines):
        moved = small(scores).copy()
        chosen = (moved["metric"] == "canny") & (moved["variant"] == "shuffled")
        moved.loc[chosen, "value"] = level
        figure, points = figure5(moved)
        for axis in panels(figure):
            assert sum(line.get_linestyle() == "--" for line in axis.lines) == lines
            assert (axis.get_ylim()[0] >= level) == bool(lines)
        shown = any(
            t.get_text() == "shuffled pairs (chance)" for t in figure.legends[0].get_texts()
        )
        assert shown == bool(lines)
        assert (points["y_shuffled"] == level).all()

    def test_duplicates_and_missing_values_are_not_drawn(self, scores):
        holed = scores[scores["metric"].isin(["psnr", "ssim", "canny"])].copy()
        holed.loc[holed["autoencoder"] == "kl-f8c16", "duplicate_of"] = "kl-f4c4"
        row = (holed["autoencoder"] == "rae") & (holed["metric"] == "ssim")
        holed.loc[row, "value"] = np.nan
        _, points = figure5(holed)
        by_metric = points.groupby("x_metric")["autoencoder"].agg(set)
        assert by_metric["psnr"] == set(NAMES) - {"kl-f8c16"}
        assert by_metric["ssim"] == set(NAMES) - {"kl-f8c16", "rae"}
        assert set(points.loc[points["x_metric"] == "ssim", "n"]) == {8}

    def test_nothing_measured_gets_words(self, scores):
        figure, points = figure6(scores[scores["metric"] != "depth"])
        assert texts(figure) == ["Not measured: gFID, Depth drift"]
        assert points.empty

    def test_one_autoencoder(self):
        figure, points = figure3(make_scores(names={"a": "A"}))
        assert len(points) == len(panels(figure)) == 6
        assert all("no ρ" in axis.get_title(loc="left") for axis in panels(figure))
