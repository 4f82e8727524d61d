"""A disk that is full stops a run with one line, and costs no call that was committed."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

STUDY = "studies/colours/study.yaml"
CONCURRENCY = 8

# Runs the command line (argv[2:]) with no file allowed to grow beyond argv[1] bytes. Python ignores SIGXFSZ, so that
# a write beyond fails like one on a full disk.
LIMITED = """
import resource, sys
size = int(sys.argv.pop(1))
resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
from optimizer.commands import main
main()
"""


def stopped(done: subprocess.CompletedProcess[str]) -> str:
    """Return the one line of a run that could not write."""
    assert done.returncode == 3, done.stdout + done.stderr
    assert done.stdout == ""
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1, done.stderr
    return done.stderr


def resumed(project: Any, colours: Any, clean: Any, sent: int, committed: frozenset[str]) -> None:
    """Run the same command with room on the disk, and check that nothing was lost."""
    done = project.run("run", STUDY, "--quiet")
    assert done.returncode == 0, done.stderr
    keys = project.keys(colours.port, colours.bodies)
    assert committed.isdisjoint(keys[sent:])
    assert len(keys) - len(set(keys)) <= CONCURRENCY
    assert len(set(keys)) == clean.requests
    assert project.results() == clean.results


def sizes_at(clean: Any, share: float) -> list[int]:
    """Return how large the files of the database were after a share of the requests."""
    sizes: list[int] = next(sizes for sent, sizes in clean.sizes.items() if sent >= share * clean.requests)
    return sizes


@pytest.mark.skipif(sys.platform == "win32", reason="the size of files cannot be limited")
@pytest.mark.parametrize("share", [0.0, 0.3])
def test_a_database_that_cannot_grow_stops_the_run_and_the_same_command_goes_on(
    project: Any, colours: Any, clean: Any, share: float
) -> None:
    size = max(sizes_at(clean, share)) if share else 2**16
    project.write_small(colours.port)
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, str(size), "run", STUDY, "--quiet"],
        cwd=project.folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    message = stopped(done)
    assert "study.db" in message
    colours.settle()
    assert (share > 0) == bool(colours.bodies)
    kept = project.kept()
    assert len(colours.counts) - CONCURRENCY <= len(kept.committed) < clean.requests
    resumed(project, colours, clean, len(colours.bodies), kept.committed)


@pytest.fixture
def small_disk(project: Any) -> Iterator[Path]:
    """Mount a small file system where the study will lie."""
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        pytest.skip("only root can mount a file system")
    folder = project.study.parent
    folder.mkdir(parents=True)
    command = ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(folder)]
    mounted = subprocess.run(command, capture_output=True, text=True, check=False)
    if mounted.returncode != 0:
        pytest.skip(f"no file system can be mounted here: {mounted.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_a_disk_that_is_full_stops_the_run_and_room_lets_it_go_on(
    project: Any, colours: Any, clean: Any, small_disk: Path
) -> None:
    project.write_small(colours.port)
    half = sum(sizes_at(clean, 0.5))
    filler = small_disk / "filler"
    room = os.statvfs(small_disk)
    filler.write_bytes(bytes(room.f_bavail * room.f_frsize - half))
    message = stopped(project.run("run", STUDY, "--quiet"))
    assert "study.db" in message
    colours.settle()
    assert 0 < len(colours.bodies) < clean.requests
    filler.unlink()
    resumed(project, colours, clean, len(colours.bodies), project.kept().committed)
