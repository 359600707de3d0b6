"""Fetching against a real server on loopback: cuts, lies, refusals, mirrors, the lock file."""

import dataclasses
import hashlib
import importlib
import io
import json
import os
import subprocess
import sys
import threading
import zipfile
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save

import seesaw.assets.transport as transport
from seesaw.assets import (
    FetchError,
    asset_of,
    asset_url,
    assets_of,
    can_be_fetched,
    can_come,
    check,
    fetch,
    fetch_all,
    is_offline,
    options_of,
    read_lock,
    settle_time,
    where_to_put,
)
from seesaw.seeds import generator_for

sys.path.insert(0, str(Path(__file__).parents[1]))
loopback = importlib.import_module("loopback")
Page = loopback.Page

REPO, FILE = "owner/repo", "sub/model.bin"
PATH, HUB_PATH = f"{REPO}/{FILE}", f"/{REPO}/resolve/main/{FILE}"
CONTENT = generator_for(0, "assets", "content").bytes(300_000)
SHA = hashlib.sha256(CONTENT).hexdigest()
OTHER = generator_for(0, "assets", "other").bytes(300_000)
HTML = b"<!DOCTYPE html><html><body>Please log in</body></html>"
ENVIRONMENT = (
    "HF_ENDPOINT", "HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_TOKEN_PATH", "SEESAW_OFFLINE",
    "HF_HUB_OFFLINE", "SEESAW_MIRROR", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy",
)  # fmt: skip


@pytest.fixture(scope="module")
def running():
    with loopback.serving() as server, loopback.serving() as other:
        yield server, other


@pytest.fixture
def server(running, monkeypatch, tmp_path):
    """The server, emptied; an environment without tokens, mirrors and proxies of this machine."""
    for name in ENVIRONMENT:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "no-home"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    for each in running:
        each.pages.clear()
        each.busiest = 0
    return running[0]


@pytest.fixture
def other(running):
    return running[1]


class Waits(list):
    """Pauses that were asked for, and not made."""

    def __call__(self, seconds):
        self.append(seconds)


def get(server, folder, page=None, path=HUB_PATH, asset=None, **options):
    """Fetch the file of the hub that the server plays; the pauses are not made."""
    if page is not None:
        server.pages[path] = page
    asset = asset or asset_of({"repo": REPO, "file": FILE})
    options = {"endpoint": server.url, "sleep": Waits(), "timeout": (2, 2), **options}
    return fetch(asset, folder, **options)


def hub_file(**more):
    return asset_of({"repo": REPO, "file": FILE, **more})


def left(folder):
    """What lies in the folder, without locks."""
    return sorted(
        path.relative_to(folder).as_posix()
        for path in Path(folder).rglob("*")
        if path.is_file() and ".locks" not in path.parts
    )


# what an asset is


def test_addresses_and_places():
    asset = hub_file()
    assert asset.path == PATH
    assert asset_url(asset) == "https://huggingface.co/owner/repo/resolve/main/sub/model.bin"
    odd = hub_file(revision="refs/pr/1", file="a b/c#.pt")
    assert (
        asset_url(odd, "https://m/") == "https://m/owner/repo/resolve/refs%2Fpr%2F1/a%20b/c%23.pt"
    )
    url = asset_of({"url": "https://host.org:8080/deep/x%20y.pth?download=1"})
    assert url.path == "host.org:8080/deep/x y.pth"
    assert asset_url(url, "https://m") == "https://host.org:8080/deep/x%20y.pth?download=1"
    assert asset_of({"url": "file:///a/b.pt"}).path == "files/b.pt"
    assert hub_file(path="else/where.pt", size=None).path == "else/where.pt"
    assert hub_file(gated=True).gated == "https://huggingface.co/owner/repo"
    assert hub_file(gated=False).gated is None


def test_the_environment_names_a_mirror_of_the_hub(monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "https://mirror.org/")
    assert asset_url(hub_file()).startswith("https://mirror.org/owner/repo/resolve/")


@pytest.mark.parametrize(
    "values, words",
    [
        ({"repo": REPO, "fil": FILE}, "unknown key 'fil'. Did you mean 'file'?"),
        ({"repo": REPO}, "give 'repo' and 'file', or 'url'"),
        ({"repo": REPO, "file": FILE, "url": "https://h/f"}, "not both"),
        ({"url": "ftp://h/f"}, "does not start with https"),
        ({"repo": "owner", "file": FILE}, "not of the form"),
        ({"repo": REPO, "file": FILE, "sha256": "abc"}, "8 to 64 hexadecimal"),
        ({"repo": REPO, "file": FILE, "sha256": 1234567890}, "in quotes"),
        ({"repo": REPO, "file": FILE, "size": "1 GB"}, "no number of bytes"),
        ({"repo": REPO, "file": FILE, "size": True}, "no number of bytes"),
        ({"repo": REPO, "file": FILE, "path": "../x"}, "no path below"),
        ({"repo": REPO, "file": "../../x"}, "no path below"),
        ({"repo": REPO, "file": FILE, "path": "/x"}, "no path below"),
        ({"repo": REPO, "file": FILE, "optional": "no"}, "neither true nor false"),
        ({"repo": REPO, "file": FILE, "gated": 3}, "neither true, false nor a page"),
        ({"repo": REPO, "file": 3}, "is no text"),
    ],
)
def test_what_is_no_asset(values, words):
    with pytest.raises(ValueError, match=words) as error:
        asset_of(values, "autoencoders.x.files.encoder")
    assert str(error.value).startswith("autoencoders.x.files.encoder")


