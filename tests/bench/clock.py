# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Time and tables. Time is the CPU time of this process, since other programs on the machine are no part of what is measured."""
import gc
import time
from typing import Callable, List, Sequence


def seconds(work: Callable[[], object]) -> float:
    """The CPU time of doing it once."""
    gc.collect()
    start = time.process_time()
    work()
    return time.process_time() - start


def best(work: Callable[[], object], times: int) -> float:
    """The least CPU time of several attempts: what disturbs a measurement only ever makes it longer."""
    return min(seconds(work) for _attempt in range(times))


def table(title: str, head: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print rows under a title, the first column to the left and the others to the right."""
    texts: List[List[str]] = [[str(cell) for cell in row] for row in [head, *rows]]
    widths = [max(len(row[column]) for row in texts) for column in range(len(head))]
    print("\n" + title)
    for row in texts:
        cells = [cell.rjust(width) if column else cell.ljust(width) for column, (cell, width) in enumerate(zip(row, widths))]
        print("  " + "   ".join(cells).rstrip(), flush=True)
