"""Speed and memory: what is counted, on a device that works on its own."""

import resource

import pytest
import torch

from seesaw.batching import Batched
from seesaw.speed import Timed, process_peak_bytes, speed, throughput


class Device:
    """A GPU as a clock sees it: work asked for is done only while somebody waits for it."""

    def __init__(self, monkeypatch):
        self.now, self.pending, self.held, self.peak = 0.0, 0.0, 100, 0
        monkeypatch.setattr("seesaw.speed.time.perf_counter", lambda: self.now)
        monkeypatch.setattr(torch.cuda, "synchronize", self.synchronize)
        monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", self.reset)
        monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: self.peak)
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "GPU of this test")

    def synchronize(self, device):
        self.now += self.pending
        self.pending = 0.0

    def reset(self, device):
        self.peak = self.held

    def step(self, seconds, memory):
        """A function that asks for so many seconds of work, and holds memory meanwhile."""

        def run(rows):
            self.now += 0.001
            self.pending += seconds * len(rows)
            self.peak = max(self.peak, self.held + memory * len(rows))
            return rows

        return run


@pytest.fixture
def device(monkeypatch):
    return Device(monkeypatch)


def test_each_step_pays_for_its_own_work(device):
    encode = Timed(device.step(2.0, 10), "cuda")
    decode = Timed(device.step(5.0, 30), "cuda:0")
    device.pending = 1000.0  # of whatever came before
    for size in (4, 4, 2):
        decode(encode(torch.zeros(size)))
    assert encode.calls == [(4, pytest.approx(8.001)), (4, pytest.approx(8.001)),
                            (2, pytest.approx(4.001))]  # fmt: skip
    assert [seconds for _, seconds in decode.calls] == pytest.approx([20.001, 20.001, 10.001])
    assert (encode.peak_bytes, decode.peak_bytes) == (140, 220)
    found = speed(torch.nn.Linear(2, 2).half(), encode, decode, "cuda")
    assert found["encode"]["images_per_second"] == pytest.approx(4 / 8.001)
    assert found["decode"]["images_per_second"] == pytest.approx(4 / 20.001)
    assert (found["peak_bytes"], found["peak_of"]) == (220, "tensors on the GPU")
    assert (found["device"], found["threads"]) == ("GPU of this test", None)
    assert found["dtype"] == "float16"


def test_on_the_cpu_nobody_waits_for_a_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device: pytest.fail("no GPU here"))
    step = Timed(lambda rows: rows, "cpu")
    step([1, 2])
    found = speed(object(), step, step, "cpu")
    assert found["peak_of"] == "resident set of the process"
    assert found["encode"]["peak_bytes"] is None
    assert found["threads"] == torch.get_num_threads()
    assert found["dtype"] is None
    assert found["device"]


def test_a_batch_that_did_not_fit_is_not_counted(device):
    run = device.step(1.0, 1)

    def small(rows):
        if len(rows) > 4:
            device.now += 50
            raise torch.OutOfMemoryError("CUDA out of memory")
        return run(rows)

    timed = Timed(small, "cuda")
    Batched(timed, "encoding")(torch.zeros(10))
    assert [size for size, _ in timed.calls] == [3, 3, 3, 1]
    assert [seconds for _, seconds in timed.calls] == pytest.approx([3.001] * 3 + [1.001])


@pytest.mark.parametrize(
    ("calls", "images", "seconds", "batch_size", "warmed_up"),
    [
        ([(8, 9.0), (8, 2.0), (8, 3.0)], 16, 5.0, 8, True),
        ([(8, 9.0), (8, 2.0), (5, 7.0)], 8, 2.0, 8, True),  # 5: the first of its size
        ([(8, 9.0), (8, 2.0), (5, 7.0), (8, 2.0), (5, 1.0)], 21, 5.0, 8, True),
        ([(8, 9.0), (5, 1.0)], 5, 1.0, 5, True),
        ([(8, 9.0)], 8, 9.0, 8, False),
    ],
)
def test_the_first_batch_of_a_size_warms_up(calls, images, seconds, batch_size, warmed_up):
    assert throughput(calls) == {
        "images_per_second": images / seconds,
        "images": images,
        "seconds": seconds,
        "batch_size": batch_size,
        "warmed_up": warmed_up,
    }


def test_nothing_timed():
    with pytest.raises(ValueError, match="no batch was timed"):
        throughput([])


def test_the_peak_of_a_process_is_at_least_what_it_held():
    before = process_peak_bytes()
    held = torch.ones(before // 4)  # as many bytes again
    assert process_peak_bytes() >= held.nbytes
    assert process_peak_bytes() <= 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1.1


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_gpu_is_waited_for():
    matrix = torch.randn(4096, 4096, device="cuda")

    def work(rows):
        for _ in range(50):
            matrix @ matrix
        return rows

    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    timed, idle = Timed(work, "cuda"), Timed(lambda rows: rows, "cuda")
    timed([0])
    start.record()
    timed([0])
    end.record()
    torch.cuda.synchronize()
    assert timed.calls[1][1] == pytest.approx(start.elapsed_time(end) / 1000, rel=0.1)
    work([0])
    idle([0])
    assert idle.calls[0][1] < timed.calls[1][1] / 10
    assert timed.peak_bytes >= 2 * matrix.nbytes