CONFIG = {
    "assets": {"folder": "w"},
    "networks": {
        "canny": {"network": "canny"},
        "lpips": {"weights": "w/l.pth", "source": {"url": "https://h/l.pth"}},
        "inception": {"weights": "w/i.pth", "source": "https://in/words"},
    },
    "autoencoders": [
        {"name": "one", "weights": "w/a.pt", "files": {"autoencoder": {"repo": REPO, "file": "a"}}},
        {
            "name": "two",
            "weights": {"encoder": "w/o/e.pt", "decoder": "/own/d.pt", "stats": "w/s.pt"},
            "files": {
                "encoder": {"repo": REPO, "file": "e", "sha256": "0" * 8},
                "decoder": {"repo": REPO, "file": "d"},
                "stats": {"repo": REPO, "file": None, "status": "never found"},
            },
        },
        {"name": "trained", "train": {}},
        {"name": "own", "weights": "w/mine.pt"},
        {"name": "out", "weights": "w/../x.pt", "files": {"autoencoder": {"url": "https://h/x"}}},
    ],
    "gfid": {"references": ["val", {"name": "adm", "weights": "w/m.npz", "source": {"url": "https://h/m"}}]},
    "control": {
        "autoencoders": [
            "one",
            {
                "name": "two",
                "backbone": {
                    "weights": "w/b.pt",
                    "source": {"repo": REPO, "file": "b"},
                    "latents": {"weights": "w/z.pt", "source": {"repo": REPO, "file": "z"}},
                },
            },
        ]
    },
}  # fmt: skip


def test_assets_of_a_config():
    found = assets_of(CONFIG)
    names = ("a.pt", "o/e.pt", "l.pth", "m.npz", "b.pt", "z.pt")
    assert set(found) == {Path("w") / name for name in names}
    assert {asset.path for asset in found.values()} == set(names)
    assert found[Path("w/o/e.pt")].sha256 == "0" * 8
    assert not can_be_fetched(CONFIG["autoencoders"][1]["files"]["stats"])


def test_two_entries_share_a_file_and_may_not_quarrel_about_it():
    entry = CONFIG["autoencoders"][0]
    optional = {"autoencoder": {**entry["files"]["autoencoder"], "optional": True}}
    again = {**entry, "name": "again", "files": optional}
    config = {"assets": {"folder": "w"}, "autoencoders": [again, entry]}
    assert [asset.optional for asset in assets_of(config).values()] == [False]
    again["files"] = {"autoencoder": {"repo": REPO, "file": "another"}}
    with pytest.raises(ValueError, match="autoencoders.one.files.autoencoder: w/a.pt is to hold"):
        assets_of(config)


# a file that comes


def test_a_file_is_fetched_and_recorded(server, tmp_path):
    page = Page(CONTENT, headers={"X-Repo-Commit": "c0ffee"})
    target = get(server, tmp_path, page)
    assert target == tmp_path / PATH
    assert target.read_bytes() == CONTENT
    assert left(tmp_path) == ["assets.lock.json", PATH]
    entry = read_lock(tmp_path / "assets.lock.json")[PATH]
    assert (entry["sha256"], entry["size"]) == (SHA, len(CONTENT))
    assert entry["url"] == server.url + HUB_PATH
    assert (entry["commit"], entry["etag"]) == ("c0ffee", page.mark)
    assert page.requests[0]["Accept-Encoding"] == "identity"
    assert page.requests[0]["User-Agent"].startswith("seesaw/")


def test_a_file_that_is_there_is_not_fetched_again(server, tmp_path):
    page = Page(CONTENT)
    get(server, tmp_path, page)
    before = (tmp_path / PATH).stat()
    get(server, tmp_path)
    after = (tmp_path / PATH).stat()
    assert len(page.requests) == 1
    assert (before.st_mtime_ns, before.st_ino) == (after.st_mtime_ns, after.st_ino)


def test_a_file_that_a_person_put_there_is_checked_and_stays(server, tmp_path):
    target = tmp_path / PATH
    target.parent.mkdir(parents=True)
    target.write_bytes(CONTENT)
    get(server, tmp_path)  # the server has nothing
    assert read_lock(tmp_path / "assets.lock.json")[PATH]["sha256"] == SHA
    target.write_bytes(OTHER)
    with pytest.raises(FetchError, match=r"the lock file recorded .* It stays where it is"):
        get(server, tmp_path)
    (tmp_path / "assets.lock.json").unlink()
    with pytest.raises(FetchError, match="the registry says 12345678"):
        get(server, tmp_path, asset=hub_file(sha256="12345678"))
    assert target.read_bytes() == OTHER


