#!/usr/bin/env python3
"""Includes point downward: each room of src/ includes only itself and the rooms that it may enter, and what must compile
without a device reaches no OpenCL header. The rooms are those of docs/ARCHITECTURE.md.

usage: test_includes.py ROOT"""
import pathlib
import re
import sys

ROOT = pathlib.Path(sys.argv[1])

# Room: the rooms it may include. Where a room may have parts of another only, they are named.
ROOMS = {
    "core": [],
    "device": ["core"],
    "graph": ["core", "device"],
    "reference": ["core/random.h", "graph/graph.h", "graph/operation.h", "graph/types.c", "ops/attributes.h", "ops/list.h"],
    "ops": ["core", "device", "graph"],
    "data": ["core"],
    "model": ["core", "data/npy.h", "graph", "ops"],
    "svr": ["core", "device", "graph", "ops"],
    "task": ["core", "data", "graph", "model", "ops"],
    "train": ["core", "data", "device", "graph", "model", "ops", "task"],
    "study": ["core", "task", "train"],
    "tune": ["core", "device", "graph", "model", "task", "train"],
    "check": ["core", "device", "graph", "ops", "reference"],
}
# Headers of files that a room owns alone, whoever else may enter the room.
CLOSED = {"graph/plan_internal.h": "graph", "device/probe_job.h": "device", "ops/building.h": "ops", "ops/views.h": "ops",
          "data/formats.h": "data", "model/specification_parts.h": "model", "train/options.h": "train",
          "train/checkpoint_tensors.h": "train", "train/run.h": "train", "check/trial_parts.h": "check", "tune/search.h": "tune"}
# What reaches no OpenCL header, and what knows no tensor: files of src/, or all of a room.
NO_DEVICE = ["core", "data", "graph/graph.h", "graph/operation.h", "graph/types.c", "graph/placement.c", "ops/attributes.h",
             "ops/ops.h", "reference"]
NO_TENSOR = ["device", "graph/placement.h"]


def includes(path):
    """(line number, name in quotes or angle brackets) of each include of a file."""
    for number, line in enumerate(path.read_text().splitlines(), 1):
        found = re.match(r'\s*#\s*include\s+["<]([^">]+)[">]', line)
        if found:
            yield number, found[1]


def own_header(name):
    for folder in ("src", "include"):
        if (ROOT / folder / name).is_file():
            return ROOT / folder / name
    return None


def reached(path, seen=None):
    """All that an include of this header includes, by name."""
    seen = {} if seen is None else seen
    for _, name in includes(path):
        if name in seen:
            continue
        seen[name] = path
        header = own_header(name)
        if header:
            reached(header, seen)
    return seen


def may_enter(room, name):
    return any(name == entry or name.startswith(entry + "/") for entry in [room, *ROOMS[room]])


def check_rooms():
    for path in sorted((ROOT / "src").glob("*/*.[ch]")):
        room = path.parent.name
        if room not in ROOMS:
            yield f"{path.relative_to(ROOT)}: the room src/{room} is not in this test's list"
            continue
        for number, name in includes(path):
            if name.split("/")[0] not in ROOMS:
                continue
            if not may_enter(room, name):
                yield f"{path.relative_to(ROOT)}:{number}: {room} may not include {name}"
            elif CLOSED.get(name, room) != room:
                yield f"{path.relative_to(ROOT)}:{number}: {name} is for {CLOSED[name]} alone"


def check_reach(names, forbidden, what):
    for path in (path for name in names for path in sorted((ROOT / "src").glob(name if "." in name else name + "/*.[ch]"))):
        for found, by in reached(path).items():
            if re.match(forbidden, found):
                yield f"{path.relative_to(ROOT)}: reaches {what}, {found}, through {by.relative_to(ROOT)}"


def check_order():
    """No room may be entered by one that it enters itself."""
    below = {room: {entry.split("/")[0] for entry in entries} for room, entries in ROOMS.items()}
    done = set()
    while len(done) < len(below):
        ready = [room for room in below if room not in done and below[room] <= done]
        if not ready:
            yield f"the rooms {sorted(set(below) - done)} include each other in a circle"
            return
        done.update(ready)


faults = [*check_rooms(), *check_order(), *check_reach(NO_DEVICE, r"CL/", "an OpenCL header"),
          *check_reach(NO_TENSOR, r"(expanse/)?(graph|ops)[/.]", "tensors")]
for fault in faults:
    print(fault)
files = len(list((ROOT / "src").glob("*/*.[ch]")))
assert files > 100, f"only {files} files were found below {ROOT}/src"
print(f"{files} files, {len(faults)} faults")
sys.exit(bool(faults))
