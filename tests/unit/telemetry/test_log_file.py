import os
import threading

import pytest

from proxy.telemetry.log_file import LogFile


class Reports:
    """What the writer said; `wait` for the n-th without sleeping."""

    def __init__(self):
        self.said = []
        self._changed = threading.Condition()

    def __call__(self, level, message):
        with self._changed:
            self.said.append((level, message))
            self._changed.notify_all()

    def wait(self, number):
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.said) >= number, 10)


@pytest.fixture
def reports():
    return Reports()


def test_lines_are_appended_in_order(tmp_path, reports):
    path = tmp_path / "access.log"
    path.write_bytes(b"before\n")
    log = LogFile(str(path), reports)
    for number in range(100):
        log.write(b"%d\n" % number)
    log.close()
    assert path.read_bytes() == b"before\n" + b"".join(b"%d\n" % number for number in range(100))
    assert log.lost == {"full": 0, "failed": 0}


def test_a_full_disk_is_counted_by_line_and_said_once(reports):
    log = LogFile("/dev/full", reports)
    log.write(b"a\nb\n")
    reports.wait(1)
    log.write(b"c\n")
    log.close()
    assert log.lost["failed"] == 3
    assert [level for level, _ in reports.said] == ["warning"]
    assert "No space left" in reports.said[0][1]


def test_it_is_said_when_writing_works_again(tmp_path, reports):
    path = tmp_path / "access.log"
    path.symlink_to("/dev/full")
    log = LogFile(str(path), reports)
    log.write(b"lost\n")
    reports.wait(1)
    path.unlink()
    log.write(b"kept\n")
    reports.wait(2)
    log.close()
    assert path.read_bytes() == b"kept\n"
    assert [level for level, _ in reports.said] == ["warning", "info"]


def test_a_rotated_file_is_left_for_the_new_one(tmp_path, reports):
    path = tmp_path / "access.log"
    log = LogFile(str(path), reports)
    path.rename(tmp_path / "access.log.1")
    log.write(b"new\n")
    log.close()
    assert path.read_bytes() == b"new\n"
    assert path.stat().st_mode & 0o007 == 0  # it says who asked for what
    assert reports.said == []


def test_asked_to_reopen_it_opens_the_path_without_waiting_for_a_line(tmp_path, reports):
    path = tmp_path / "access.log"
    log = LogFile(str(path), reports)
    path.unlink()
    log.reopen()
    log.close()
    assert path.exists()


def test_a_path_that_cannot_be_opened_anew_keeps_the_old_file(tmp_path, reports):
    path = tmp_path / "logs" / "access.log"
    path.parent.mkdir()
    log = LogFile(str(path), reports)
    path.parent.rename(tmp_path / "old")
    log.write(b"kept\n")
    log.close()
    assert (tmp_path / "old" / "access.log").read_bytes() == b"kept\n"
    assert reports.said[0][0] == "warning"
    assert "the old file goes on" in reports.said[0][1]


def test_without_room_lines_are_dropped_and_nobody_waits(tmp_path, reports):
    reading, writing = os.pipe()
    try:
        log = LogFile(f"/proc/self/fd/{writing}", reports, queue_bytes=1 << 20)
        piece = b"x" * 1023 + b"\n"
        for _ in range(2000):  # nobody reads: the pipe fills, then the queue
            log.write(piece)
        assert log.lost["full"] >= 2000 - 1024
    finally:
        os.close(writing)
        os.close(reading)  # the write that hangs fails now
    reports.wait(1)
    log.close()
    assert log.lost["full"] + log.lost["failed"] >= 2000 - 64


def test_a_file_that_cannot_be_opened_is_an_error_at_once(tmp_path, reports):
    with pytest.raises(OSError, match="directory"):
        LogFile(str(tmp_path), reports)


def test_after_a_write_cut_short_no_line_is_torn(tmp_path, reports, monkeypatch):
    path = tmp_path / "access.log"
    log = LogFile(str(path), reports)
    write = os.write
    calls = []

    def short(descriptor, data):
        calls.append(len(data))
        if len(calls) == 1:
            return write(descriptor, data[:7])
        if len(calls) == 2:
            raise OSError(28, "No space left on device")
        return write(descriptor, data)

    monkeypatch.setattr("proxy.telemetry.log_file.os.write", short)
    log.write(b"one\ntwo two\nthree\n")
    reports.wait(1)
    log.write(b"four\n")
    log.close()
    assert path.read_bytes() == b"one\nfour\n"
    assert log.lost["failed"] == 2
