import functools
import hashlib
import json

import numpy as np
import pytest

from optrun.experiments.errors import CheckpointError, DataError
from optrun.experiments.run_directory.rows import RowLog, read_rows

ROWS = [{"step": step, "loss": 1 / (step + 1), "time": 0.1 * step} for step in range(5)]


@pytest.fixture(params=["file", "memory"])
def log(request, tmp_path):
    log = RowLog(tmp_path / "metrics.jsonl" if request.param == "file" else None)
    yield log
    log.close()


def test_rows_come_back_exactly(log):
    for row in ROWS:
        log.append(row)
    assert log.rows() == ROWS


UNREADABLE = [
    ({"step": 1, "n": 2**70}, ValueError, "'n' of a row cannot be read back: it holds a whole number of 22 digits"),
    ({"step": 1, "n": [1, {"m": -(2**64)}]}, ValueError, "'n' of a row"),
    ({"step": "one", "n": 1}, ValueError, "a row's step: expected a number, got 'one'"),
    ({"step": None}, ValueError, "a row's step: expected a number, got None"),
    ({"step": 1, "time": True}, ValueError, "a row's time: expected a number, got True"),
    ({"step": 1, 3: 1}, TypeError, "the key 3 of a row is no text"),
    ({"step": 1, "b": b"x"}, TypeError, "'b' is a bytes"),
    ({"step": 1, "b": {"c": {1, 2}}}, TypeError, "'b.c' is a set"),
    ({"step": 1, "b": np.zeros(3)}, TypeError, "'b' is a ndarray"),
    ({"step": 1, "b": object()}, TypeError, "'b' is a object"),
    ({"step": 1, "deep": functools.reduce(lambda inner, _: [inner], range(5000), [])}, ValueError, "'deep' of a row"),
]


@pytest.mark.parametrize(("row", "kind", "says"), UNREADABLE, ids=lambda value: "")
def test_a_row_that_no_reader_accepts_is_refused_when_it_is_written(log, row, kind, says):
    log.append(ROWS[0])
    with pytest.raises(kind, match=says):
        log.append(row)
    log.append(ROWS[1])
    assert log.rows() == ROWS[:2]


@pytest.mark.parametrize(
    "value",
    [
        np.float32(0.5),
        np.int64(3),
        np.bool_(True),
        np.float64("nan"),
        float("inf"),
        2**63,
        "a\udc80",
        [1, [None]],
        True,
    ],
    ids=repr,
)
def test_whatever_is_written_is_read(log, value):
    log.append({"step": 1, "value": value})
    (row,) = log.rows()
    assert row.keys() == {"step", "value"}


def test_offset_and_digest_are_those_of_the_bytes(tmp_path):
    log = RowLog(tmp_path / "metrics.jsonl")
    assert (log.offset, log.digest()) == (0, hashlib.sha256().hexdigest())
    for row in ROWS:
        log.append(row)
    log.sync()
    content = (tmp_path / "metrics.jsonl").read_bytes()
    assert log.offset == len(content)
    assert log.digest() == hashlib.sha256(content).hexdigest()
    assert content.count(b"\n") == len(ROWS)
    assert content.startswith(b'{"step":0,"loss":1.0,"time":0.0}\n')


def test_a_log_that_is_opened_again_goes_on(tmp_path):
    whole = RowLog(None)
    for row in ROWS:
        whole.append(row)
    for row in ROWS:
        log = RowLog(tmp_path / "m")
        log.append(row)
        log.close()
    assert (log.offset, log.digest()) == (whole.offset, whole.digest())


def test_rewind_makes_the_log_what_it_was(log):
    states = []
    for row in ROWS:
        states.append((log.offset, log.digest()))
        log.append(row)
    final = (log.offset, log.digest())
    log.rewind(*states[2])
    assert log.rows() == ROWS[:2]
    for row in ROWS[2:]:
        log.append(row)
    assert (log.offset, log.digest()) == final
    assert log.rows() == ROWS


def test_a_log_that_is_held_reaches_its_file_when_it_is_released(tmp_path):
    first = RowLog(tmp_path / "m")
    for row in ROWS[:2]:
        first.append(row)
    state = first.offset, first.digest()
    first.append(ROWS[4])
    first.close()
    with (tmp_path / "m").open("ab") as file:
        file.write(b'{"torn":')
    before = (tmp_path / "m").read_bytes()
    log = RowLog(tmp_path / "m")
    log.hold()
    log.rewind(*state)
    log.append(ROWS[2])
    assert log.rows() == ROWS[:3]
    assert (tmp_path / "m").read_bytes() == before
    log.release()
    assert read_rows(tmp_path / "m") == log.rows() == ROWS[:3]
    assert log.offset == (tmp_path / "m").stat().st_size
    assert log.digest() == hashlib.sha256((tmp_path / "m").read_bytes()).hexdigest()


def test_rewind_refuses_rows_that_were_changed(tmp_path):
    log = RowLog(tmp_path / "m")
    for row in ROWS:
        log.append(row)
    offset, digest = log.offset, log.digest()
    content = (tmp_path / "m").read_bytes()
    (tmp_path / "m").write_bytes(content.replace(b"0.5", b"0.6"))
    with pytest.raises(CheckpointError, match="was changed"):
        log.rewind(offset, digest)
    assert (tmp_path / "m").stat().st_size == offset  # and nothing was cut
    (tmp_path / "m").write_bytes(content[:-10])
    with pytest.raises(CheckpointError, match="rows were removed"):
        log.rewind(offset, digest)


def test_a_torn_last_row_is_skipped_by_readers_and_cut_by_the_writer(tmp_path):
    whole = b"".join(json.dumps(row).encode() + b"\n" for row in ROWS)
    last = whole.splitlines(keepends=True)[-1]
    for cut in range(1, len(last)):
        (tmp_path / "m").write_bytes(whole[:-cut])
        assert read_rows(tmp_path / "m") == ROWS[:-1]
    log = RowLog(tmp_path / "m")
    log.append({"step": 99})
    log.close()
    assert read_rows(tmp_path / "m") == [*ROWS[:-1], {"step": 99}]


def test_damage_before_the_last_row_is_an_error_that_names_the_line(tmp_path):
    for damaged in (b"\0" * 20, b"[1]", b"{", b"\xff", b"", b"[" * 100_000):
        (tmp_path / "m").write_bytes(b'{"step":1}\n' + damaged + b'\n{"step":3}\n')
        with pytest.raises(DataError, match=r"m:2: this line is damaged"):
            read_rows(tmp_path / "m")


def test_no_file_means_no_rows(tmp_path):
    assert read_rows(tmp_path / "none") == []


def test_a_value_that_json_cannot_hold_is_refused_before_anything_is_written(log):
    with pytest.raises(TypeError, match="'loss' is a set"):
        log.append({"loss": {1}})
    assert log.offset == 0


@pytest.mark.parametrize("step", ["1e308", "-1e308", "Infinity", "NaN", "9223372036854775808"])
def test_a_step_that_no_curve_can_hold_is_a_damaged_line(tmp_path, step):
    (tmp_path / "metrics.jsonl").write_text(f'{{"step": 1, "loss": 1.0}}\n{{"step": {step}, "loss": 0.5}}\n')
    with pytest.raises(DataError, match=r"metrics\.jsonl:2: this line is damaged"):
        read_rows(tmp_path / "metrics.jsonl")
