# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Makes ``ansible_collections.dgxops.fleet`` this checkout, whatever the directory is called and whether Ansible is installed or not.

Python finds packages by directory name, and a clone is seldom called ``ansible_collections/dgxops/fleet``. So the three outer packages are
put in place by hand; everything below them is found as usual. Other collections that the ``ansible`` package brings stay importable.
Under ``ansible-test units`` Ansible's own loader has done all that, and nothing is touched.
"""
import importlib
import os
import sys
import types
from typing import List

import pytest

try:
    import hypothesis
except ImportError:
    hypothesis = None

CHECKOUT = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))
COLLECTION = ("ansible_collections", "dgxops", "fleet")


def _paths_of(name: str) -> List[str]:
    """Where an importable package looks for its modules; none if there is no such package."""
    try:
        return [os.path.realpath(path) for path in importlib.import_module(name).__path__]
    except ImportError:
        return []


def _put_in_place(name: str, paths: List[str]) -> None:
    """Make ``name`` a package that looks for its modules in ``paths``."""
    package = types.ModuleType(name)
    package.__path__ = paths
    sys.modules[name] = package
    parent, _dot, child = name.rpartition(".")
    if parent:
        setattr(sys.modules[parent], child, package)


def _make_importable() -> None:
    root, namespace, collection = COLLECTION[0], ".".join(COLLECTION[:2]), ".".join(COLLECTION)
    if _paths_of(collection) == [CHECKOUT]:
        return
    others = {root: _paths_of(root), namespace: _paths_of(namespace)}
    for name in [name for name in sys.modules if name == root or name == namespace or (name + ".").startswith(collection + ".")]:
        del sys.modules[name]
    _put_in_place(root, others[root])
    _put_in_place(namespace, others[namespace])
    _put_in_place(collection, [CHECKOUT])


def _make_test_directories_packages() -> None:
    """Let a test import a helper beside it by ``from .hosts import dgx2``, as the pytest of newer Pythons does by itself."""
    for directory, children, _files in os.walk(os.path.join(CHECKOUT, "tests")):
        children[:] = [child for child in children if child.isidentifier() and child != "__pycache__"]
        _put_in_place(os.path.relpath(directory, CHECKOUT).replace(os.sep, "."), [directory])


_make_importable()
if int(pytest.__version__.split(".")[0]) < 8:
    _make_test_directories_packages()

if hypothesis is not None:
    # A busy machine is no defect: examples are not timed, only counted.
    hypothesis.settings.register_profile("fleet", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
    hypothesis.settings.load_profile("fleet")