def test_a_checked_file_is_read_again_only_if_its_time_has_changed(server, tmp_path, monkeypatch):
    get(server, tmp_path, Page(CONTENT))
    with monkeypatch.context() as patch:
        patch.setattr("seesaw.assets.fetching.sha256_of", lambda path: pytest.fail("it was read"))
        assert check(hub_file(), tmp_path) == SHA
    os.utime(tmp_path / PATH, (1, 1))
    assert check(hub_file(), tmp_path) == SHA
    entry = read_lock(tmp_path / "assets.lock.json")[PATH]
    assert entry["mtime_ns"] == 10**9
    assert entry["url"] == server.url + HUB_PATH


def test_the_same_bytes_again_have_their_old_time(server, tmp_path):
    target = get(server, tmp_path, Page(CONTENT))
    os.utime(target, (1000, 1000))
    check(hub_file(), tmp_path)
    target.unlink()
    get(server, tmp_path)
    assert target.stat().st_mtime == 1000


def test_a_touched_file_gets_its_old_time_back(server, tmp_path, monkeypatch):
    target = get(server, tmp_path, Page(CONTENT))
    before = target.stat().st_mtime_ns
    os.utime(target)
    settle_time(hub_file(), tmp_path)
    assert target.stat().st_mtime_ns == before
    target.write_bytes(CONTENT + b"!")
    os.utime(target, (5, 5))
    settle_time(hub_file(), tmp_path)
    assert target.stat().st_mtime == 5
    settle_time(hub_file(path="nothing"), tmp_path)


def test_a_link_to_nothing_is_not_replaced(server, tmp_path):
    target = tmp_path / PATH
    target.parent.mkdir(parents=True)
    target.symlink_to(tmp_path / "unmounted")
    with pytest.raises(FetchError, match="is a link to .*unmounted, where nothing is"):
        get(server, tmp_path, Page(CONTENT))
    assert target.is_symlink()


def test_what_is_read_beside_a_file_comes_first_and_may_be_missing(server, tmp_path):
    config = {"repo": REPO, "file": "sub/config.json", "optional": True}
    entry = {
        "name": "vae",
        "weights": str(tmp_path / PATH),
        "files": {"autoencoder": {"repo": REPO, "file": FILE}, "config": config},
    }
    (asset,) = assets_of({"assets": {"folder": str(tmp_path)}, "autoencoders": [entry]}).values()
    assert [extra.path for extra in asset.beside] == [f"{REPO}/sub/config.json"]
    get(server, tmp_path, Page(CONTENT), asset=asset)  # the server has no config.json
    (tmp_path / PATH).unlink()
    server.pages[f"/{REPO}/resolve/main/sub/config.json"] = Page(b"{}")
    get(server, tmp_path, asset=asset)
    assert (tmp_path / REPO / "sub/config.json").read_bytes() == b"{}"
    needed = dataclasses.replace(asset.beside[0], path="else.json", file="gone", optional=False)
    with pytest.raises(FetchError, match="there is no"):
        get(server, tmp_path / "b", asset=dataclasses.replace(asset, beside=(needed,)))
    assert not (tmp_path / "b" / PATH).exists()


def test_what_a_run_may_fetch(tmp_path, monkeypatch):
    for name in ENVIRONMENT:
        monkeypatch.delenv(name, raising=False)
    config = {**CONFIG, "assets": {"folder": "w", "offline": True, "mirror": str(tmp_path)}}
    (tmp_path / REPO).mkdir(parents=True)
    (tmp_path / REPO / "b").touch()
    found = assets_of(config)
    assert set(can_come(found, config)) == {Path("w/b.pt")}
    assert can_come(found, CONFIG) == found
    assert options_of(config) == {"offline": True, "mirror": str(tmp_path)}
    assert options_of({}) == {"offline": False}


def test_a_folder_that_cannot_be_written_is_checked_all_the_same(server, tmp_path, monkeypatch):
    target = tmp_path / PATH
    target.parent.mkdir(parents=True)
    target.write_bytes(CONTENT)

    def refuse(*words):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("seesaw.assets.fetching.write_entry", refuse)
    assert check(hub_file(sha256=SHA), tmp_path) == SHA
    with pytest.raises(FetchError, match="the registry says"):
        check(hub_file(sha256="0" * 64), tmp_path)


