"""The benchmarks' own arithmetic: clocks, floors, traces, tables and headlines, on figures that are known."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from benchmarks import operations
from benchmarks.baselines.mobilestylegan import plain_baselines
from benchmarks.baselines.random_weights import CONFIG_E, random_mobilestylegan, random_stylegan2
from benchmarks.ceilings import Ceilings, measure_ceilings
from benchmarks.clock import ColdInputs, EventClock, HostEvent, clearings_for, measure, rounds_within
from benchmarks.contenders import BASELINES, Subject, baseline, load_subject, ours, torch_itself
from benchmarks.floor import floor_seconds, floor_table, synthesis_layers
from benchmarks.headlines import as_text, headlines, read_benchmarks
from benchmarks.kernel_table import kernel_table, profile_call, read_trace
from benchmarks.operations import Operation, record_operations
from benchmarks.picture import draw_headlines, draw_kernel_table
from benchmarks.timing_report import as_table
from deltafast.ops import modulated_epilogue
from deltafast.ops.tolerance import max_error

CPU = torch.device("cpu")
CEILINGS = Ceilings(operations_per_second=1e12, bytes_per_second=1e9)


def test_the_event_clock_reads_seconds_and_waits_only_for_differences() -> None:
    class Event:
        def __init__(self, log: list[str]) -> None:
            self.log = log
            self.at = 0.0

        def record(self) -> None:
            self.log.append("record")
            self.at = 250.0 * self.log.count("record")

        def synchronize(self) -> None:
            self.log.append("wait")

        def elapsed_time(self, end: Event) -> float:
            return end.at - self.at

    log: list[str] = []
    clock = EventClock(lambda: Event(log))
    begun, ended = clock(), clock()
    assert log == ["record", "record"]
    assert ended - begun == 0.25
    assert log[-1] == "wait"
    host = EventClock(HostEvent)
    assert 0 <= host() - host() + 1e-3 <= 1


def test_inputs_are_copied_until_they_fill_more_than_the_caches() -> None:
    x = torch.arange(4.0)  # 16 bytes
    cold = ColdInputs([x, None], CPU, more_than=40)
    assert cold.count == 3
    seen = [cold() for _ in range(4)]
    assert len({value[0].data_ptr() for value in seen}) == 3
    assert all(value[1] is None and torch.equal(value[0], x) for value in seen)
    assert ColdInputs([], CPU).count == 1


def test_the_caches_are_cleared_until_all_launches_are_queued() -> None:
    assert clearings_for(launch=0.0, clearing=1e-4) == 1
    assert clearings_for(launch=1e-4, clearing=1e-4) == 2  # half as long again
    assert clearings_for(launch=1e-3, clearing=1e-4) == 15
    assert clearings_for(launch=10.0, clearing=1e-4) == 100
    called = []
    assert ColdInputs([torch.ones(2)], CPU, more_than=1).cover(called.append) == 0.0
    assert called == []  # a CPU has nothing to queue


def test_measure_gives_quartiles_in_order() -> None:
    x = torch.randn(64, 64)
    timing = measure(torch.matmul, [x, x], CPU, seconds=0.01)
    assert 0 < timing.q1_s <= timing.median_s <= timing.q3_s
    assert 5 <= timing.rounds <= 200
    assert rounds_within(1.0, 0.1) == 10


def test_ceilings_are_measured_and_the_floor_is_the_larger_time() -> None:
    measured = measure_ceilings(CPU, torch.float32, shrink=64)
    assert measured.operations_per_second > 1e6
    assert measured.bytes_per_second > 1e6
    assert CEILINGS.floor(2e12, 1e9) == 2.0
    assert CEILINGS.floor(1e12, 3e9) == 3.0


def test_the_layers_of_stylegan2_are_counted_from_their_shapes() -> None:
    tensors = random_stylegan2(16, 128).tensors()  # channels 32, 16, 8 at 4, 8, 16
    layers = {layer.name: layer for layer in synthesis_layers(tensors, 2, 2)}
    assert set(layers) == {"b4.conv1", "b4.torgb", "b8.conv0", "b8.conv1", "b8.torgb"} | {
        "b16.conv0",
        "b16.conv1",
        "b16.torgb",
    }
    up, plain, colour = layers["b16.conv0"], layers["b16.conv1"], layers["b16.torgb"]
    assert up.operations == 2 * 2 * 9 * 16 * 8 * 8 * 8  # a transposed convolution, counted on its 8 x 8 inputs
    assert up.bytes == 2 * (2 * (16 * 64 + 8 * 256) + 9 * 16 * 8)
    assert plain.operations == 2 * 2 * 9 * 8 * 8 * 256
    assert plain.bytes == 2 * (2 * (8 * 256 + 8 * 256) + 9 * 8 * 8)
    assert colour.operations == 2 * 2 * 3 * 8 * 256
    assert colour.bytes == 4 * 2 * 3 * (256 + 64) + 2 * 3 * 8
    rows = floor_table(layers.values(), CEILINGS)
    assert sum(row["floor_s"] for row in rows) == floor_seconds(layers.values(), CEILINGS)
    assert {row["layer"]: row["bound_by"] for row in rows}["b16.torgb"] == "bytes"


def test_counted_operations_are_those_of_a_real_synthesis() -> None:
    for generator in (random_stylegan2(32, 1024), random_mobilestylegan(32, 16)):
        ws = torch.randn(2, generator.num_ws, generator.w_dim)
        counted = sum(layer.operations for layer in synthesis_layers(generator.tensors(), 2, 4))
        for module in (torch_itself(generator, torch.float32), generator.synthesis):
            called = record_operations(lambda ws=ws, module=module: module(ws))
            convolved = sum(op.operations for op in called if "mm" not in op.name)
            assert counted <= convolved <= 1.3 * counted  # plain torch's FIR filters are convolutions, too


def test_published_sizes_have_the_known_floor() -> None:
    layers = synthesis_layers(random_stylegan2(256, CONFIG_E).tensors(), 1, 2)
    assert sum(layer.operations for layer in layers) == pytest.approx(30e9, rel=0.02)


def test_operations_are_recorded_with_their_bytes_and_without_views() -> None:
    x, w = torch.randn(2, 3, 8, 8), torch.randn(5, 3, 3, 3)
    called = record_operations(lambda: modulated_epilogue(F.conv2d(x, w, padding=1).transpose(2, 3)))
    assert called[0].name == "aten::convolution"
    assert called[0].operations == 2 * 2 * 64 * 5 * 3 * 9
    assert called[0].bytes == 4 * (x.numel() + w.numel() + 2 * 5 * 64)
    assert called[-1].name == "deltafast::modulated_epilogue"
    assert called[-1].bytes == 4 * 2 * 2 * 5 * 64
    assert not any("transpose" in op.name for op in called)


def test_our_own_products_are_counted_where_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(
        operations.OUR_PRODUCTS, "deltafast::modulated_epilogue", lambda x, *_, out_val: 7.0 * x.numel()
    )
    x = torch.randn(1, 2, 3, 4)
    (called,) = record_operations(lambda: modulated_epilogue(x))
    assert called.operations == 7 * 24


def _trace(path: Path, events: list[dict[str, object]]) -> Path:
    with gzip.open(path, "wt", encoding="utf-8") as file:
        json.dump({"traceEvents": [{"ph": "X", **event} for event in events]}, file)
    return path


def test_kernels_go_to_the_operation_that_launched_them(tmp_path: Path) -> None:
    def mark(number: int, ts: float) -> dict[str, object]:
        return {"cat": "user_annotation", "name": f"operation {number}", "ts": ts, "dur": 10.0}

    def launch(ts: float, correlation: int) -> dict[str, object]:
        return {"cat": "cuda_runtime", "name": "launch", "ts": ts, "dur": 1.0, "args": {"correlation": correlation}}

    def kernel(name: str, microseconds: float, correlation: int) -> dict[str, object]:
        args = {"correlation": correlation}
        return {"cat": "kernel", "name": name, "ts": 900.0, "dur": microseconds, "args": args}

    events = [mark(0, 0.0), launch(2.0, 1), launch(4.0, 2), mark(1, 20.0), launch(25.0, 3), launch(40.0, 4)]
    events += [kernel("gemm", 100.0, 1), kernel("pack", 50.0, 2), kernel("epilogue", 30.0, 3), kernel("other", 9.0, 4)]
    second = [{**event, "ts": event["ts"] + 100.0} for event in events if event["cat"] != "kernel"]  # type: ignore[operator]
    for event in second:
        if "args" in event:
            event["args"] = {"correlation": event["args"]["correlation"] + 10}  # type: ignore[index]
    second += [kernel("gemm", 120.0, 11), kernel("pack", 50.0, 12), kernel("epilogue", 50.0, 13)]
    measured = read_trace(_trace(tmp_path / "t.json.gz", [*events, *second]))
    assert measured[0].seconds == pytest.approx([150e-6, 170e-6])
    assert measured[0].kernels == {"gemm", "pack"}
    assert measured[1].seconds == pytest.approx([30e-6, 50e-6])
    called = [Operation("conv", "2x2", 8e7, 1e4), Operation("epilogue", "2x2", 0.0, 2e4)]
    table = kernel_table(called, measured, CEILINGS)
    first, last = table["rows"]
    assert (first["operation"], first["kernels"]) == ("conv", ["gemm", "pack"])
    assert first["seconds"] == pytest.approx(160e-6)
    assert first["TFLOP/s"] == pytest.approx(0.5)
    assert first["share_of_floor"] == pytest.approx(0.5)
    assert last["GB/s"] == pytest.approx(0.5)
    assert last["share_of_floor"] == pytest.approx(0.5)
    assert table["seconds"] == pytest.approx(200e-6)
    assert first["share_of_time"] == pytest.approx(0.8)


def test_a_call_is_profiled_into_a_table_and_a_picture(tmp_path: Path) -> None:
    x, w = torch.randn(2, 8, 16, 16), torch.randn(8, 8, 3, 3)

    def call() -> None:
        modulated_epilogue(modulated_epilogue(F.conv2d(x, w, padding=1)))

    called = profile_call(call, CPU, tmp_path / "t.json.gz", 3)
    table = kernel_table(called, read_trace(tmp_path / "t.json.gz"), CEILINGS)
    calls = {row["operation"]: row["calls"] for row in table["rows"]}
    assert calls == {"aten::convolution": 1, "deltafast::modulated_epilogue": 2}
    assert sum(row["share_of_time"] for row in table["rows"]) == pytest.approx(1)
    draw_kernel_table(table, "two layers", tmp_path / "t.png")
    assert (tmp_path / "t.png").read_bytes().startswith(b"\x89PNG")


def test_a_call_that_changes_cannot_be_profiled(tmp_path: Path) -> None:
    sizes = iter(range(1, 100))
    with pytest.raises(RuntimeError, match="same operations every time"):
        profile_call(lambda: torch.randn(next(sizes)), CPU, tmp_path / "t.json.gz", 2)


def test_headlines_take_the_best_of_both_sides(tmp_path: Path) -> None:
    def entry(contender: str, median: float, ours: bool, case: str = "faces") -> dict[str, object]:
        stats = {"median": median, "q1": median, "q3": median, "rounds": 5}
        info = {"case": case, "contender": contender, "baseline": not ours, "device": "H", "floor_s": 0.5}
        info["share_of_floor"] = 0.5 / median
        return {"fullname": contender, "stats": stats, "extra_info": info}

    entries = [entry("eager", 2.0, True), entry("graph", 1.0, True), entry("ada", 6.0, False)]
    entries += [entry("tuned", 3.0, False), entry("alone", 1.0, True, "nobody else")]
    (tmp_path / "b.json").write_text(json.dumps({"benchmarks": entries}))
    rows = read_benchmarks(tmp_path / "b.json")
    assert [row["median_s"] for row in rows] == [2.0, 1.0, 6.0, 3.0, 1.0]
    (line,) = headlines(rows)
    assert (line["ours"], line["best_baseline"], line["speedup"]) == ("graph", "tuned", 3.0)
    assert line["speedups"] == {"ada": 6.0, "tuned": 3.0}
    assert "graph" in as_text([line])
    assert "3.00 x the best baseline" in as_text([line])
    assert "50% of the floor" in as_text([line])


def test_plain_mobilestylegan_makes_our_images() -> None:
    generator = random_mobilestylegan(32, 16)
    ws = torch.randn(2, generator.num_ws, generator.w_dim, generator=torch.Generator().manual_seed(0))
    expected = generator.synthesis(ws)
    for synthesis in plain_baselines(generator, torch.float32).values():
        assert max_error(synthesis(ws), expected) <= 1e-5 * float(expected.abs().max())


@pytest.mark.parametrize("name", ["stylegan2-f-1024", "mobilestylegan-1024"])
def test_every_contender_makes_the_images_of_its_subject(name: str) -> None:
    subject = Subject(name, 16, torch.float32).rehearsed()
    generator = load_subject(name, CPU, tiny=True)
    ws = generator.mapping(torch.randn(subject.batch, generator.z_dim))
    expected = torch_itself(generator, torch.float32)(ws)
    limit = 1e-4 * float(expected.abs().max())
    assert max_error(ours("deltafast", generator, 2)(ws), expected) <= limit
    for contender in BASELINES[subject.family]:
        if not contender.endswith(("CUDA graph", "max-autotune")):
            assert max_error(baseline(contender, generator, torch.float32)(ws), expected) <= limit, contender


def test_the_table_and_the_picture_show_every_case(tmp_path: Path) -> None:
    row = {"device": "cpu", "baseline": False, "contender": "native", "median_s": 2e-3, "floor_s": 1e-3}
    rows = []
    for case in ("upfirdn2d", "to_rgb"):
        rows.append({**row, "case": case, "share_of_floor": 0.5})
        rows.append({**row, "case": case, "baseline": True, "contender": "reference", "median_s": 5e-3})
    lines = headlines(rows)
    table = as_table(lines)
    for words in ("upfirdn2d on cpu", "to_rgb on cpu", "native", "reference", "2.000", "5.000", "2.50 x", "50%"):
        assert words in table
    draw_headlines(lines, {"gpu": None, "torch": "2.13.0"}, tmp_path / "benchmark.png")
    assert (tmp_path / "benchmark.png").read_bytes().startswith(b"\x89PNG")
