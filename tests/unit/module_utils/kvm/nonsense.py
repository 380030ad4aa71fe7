"""What people and templates hand over by mistake."""
from hypothesis import strategies as st

#: What templates and slips of the pen leave in place of a value.
NONSENSE = st.sampled_from(
    [None, True, False, -1, 0, 3, 2 ** 70, 1.5, float("nan"), "", "x", "0-3", "0-99999999", "3-1", "1,,2", b"x", "none", "16G"]
    + [[], [1], [None], [[1]], {}, {"a": 1}, {1: 2}]
)


def places(tree):
    """Every container and key below it."""
    found = [(tree, key) for key in (tree if isinstance(tree, dict) else range(len(tree)))]
    return found + [place for container, key in list(found) if isinstance(container[key], (dict, list)) for place in places(container[key])]