def test_a_url_and_a_folder(server, tmp_path):
    server.pages["/f/x.bin?y=1"] = Page(CONTENT)
    there = fetch(asset_of({"url": f"{server.url}/f/x.bin?y=1"}), tmp_path)
    assert there == tmp_path / server.url.removeprefix("http://") / "f/x.bin"
    local = asset_of({"url": there.as_uri(), "path": "copy.bin"})
    assert fetch(local, tmp_path, offline=True).read_bytes() == CONTENT
    gone = asset_of({"url": (tmp_path / "gone").as_uri(), "path": "gone.bin"})
    with pytest.raises(FetchError, match="gone.bin is not there"):
        fetch(gone, tmp_path)


# cuts


@pytest.mark.parametrize("fault", ["cut", "stall", "chunked"])
def test_a_cut_is_gone_on_from(server, tmp_path, fault):
    n = 0.6 if fault == "stall" else 100_000
    page = Page(CONTENT, [(fault, n), None])
    waits = Waits()
    target = get(server, tmp_path, page, sleep=waits, timeout=(2, 0.3))
    assert target.read_bytes() == CONTENT
    first, second = page.requests
    assert "Range" not in first
    start = int(second["Range"].removeprefix("bytes=").removesuffix("-"))
    assert 0 < start <= len(CONTENT) * 0.7
    assert second["If-Range"] == page.mark
    assert len(waits) == 1


def test_many_cuts(server, tmp_path):
    page = Page(CONTENT, [*[("cut", 60_000)] * 4, None])
    assert get(server, tmp_path, page).read_bytes() == CONTENT
    starts = [request.get("Range") for request in page.requests]
    assert starts == [None, *(f"bytes={n}-" for n in (60_000, 120_000, 180_000, 240_000))]


def test_it_gives_up_keeps_the_part_and_goes_on_in_another_run(server, tmp_path):
    page = Page(CONTENT, [("cut", 50_000), ("cut", 0)])
    with pytest.raises(FetchError, match=r"\(3 times\). 50,000 bytes of it are kept"):
        get(server, tmp_path, page, attempts=3)
    assert not (tmp_path / PATH).exists()
    assert left(tmp_path) == [f"{PATH}.part", f"{PATH}.part.json"]
    page.faults = [None]
    assert get(server, tmp_path).read_bytes() == CONTENT
    assert page.requests[-1]["Range"] == "bytes=50000-"
    assert left(tmp_path) == ["assets.lock.json", PATH]


def test_failures_count_in_a_row_only(server, tmp_path, monkeypatch):
    monkeypatch.setattr(transport, "CHUNK", 10_000)
    page = Page(CONTENT, [*[("cut", 30_000)] * 9, None])
    assert get(server, tmp_path, page, attempts=2).read_bytes() == CONTENT
    assert len(page.requests) == 10


def test_a_server_that_ignores_ranges_starts_the_file_anew(server, tmp_path):
    page = Page(CONTENT, [("cut", 100_000), "plain"])
    assert get(server, tmp_path, page).read_bytes() == CONTENT
    assert page.requests[1]["Range"] == "bytes=100000-"


def test_a_server_that_sends_another_range_is_not_believed(server, tmp_path):
    page = Page(CONTENT, [("cut", 100_000), ("range", 10), None])
    assert get(server, tmp_path, page).read_bytes() == CONTENT
    assert "Range" not in page.requests[2]


@pytest.mark.parametrize("size", [300_000, 200_000, 50_000])
def test_a_file_that_changed_meanwhile_starts_anew(server, tmp_path, size):
    page = Page(CONTENT, [("cut", 100_000)])
    with pytest.raises(FetchError):
        get(server, tmp_path, page, attempts=1)
    server.pages[HUB_PATH] = Page(OTHER[:size])
    assert get(server, tmp_path).read_bytes() == OTHER[:size]


def test_a_server_that_ignores_the_version_is_found_out(server, tmp_path):
    page = Page(CONTENT, [("cut", 100_000)])
    with pytest.raises(FetchError):
        get(server, tmp_path, page, attempts=1)
    page = Page(OTHER, ["careless"])
    assert get(server, tmp_path, page).read_bytes() == OTHER
    assert [request.get("Range") for request in page.requests] == ["bytes=100000-", None]


def test_without_a_validator_only_a_known_hash_makes_it_go_on(server, tmp_path):
    for name, asset in (("blind", hub_file()), ("sure", hub_file(sha256=SHA[:12]))):
        page = Page(CONTENT, [("cut", 100_000), None], etag=None)
        target = get(server, tmp_path / name, page, asset=asset)
        assert target.read_bytes() == CONTENT
        assert ("Range" in page.requests[1]) == (name == "sure")
        assert "If-Range" not in page.requests[1]
    weak = Page(CONTENT, [("cut", 100_000), None], etag='W/"1"')
    assert get(server, tmp_path / "weak", weak).read_bytes() == CONTENT
    assert "Range" not in weak.requests[1]


def test_two_versions_glued_together_are_noticed_and_fetched_anew(server, tmp_path):
    page = Page(OTHER, [("cut", 100_000)], etag='"same"')
    with pytest.raises(FetchError):
        get(server, tmp_path, page, attempts=1)
    page = Page(CONTENT, etag='"same"')
    target = get(server, tmp_path, page, asset=hub_file(sha256=SHA))
    assert target.read_bytes() == CONTENT
    assert [request.get("Range") for request in page.requests] == ["bytes=100000-", None]


