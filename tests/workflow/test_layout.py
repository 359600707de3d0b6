"""One name per stage and per item: paths, rules, scripts, library and tests stay in step."""

import re
import sys
from pathlib import Path

import pytest
import yaml

from seesaw.registry import (
    BACKBONES,
    CROPS,
    FAMILIES,
    INTERPOLATIONS,
    LOSSES,
    METRICS,
    NETWORKS,
    OBJECTIVES,
    ROLES,
    SOURCES,
    STAGES,
    resolve,
)
from seesaw.versions import STAGE_MODULES, record

ROOT = Path(__file__).parents[2]
RULES = {
    match[1]: match[2]
    for file in sorted((ROOT / "workflow/rules").glob("*.smk"))
    for match in re.finditer(r"^rule (\w+):\n(.*?)(?=^\S|\Z)", file.read_text(), re.M | re.S)
    if "    output:\n" in match[2]  # a rule without output only collects
}
ITEMS = [
    name
    for name, body in RULES.items()
    if re.search(r'"<results>/(tables|figures)/', body.partition("output:")[2].partition("log:")[0])
]


def test_there_are_rules():
    assert len(RULES) > 20
    assert len(ITEMS) > 15


@pytest.mark.parametrize("name", RULES)
def test_a_rule_says_what_it_does_and_where_it_logs(name):
    body = RULES[name]
    assert re.match(r'\s+"""[A-Za-z].*\."""', body), "docstring"
    assert "log:" in body
    assert "conda:" in body
    assert f'"../scripts/{name}.py"' in body
    assert "version=" in body or "code=" in body, "a version or a code hash as parameter"


def test_every_script_belongs_to_a_rule():
    scripts = {path.stem for path in (ROOT / "workflow/scripts").glob("*.py")}
    assert scripts == set(RULES)


@pytest.mark.parametrize("name", sorted(RULES))
def test_scripts_adapt(name):
    text = (ROOT / f"workflow/scripts/{name}.py").read_text()
    assert len(text.splitlines()) <= 50
    assert re.match(rf'"""Rule {name}: see .*seesaw', text)
    before, main = text.split('if __name__ == "__main__":')
    assert "snakemake." not in before


@pytest.mark.parametrize("name", ITEMS)
def test_an_item_has_one_name(name):
    body = RULES[name].partition("output:")[2].partition("log:")[0]
    made = set(re.findall(r'"<results>/(?:tables|figures)/(\w+)[./]', body))
    assert made == {name}
    if name != "scores":
        assert (ROOT / f"workflow/report/{name}.rst").read_text().strip()


STEPS = {"samples": "diffusion", "gfid-times": "gfid", "control-samples": "control"}
"""Step with a version of its own -> the stage that it belongs to."""


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_has_one_name(stage):
    stage, step = STEPS.get(stage, stage), stage
    assert (ROOT / f"workflow/rules/{stage}.smk").exists()
    library = ROOT / "src/seesaw"
    assert (library / f"{stage}.py").exists() or (library / stage).is_dir()
    assert list((ROOT / "tests/library").glob(f"test_{stage}*.py"))
    assert STAGE_MODULES[step].startswith(f"seesaw.{stage}")


@pytest.mark.parametrize(
    "registry, name",
    [
        (registry, name)
        for registry in (
            METRICS,
            LOSSES,
            NETWORKS,
            FAMILIES,
            OBJECTIVES,
            BACKBONES,
            SOURCES,
            CROPS,
            INTERPOLATIONS,
        )  # fmt: skip
        for name in registry
    ],
    ids=lambda value: value if isinstance(value, str) else value.what,
)
def test_every_registered_name_leads_to_code(registry, name):
    assert callable(registry.load(name))
    if getattr(registry[name], "trainer", None):
        assert callable(resolve(registry[name].trainer))


def test_every_role_can_be_played():
    for role, kinds in ROLES.items():
        assert any(NETWORKS[name].kind in kinds for name in NETWORKS), role
    for metric in METRICS:
        assert METRICS[metric].role is None or METRICS[metric].role in ROLES


def test_code_and_versions_agree():
    """Code that computes has changed: bump its version if numbers can move, then record.

    Record with: python -m seesaw.versions --write
    """
    import json

    stored = json.loads((ROOT / "tests/reference/versions.json").read_text())
    present = record()
    assert set(stored) == set(present), "new or removed entries: python -m seesaw.versions --write"
    changed = [key for key in present if stored[key] != present[key]]
    assert not changed, (
        f"the code behind {', '.join(changed)} differs from the recorded one; if their numbers can "
        "move, bump the version in seesaw/registry.py; then python -m seesaw.versions --write"
    )


def test_environments_are_pinned_as_the_lock_file(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "envs"))
    from pin import environments, locked

    lock = (ROOT / "requirements.lock").read_text()
    for name, text in environments(lock).items():
        assert (ROOT / "envs" / name).read_text() == text, "run: python envs/pin.py"
        packages = yaml.safe_load(text)["dependencies"][-1]["pip"]
        assert all(pin.split("==")[1] == locked(lock)[pin.split("==")[0]] for pin in packages)
    named = set(re.findall(r'"\.\./\.\./envs/(\w+\.yaml)"', "".join(RULES.values())))
    assert named == set(environments(lock))


def test_the_lock_file_is_what_runs_here(monkeypatch):
    from importlib.metadata import PackageNotFoundError, version

    monkeypatch.syspath_prepend(str(ROOT / "envs"))
    from pin import locked

    if sys.version_info[:2] != (3, 11):
        pytest.skip("the pins of this test are those of Python 3.11")
    pins = locked((ROOT / "requirements.lock").read_text())
    for name in ("torch", "torchvision", "snakemake", "diffusers", "numpy", "scipy"):
        try:
            assert version(name).split("+")[0] == pins[name]
        except PackageNotFoundError:
            pytest.fail(f"{name} is not installed: make test")


def test_the_registry_and_the_plan_import_no_torch():
    import subprocess

    code = (
        "import sys, seesaw.registry, seesaw.config, seesaw.config_checks, seesaw.resolved, "
        "seesaw.published_autoencoders, seesaw.assets, seesaw.versions, "
        "seesaw.shards, seesaw.plan, "
        "seesaw.metrics.drift, seesaw.metrics.frechet, seesaw.metrics.kid, seesaw.metrics.faces, "
        "seesaw.metrics.similarity, seesaw.metrics.fidelity, seesaw.metrics.collect, "
        "seesaw.neighbours.table, seesaw.tables, seesaw.figures, seesaw.report, "
        "seesaw.networks.canny, seesaw.data.pack, seesaw.data.folder, seesaw.mini.scenes; "
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_generated_pages_are_up_to_date(monkeypatch):
    from seesaw.docs import pages

    monkeypatch.chdir(ROOT)
    for page, text in pages().items():
        assert page.read_text() == text, "run: python -m seesaw.docs"
