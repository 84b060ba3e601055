"""What a process asks of the system: threads share what they free, and it may open many files."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

# Twelve threads at once, each with memory of its own; then glibc tells how many heaps it has made for them.
PROGRAM = """
import ctypes, sys, threading
from archiver.process import few_arenas
if sys.argv[2] == "few":
    print(few_arenas())
together = threading.Barrier(12)
def work():
    some = [bytearray(2000) for _ in range(1000)]
    together.wait()
threads = [threading.Thread(target=work) for _ in range(12)]
for thread in threads: thread.start()
for thread in threads: thread.join()
libc = ctypes.CDLL(None)
libc.fopen.restype = ctypes.c_void_p
file = libc.fopen(sys.argv[1].encode(), b"w")
libc.malloc_info(0, ctypes.c_void_p(file))
libc.fclose(ctypes.c_void_p(file))
"""


def heaps(file: Path, how: str, **environ: str) -> tuple[int, str]:
    """How many heaps the threads were given, and what was answered."""
    clean = {name: value for name, value in os.environ.items() if name != "MALLOC_ARENA_MAX"}
    said = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(file), how], env=clean | environ, capture_output=True, text=True, check=True
    )
    return file.read_text().count("<heap nr="), said.stdout.strip()


@pytest.mark.skipif(sys.platform != "linux" or not platform.libc_ver()[0], reason="needs glibc")
def test_a_dozen_threads_are_given_two_heaps(tmp_path: Path) -> None:
    assert heaps(tmp_path / "many", "many")[0] > 2
    assert heaps(tmp_path / "few", "few") == (2, "True")
    assert heaps(tmp_path / "own", "few", MALLOC_ARENA_MAX="1") == (1, "False")


def test_it_may_open_as_many_files_as_the_system_allows() -> None:
    program = """
import resource
from archiver.process import many_files
_, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (64, hard))
many_files()
assert resource.getrlimit(resource.RLIMIT_NOFILE) == (hard, hard)
"""
    subprocess.run([sys.executable, "-c", program], check=True)