def test_a_part_without_its_note_is_never_taken_for_whole(server, tmp_path):
    part = tmp_path / f"{PATH}.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(OTHER)
    page = Page(CONTENT)
    assert get(server, tmp_path, page).read_bytes() == CONTENT
    assert "Range" not in page.requests[0]


def test_a_whole_part_is_asked_about_and_kept(server, tmp_path):
    page = Page(CONTENT, [("cut", 100_000)])
    with pytest.raises(FetchError):
        get(server, tmp_path, page, attempts=1)
    (tmp_path / f"{PATH}.part").write_bytes(CONTENT)  # killed between last byte and new name
    page.faults = [None]
    assert get(server, tmp_path).read_bytes() == CONTENT
    assert len(page.requests) == 2


def test_a_slow_server_is_waited_for(server, tmp_path, caplog, monkeypatch):
    monkeypatch.setattr("seesaw.progress.HEARTBEAT_SECONDS", 0.05)
    monkeypatch.setattr(transport, "CHUNK", 20_000)
    caplog.set_level("INFO")
    page = Page(CONTENT, piece=20_000, delay=0.02)
    assert get(server, tmp_path, page).read_bytes() == CONTENT
    beats = [r.getMessage() for r in caplog.records if "s left" in r.getMessage()]
    assert len(beats) >= 2
    assert beats[0].startswith(f"fetching {PATH}: ")
    assert "/15 MiBs" in beats[0]


KILLED = """
import sys
from seesaw.assets import asset_of, fetch
fetch(asset_of({"repo": sys.argv[1], "file": sys.argv[2]}), sys.argv[3], endpoint=sys.argv[4])
"""


def test_a_killed_process_leaves_a_part_that_is_gone_on_from(server, tmp_path):
    page = server.pages[HUB_PATH] = Page(CONTENT, piece=10_000, delay=0.1)
    words = [sys.executable, "-c", KILLED, REPO, FILE, str(tmp_path), server.url]
    process = subprocess.Popen(words)
    part = tmp_path / f"{PATH}.part"
    while not (part.exists() and part.stat().st_size > 20_000):
        assert process.poll() is None
    process.kill()
    process.wait()
    assert not (tmp_path / PATH).exists()
    page.delay = 0
    assert get(server, tmp_path).read_bytes() == CONTENT
    assert int(page.requests[1]["Range"].strip("bytes=-")) > 20_000


# lies and damage


def test_a_corrupted_byte_is_refused_where_a_hash_is_known(server, tmp_path):
    page = Page(CONTENT, [("corrupt", 1000)])
    with pytest.raises(FetchError, match=f"the registry says {SHA}. Nothing was put in its place"):
        get(server, tmp_path, page, asset=hub_file(sha256=SHA))
    assert left(tmp_path) == []
    linked = Page(CONTENT, [("corrupt", 1000)], headers={"X-Linked-Etag": f'"{SHA}"'})
    with pytest.raises(FetchError, match="the hub says"):
        get(server, tmp_path, linked)
    get(server, tmp_path, Page(CONTENT))
    (tmp_path / PATH).unlink()
    with pytest.raises(FetchError, match=r"the lock file recorded .* remove the entry 'owner/repo"):
        get(server, tmp_path, page)
    assert not (tmp_path / PATH).exists()


def test_a_longer_announcement_is_a_cut(server, tmp_path):
    with pytest.raises(FetchError, match=r"after 300,000 of 300,050 bytes \(3 times\)"):
        get(server, tmp_path, Page(CONTENT, [("length", 50)], etag=None), attempts=3)
    assert not (tmp_path / PATH).exists()


def test_a_shorter_announcement_is_refused_where_the_size_is_known(server, tmp_path):
    page = Page(CONTENT, [("length", -50)])
    with pytest.raises(FetchError, match="299,950 bytes, expected are 300,000"):
        get(server, tmp_path, page, asset=hub_file(size=len(CONTENT)))
    page = Page(CONTENT, [("length", -50)], headers={"X-Linked-Size": "300000"})
    with pytest.raises(FetchError, match="the hub says 300,000"):
        get(server, tmp_path, page, attempts=2)
    assert not (tmp_path / PATH).exists()


def safetensors_file():
    return save({"a": np.arange(1000, dtype=np.float32), "b": np.ones((3, 5), np.float16)})


def zip_file():
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("archive/data.pkl", CONTENT)
    return stream.getvalue()


