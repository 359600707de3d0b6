"""Two wheels of one library: noticed by what is really installed, said where it is used."""

import importlib
import logging
import sys
from types import ModuleType

import pytest
from tiny_faces import detector, recogniser

from seesaw import results
from seesaw.networks import load_network
from seesaw.networks.buffalo_s import DETECTOR, RECOGNISER
from seesaw.packages import ONE_OF, installed, warn_of_several


def install(folder, name, version, files):
    """What pip leaves of a package: its folder of metadata, with the list of its files."""
    info = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    if files is not None:
        (info / "RECORD").write_text("".join(f"{file},,\n" for file in files))


@pytest.fixture
def site(tmp_path, monkeypatch):
    """The only folder that packages are looked for in; both libraries are imported already."""
    for library, _ in ONE_OF.values():
        monkeypatch.setitem(sys.modules, library, sys.modules.get(library, ModuleType(library)))
    folder = tmp_path / "site-packages"
    folder.mkdir()
    monkeypatch.setattr(sys, "path", [str(folder)])
    importlib.invalidate_caches()
    yield folder
    monkeypatch.undo()
    importlib.invalidate_caches()


OPENCV = ["cv2/__init__.py", "cv2/cv2.abi3.so", "cv2/data/__init__.py"]


def test_one_opencv_is_installed_here():
    """Where the tests run, so that the reference bits are those of a known OpenCV."""
    assert len(installed("OpenCV")) <= 1
    assert len(installed("ONNX Runtime")) <= 1


@pytest.mark.parametrize("second", ONE_OF["OpenCV"][1][1:])
def test_two_wheels_of_opencv_are_named_with_their_versions(site, caplog, second):
    install(site, "opencv-python", "5.0.0.93", OPENCV)
    warn_of_several("OpenCV")
    assert not caplog.text
    install(site, second, "4.12.0.88", OPENCV)
    importlib.invalidate_caches()
    warn_of_several("OpenCV")
    assert f"OpenCV is installed 2 times (opencv-python 5.0.0.93, {second} 4.12.0.88)" in (
        caplog.text
    )
    assert "uninstall them all, then install one" in caplog.text


def test_a_name_without_files_does_not_count(site, caplog):
    """conda-forge's OpenCV gives itself both names, without a list of files for the second."""
    install(site, "opencv-python", "4.12.0", None)
    install(site, "opencv-python-headless", "4.12.0", None)
    install(site, "opencv-contrib-python", "4.12.0", ["other/__init__.py"])
    warn_of_several("OpenCV")
    assert installed("OpenCV") == []
    assert not caplog.text


def test_a_library_that_is_not_used_is_not_warned_of(site, caplog, monkeypatch):
    for name in ONE_OF["OpenCV"][1]:
        install(site, name, "5.0.0.93", OPENCV)
    monkeypatch.delitem(sys.modules, "cv2")
    warn_of_several("OpenCV")
    assert not caplog.text


def test_both_builds_of_onnx_runtime(site, caplog):
    for name in ONE_OF["ONNX Runtime"][1]:
        install(site, name, "1.23.0", ["onnxruntime/__init__.py"])
    warn_of_several("ONNX Runtime")
    assert "(onnxruntime 1.23.0, onnxruntime-gpu 1.23.0)" in caplog.text


def test_a_folder_beside_the_installed_packages_is_found_too(tmp_path, monkeypatch, caplog):
    """As it is met: this environment, and one wheel more. Canny says so, and so does each score."""
    here = installed("OpenCV")
    if not here:
        pytest.skip("this OpenCV did not come from a wheel")
    second = next(n for n in ONE_OF["OpenCV"][1] if n not in {name.split()[0] for name in here})
    load_network("canny")
    assert "OpenCV is installed" not in caplog.text
    install(tmp_path, second, "1.2.3", OPENCV)
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])
    importlib.invalidate_caches()
    with caplog.at_level(logging.WARNING):
        load_network("canny")
    assert "OpenCV is installed 2 times" in caplog.text
    assert f"{second} 1.2.3" in caplog.text
    assert here[0] in caplog.text
    libraries = results.provenance()["libraries"]
    assert libraries[second] == "1.2.3"
    assert here[0].split()[0] in libraries


def test_faces_say_it_before_onnx_runtime_is_asked_for_a_device(tmp_path, monkeypatch, caplog):
    for name in ("onnx", "onnxruntime", "insightface"):
        pytest.importorskip(name, reason="faces by buffalo_s need insightface, onnxruntime, onnx")
    pack = tmp_path / "buffalo_s"
    pack.mkdir()
    (pack / DETECTOR).write_bytes(detector())
    (pack / RECOGNISER).write_bytes(recogniser())
    here = {name.split()[0] for name in installed("ONNX Runtime")}
    second = next(name for name in ONE_OF["ONNX Runtime"][1] if name not in here)
    install(tmp_path / "more", second, "1.2.3", ["onnxruntime/__init__.py"])
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path / "more")])
    importlib.invalidate_caches()
    with pytest.raises(ValueError, match="runs on 'cpu' or 'cuda', not on 'mps'"):
        load_network("buffalo_s", pack, "mps")
    assert "ONNX Runtime is installed 2 times" in caplog.text
