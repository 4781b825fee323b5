"""Says what the interpreter that runs it is: `python -E -c TEXT MARKER PATH`.

Prints one line, MARKER followed by a JSON object; what cannot be told is null.
"""
# Python 2.7 and 3.3 read no annotations and have no pathlib.
# mypy: allow-untyped-defs, allow-untyped-calls

import json
import os
import struct
import sys


def attempt(function):
    """What `function` gives, or None."""
    try:
        return function()
    except Exception:  # noqa: BLE001  (each fact costs itself only)
        return None


def config(name):
    """One variable that this interpreter was built with."""
    import sysconfig

    return sysconfig.get_config_var(name)


def libc():
    """("glibc", "2.36"), ("musl", None), or None."""
    soabi = attempt(lambda: config("SOABI")) or ""
    if "musl" in soabi:
        return ["musl", None]
    named = attempt(lambda: os.confstr("CS_GNU_LIBC_VERSION"))
    if named:
        return named.split()[:2]
    if any(name.startswith("ld-musl-") for name in os.listdir("/lib")):
        return ["musl", None]
    return None


def cpu_features():
    """The kernel's list for the first core."""
    with open("/proc/cpuinfo") as lines:
        for line in lines:
            if line.split(":")[0].strip() in ("Features", "flags"):
                return line.split(":", 1)[1].split()
    return None


def version_of(distribution):
    """The version that is installed."""
    from importlib import metadata

    return metadata.version(distribution)


def found(module, distributions):
    """Where a package would be imported from, without importing it."""
    from importlib import util

    spec = util.find_spec(module)
    if spec is None or not spec.submodule_search_locations:
        return None
    folder = os.path.dirname(os.path.abspath(next(iter(spec.submodule_search_locations))))
    versions = [attempt(lambda name=name: version_of(name)) for name in distributions]
    return {"folder": folder, "version": next((v for v in versions if v), None)}


PACKAGES = (
    ("numpy", ("numpy",)),
    ("PIL", ("pillow", "Pillow")),
    ("ai_edge_litert", ("ai-edge-litert",)),
    ("tflite_runtime", ("tflite-runtime",)),
)


def facts(path):
    """All of it."""
    uname = os.uname()
    packages = [(name, attempt(lambda n=name, d=dists: found(n, d))) for name, dists in PACKAGES]
    return {
        "path": path,
        "executable": os.path.realpath(sys.executable) if sys.executable else None,
        "version": list(sys.version_info[:3]),
        "implementation": attempt(lambda: sys.implementation.name),
        "soabi": attempt(lambda: config("SOABI")),
        "platform": attempt(lambda: __import__("sysconfig").get_platform()),
        "bits": struct.calcsize("P") * 8,
        "libc": attempt(libc),
        "machine": uname[4],
        "kernel": uname[2],
        "cpu_features": attempt(cpu_features),
        "page_size_bytes": attempt(lambda: os.sysconf("SC_PAGE_SIZE")),
        "packages": {name: where for name, where in packages if where},
    }


sys.stdout.write("\n" + sys.argv[1] + json.dumps(facts(sys.argv[2])) + "\n")