@pytest.mark.parametrize("name, make", [("m.safetensors", safetensors_file), ("m.pt", zip_file)])
def test_weights_that_are_cut_short_are_refused_whatever_the_server_says(
    server, tmp_path, name, make
):
    asset = asset_of({"repo": REPO, "file": name})
    path = f"/{REPO}/resolve/main/{name}"
    with pytest.raises(FetchError, match="cut short"):
        get(server, tmp_path, Page(make(), [("length", -50)]), path, asset)
    with pytest.raises(FetchError, match="cut short"):
        get(server, tmp_path, Page(make()[:-50], ["endless"]), path, asset)
    assert left(tmp_path) == []
    whole = get(server, tmp_path, Page(make(), ["endless"]), path, asset)
    assert whole.read_bytes() == make()


def test_a_length_that_nobody_knows(server, tmp_path):
    with pytest.raises(FetchError, match="does not say how long the file is"):
        get(server, tmp_path, Page(CONTENT, ["endless"]))
    assert left(tmp_path) == []
    sure = hub_file(sha256=SHA)
    assert get(server, tmp_path / "a", Page(CONTENT, ["endless"]), asset=sure).exists()
    assert get(server, tmp_path / "b", Page(CONTENT, ["chunked"])).read_bytes() == CONTENT


