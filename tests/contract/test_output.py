"""What a job writes is captured, whoever writes it, and shown once at the client."""

from __future__ import annotations

import os
import subprocess
import sys

MEBIBYTE = 1 << 20


def test_print_is_captured_and_shown_once(server, capsys):
    job = server.submit(lambda: print("from the job") or 1)
    assert job() == job() == 1
    assert job.output == "from the job\n"
    assert capsys.readouterr().out == "from the job\n"


def test_output_of_a_job_that_raised_is_shown_too(server, capsys):
    def fail():
        print("before")
        raise ValueError

    job = server.submit(fail)
    assert isinstance(job.exception(), ValueError)
    assert capsys.readouterr().out == "before\n"


def test_the_output_of_a_second_job_has_no_leading_nuls(server):
    outputs = []
    for number in range(4):
        job = server.submit(print, ("line", number))
        job()
        outputs.append(job.output)
    assert outputs == [f"line {number}\n" for number in range(4)]


def test_each_job_has_the_output_it_made(server):
    jobs = [server.submit(lambda x: print("x" * x), (x,)) for x in range(30)]
    assert server.wait(timeout=20)
    assert [job.output for job in jobs] == ["x" * x + "\n" for x in range(30)]


def test_binary_on_descriptor_1_harms_nobody(server, capsys):
    data = bytes(range(256)) * 4

    def write():
        os.write(1, data)
        return 5

    job = server.submit(write)
    assert job() == 5
    assert job.output == data.decode(errors="backslashreplace")
    assert server.submit(abs, (-1,))() == 1
    capsys.readouterr()


def test_output_of_child_processes_is_captured(server, capsys):
    def run():
        subprocess.run([sys.executable, "-c", "print('child')"], check=True)
        subprocess.run(["sh", "-c", "echo complaint >&2"], check=True)

    job = server.submit(run)
    job()
    assert job.output == "child\ncomplaint\n"
    capsys.readouterr()


def test_two_mebibytes_of_complaints_neither_hang_nor_fill_the_client(server, capsys):
    def flood():
        sys.stderr.write("first line\n")
        for _ in range(32):
            os.write(2, b"y" * (MEBIBYTE // 16))
        print("last line")
        return "through"

    job = server.submit(flood)
    assert job() == "through"
    assert len(job.output) < MEBIBYTE + 1000
    assert job.output.startswith("first line\n")
    assert "last line\n" in job.output
    assert "bytes of output were left out" in job.output
    capsys.readouterr()


def test_a_job_that_closes_its_descriptors_harms_nobody(server):
    def close():
        os.close(1)
        os.close(2)
        sys.stdout.close()
        return 1

    assert server.submit(close)() == 1
    jobs = [server.submit(print, (x,)) for x in range(6)]
    assert server.wait(timeout=20)
    assert [job.output for job in jobs] == [f"{x}\n" for x in range(6)]


def test_a_job_reads_nothing_from_standard_input(server):
    assert server.submit(lambda: sys.stdin.read())() == ""


def test_a_job_may_fork(server):
    def fork():
        pid = os.fork()
        if pid == 0:
            os.write(1, b"child\n")
            os._exit(0)
        return os.waitpid(pid, 0)[1]

    job = server.submit(fork)
    assert job() == 0
    assert job.output == "child\n"


def test_a_forked_child_that_comes_back_sends_no_second_result(server):
    def fork():
        pid = os.fork()
        if pid:
            os.waitpid(pid, 0)
        return "parent" if pid else "child"

    assert [server.submit(fork)() for _ in range(3)] == ["parent"] * 3
