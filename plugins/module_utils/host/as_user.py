# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Doing things in a user's home with the user's rights.

A link that he put there must not lead root to a file that the user himself could not write, and a home on NFS is often closed to root.
"""
import contextlib
import os
from typing import Iterator, List, Tuple


@contextlib.contextmanager
def as_user(uid: int, gid: int) -> Iterator[None]:
    """What is done here is done with a user's rights and no more. Whoever is not root, has no others than his own."""
    if os.geteuid() != 0:
        yield
        return
    before: Tuple[List[int], int, int] = (os.getgroups(), os.getegid(), os.geteuid())
    os.setgroups([gid])
    os.setegid(gid)
    os.seteuid(uid)
    try:
        yield
    finally:
        os.seteuid(before[2])
        os.setegid(before[1])
        os.setgroups(before[0])