@pytest.mark.parametrize(
    "content, words",
    [
        (HTML, "is a web page, not weights"),
        (b"\n\n  <html>", "is a web page, not weights"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git-lfs pointer"),
        (b"", "is empty"),
    ],
)
def test_what_is_no_file_of_weights(server, tmp_path, content, words):
    page = Page(content, headers={"Content-Type": "text/html"})
    with pytest.raises(FetchError, match=words) as error:
        get(server, tmp_path, page, asset=hub_file(size=len(CONTENT)))
    assert ".part" not in str(error.value)
    assert left(tmp_path) == []


def test_compressed_bytes_are_refused(server, tmp_path):
    page = Page(CONTENT, headers={"Content-Encoding": "gzip"})
    with pytest.raises(FetchError, match="comes compressed"):
        get(server, tmp_path, page)


# refusals


@pytest.mark.parametrize("status", [401, 403])
def test_a_gated_file_says_what_to_accept_and_set(server, tmp_path, status):
    asset = hub_file(gated="https://huggingface.co/owner/repo", licence="theirs")
    page = Page(CONTENT, [status], headers={"X-Error-Code": "GatedRepo"})
    with pytest.raises(FetchError) as error:
        get(server, tmp_path, page, asset=asset)
    words = str(error.value)
    assert "accept the licence at https://huggingface.co/owner/repo" in words
    assert "export HF_TOKEN" in words
    assert f"put it at {tmp_path / PATH}" in words
    assert len(page.requests) == 1
    with pytest.raises(FetchError, match=r"your token \(HF_TOKEN\) does not open it"):
        get(server, tmp_path, asset=asset, token="hf_x")
    assert "hf_x" not in words


def test_the_token_is_sent_where_it_is_needed(server, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    page = Page(CONTENT)
    get(server, tmp_path / "open", page)
    assert "Authorization" not in page.requests[0]
    page = Page(CONTENT)
    get(server, tmp_path / "gated", page, asset=hub_file(gated=True))
    assert page.requests[0]["Authorization"] == "Bearer hf_secret"
    page = Page(CONTENT, [401, None])
    get(server, tmp_path / "private", page)
    assert [r.get("Authorization") for r in page.requests] == [None, "Bearer hf_secret"]
    page = server.pages["/x.bin"] = Page(CONTENT, [401])
    with pytest.raises(FetchError, match="not open to everyone"):
        fetch(asset_of({"url": f"{server.url}/x.bin", "gated": True}), tmp_path / "url")
    assert "Authorization" not in page.requests[0]


def test_the_token_that_the_login_of_the_hub_left_is_found(server, tmp_path, monkeypatch):
    home = tmp_path / "home"
    home.mkdir()
    (home / "token").write_text("hf_file\n")
    monkeypatch.setenv("HF_HOME", str(home))
    page = Page(CONTENT)
    get(server, tmp_path, page, asset=hub_file(gated=True))
    assert page.requests[0]["Authorization"] == "Bearer hf_file"


def test_netrc_does_not_take_the_place_of_the_token(server, tmp_path, monkeypatch):
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login me password mine\n")
    monkeypatch.setenv("NETRC", str(netrc))
    page = Page(CONTENT)
    get(server, tmp_path, page, asset=hub_file(gated=True), token="hf_x")
    assert page.requests[0]["Authorization"] == "Bearer hf_x"


def test_the_token_does_not_follow_to_another_host(server, other, tmp_path):
    stored = other.pages["/blob"] = Page(CONTENT, [("cut", 100_000), None])
    headers = {"Location": f"{other.url}/blob", "X-Linked-Size": "300000", "X-Repo-Commit": "c1"}
    page = Page(faults=[302], headers=headers)
    target = get(server, tmp_path, page, asset=hub_file(gated=True), token="hf_secret")
    assert target.read_bytes() == CONTENT
    assert [r["Authorization"] for r in page.requests] == ["Bearer hf_secret"] * 2
    assert all("Authorization" not in request for request in stored.requests)
    assert stored.requests[1]["Range"] == "bytes=100000-"
    entry = read_lock(tmp_path / "assets.lock.json")[PATH]
    assert (entry["commit"], entry["url"]) == ("c1", server.url + HUB_PATH)
    assert "hf_secret" not in (tmp_path / "assets.lock.json").read_text()


def test_redirects_that_lead_nowhere(server, tmp_path):
    server.pages[HUB_PATH] = Page(faults=[302], headers={"Location": HUB_PATH})
    with pytest.raises(FetchError, match="leads nowhere"):
        get(server, tmp_path)
    server.pages[HUB_PATH] = Page(faults=[302], headers={"Location": "file:///etc/hostname"})
    with pytest.raises(FetchError, match="leads nowhere"):
        get(server, tmp_path)


@pytest.mark.parametrize("answer", ["404", "401 RepoNotFound"])
def test_a_name_that_is_not_there(server, tmp_path, answer):
    if answer != "404":
        server.pages[HUB_PATH] = Page(faults=[401], headers={"X-Error-Code": "RepoNotFound"})
    with pytest.raises(FetchError) as error:
        get(server, tmp_path, asset=hub_file(status="a guess"))
    words = str(error.value)
    assert f"there is no {server.url}{HUB_PATH}" in words
    assert "How sure its name is: a guess." in words
    assert "https://huggingface.co/owner/repo/tree/main" in words
    assert f"put the file at {tmp_path / PATH}" in words


@pytest.mark.parametrize("status", [429, 503, 500, 408])
def test_a_busy_server_is_asked_again(server, tmp_path, status):
    waits = Waits()
    page = Page(CONTENT, [status, status, None])
    assert get(server, tmp_path, page, sleep=waits).read_bytes() == CONTENT
    assert 0.5 <= waits[0] <= 1.5
    assert 1 <= waits[1] <= 3


@pytest.mark.parametrize(
    "header, low, high",
    [("7", 7, 8), (None, 0.5, 1.5), ("date", 27, 31), ("86400", 600, 601), ("soon", 0.5, 1.5)],
)
def test_retry_after_is_kept_to(server, tmp_path, header, low, high):
    value = loopback.http_date(30) if header == "date" else header
    page = Page(CONTENT, [429, None], headers={"Retry-After": value} if value else {})
    waits = Waits()
    get(server, tmp_path, page, sleep=waits)
    assert len(waits) == 1
    assert low <= waits[0] <= high


def test_the_limit_of_the_hub_is_kept_to(server, tmp_path):
    page = Page(CONTENT, [429, None], headers={"RateLimit": '"resolvers";r=0;t=42'})
    waits = Waits()
    get(server, tmp_path, page, sleep=waits)
    assert 42 <= waits[0] <= 43


def test_pauses_grow_are_capped_and_differ_from_file_to_file(server, tmp_path):
    waits, others = Waits(), Waits()
    page = Page(faults=[503])
    with pytest.raises(FetchError, match="answers 503"):
        get(server, tmp_path, page, sleep=waits, attempts=10)
    assert len(waits) == 9
    assert max(waits) <= 1.5 * transport.LONGEST_PAUSE
    assert all(0.5 <= wait / min(60, 2**n) <= 1.5 for n, wait in enumerate(waits))
    with pytest.raises(FetchError):
        get(server, tmp_path, asset=hub_file(path="b"), sleep=others, attempts=10)
    assert not set(waits) & set(others)


def test_nobody_listens(server, tmp_path):
    waits = Waits()
    with pytest.raises(FetchError, match=r"the connection was refused \(2 times\)"):
        get(server, tmp_path, endpoint="http://127.0.0.1:9", attempts=2, sleep=waits)
    assert len(waits) == 1


def test_the_proxy_of_the_environment_is_used(server, tmp_path, monkeypatch):
    monkeypatch.setenv("NO_PROXY", "")
    monkeypatch.setenv("http_proxy", server.url)
    page = server.pages[f"http://hub.invalid{HUB_PATH}"] = Page(CONTENT)
    assert get(server, tmp_path, endpoint="http://hub.invalid").read_bytes() == CONTENT
    assert page.requests[0]["Host"] == "hub.invalid"


# disk, mirrors, offline


def test_a_disk_without_room(server, tmp_path, monkeypatch):
    usage = type("Usage", (), {"free": 1000})
    with monkeypatch.context() as patch:
        patch.setattr(transport.shutil, "disk_usage", lambda path: usage)
        with pytest.raises(FetchError, match=r"needs 0.00 GB more, .* make room"):
            get(server, tmp_path, Page(CONTENT))
    assert left(tmp_path) == []


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_disk_that_runs_full(server, tmp_path, monkeypatch):
    real = open

    def full(path, mode="r", *rest, **more):
        return real("/dev/full" if mode == "ab" else path, mode, *rest, **more)

    monkeypatch.setattr(transport, "open", full, raising=False)
    with pytest.raises(FetchError, match="is full"):
        get(server, tmp_path, Page(CONTENT))
    assert not (tmp_path / PATH).exists()


@pytest.mark.parametrize("as_url", [False, True])
def test_a_folder_as_mirror(server, tmp_path, as_url):
    mirror = tmp_path / "mir ror"
    asset = hub_file(path="other/place.bin")
    (mirror / REPO / "sub").mkdir(parents=True)
    (mirror / PATH).write_bytes(CONTENT)
    name = mirror.as_uri() if as_url else mirror
    target = fetch(asset, tmp_path / "w", mirror=name, offline=True)
    assert target.read_bytes() == CONTENT
    assert target == tmp_path / "w/other/place.bin"
    (mirror / "other").mkdir()
    (mirror / "other/place.bin").write_bytes(OTHER)  # this name goes first
    target.unlink()
    with pytest.raises(FetchError, match="the lock file recorded"):
        fetch(asset, tmp_path / "w", mirror=name, offline=True)


def test_a_server_as_mirror_and_what_it_lacks(server, other, tmp_path, monkeypatch):
    monkeypatch.setenv("SEESAW_MIRROR", f"{other.url}/m/")
    page = other.pages[f"/m/{PATH}"] = Page(CONTENT)
    get(server, tmp_path / "a", asset=hub_file(gated=True), token="hf_secret")
    assert "Authorization" not in page.requests[0]
    other.pages.clear()
    get(server, tmp_path / "b", Page(OTHER))
    assert (tmp_path / "b" / PATH).read_bytes() == OTHER


@pytest.mark.parametrize("name", ["SEESAW_OFFLINE", "HF_HUB_OFFLINE", None])
def test_offline_says_what_to_put_where(server, tmp_path, monkeypatch, name):
    if name:
        monkeypatch.setenv(name, "1")
    assert is_offline({"assets": {"offline": name is None}})
    page = Page(CONTENT)
    asset = hub_file(gated=True, sha256=SHA[:10], status="seen")
    with pytest.raises(FetchError) as error:
        get(server, tmp_path, page, asset=asset, offline=None if name else True)
    for words in (
        "get sub/model.bin of owner/repo from https://huggingface.co/owner/repo/tree/main",
        "accept its licence first at https://huggingface.co/owner/repo",
        f"its sha256 is {SHA[:10]}...",
        f"put it at {tmp_path / PATH}",
    ):
        assert words in str(error.value)
    assert not page.requests
    assert where_to_put(asset, "there").endswith("put it at there")


# several at once


def test_several_threads_fetch_one_file_once(server, tmp_path):
    page = server.pages[HUB_PATH] = Page(CONTENT, piece=30_000, delay=0.01)
    threads = [threading.Thread(target=get, args=(server, tmp_path)) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (tmp_path / PATH).read_bytes() == CONTENT
    assert len(page.requests) == 1


def test_several_processes_lose_no_entry_of_the_lock_file(server, tmp_path):
    names = [f"f{n}.bin" for n in range(12)]
    for name in names:
        server.pages[f"/{REPO}/resolve/main/{name}"] = Page(CONTENT + name.encode())
    code = KILLED.replace(
        'fetch(asset_of({"repo": sys.argv[1], "file": sys.argv[2]}), ',
        'for name in sys.argv[2].split(): fetch(asset_of({"repo": sys.argv[1], "file": name}), ',
    )
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", code, REPO, " ".join(some), str(tmp_path), server.url]
        )
        for some in (names[:6], names[6:])
    ]
    assert [process.wait() for process in processes] == [0, 0]
    assert set(read_lock(tmp_path / "assets.lock.json")) == {f"{REPO}/{name}" for name in names}


def test_fetch_all_goes_on_and_says_all_that_failed(server, tmp_path):
    server.pages[HUB_PATH] = Page(CONTENT)
    gone = asset_of({"repo": REPO, "file": "gone.bin"})
    optional = dataclasses.replace(gone, path="optional.bin", optional=True)
    options = {"endpoint": server.url, "sleep": Waits()}
    done = fetch_all([optional, hub_file(), hub_file()], tmp_path, **options)
    assert done[PATH] == tmp_path / PATH
    assert isinstance(done["optional.bin"], FetchError)
    with pytest.raises(FetchError, match=r"1 of 2 files were not fetched:\n  owner/repo/gone.bin"):
        fetch_all([gone, hub_file()], tmp_path, **options)


def test_a_broken_lock_file_is_an_error_and_is_not_overwritten(server, tmp_path):
    lock = tmp_path / "assets.lock.json"
    for content, words in (("{", "not valid JSON"), ("[]", "no lock file of fetched weights")):
        lock.write_text(content)
        with pytest.raises(ValueError, match=words):
            get(server, tmp_path, Page(CONTENT))
        assert lock.read_text() == content
    get(server, tmp_path, lock=tmp_path / "else/where.json")
    assert json.loads((tmp_path / "else/where.json").read_text())["files"][PATH]["sha256"] == SHA
