#!/usr/bin/python
# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Pools of huge pages per NUMA node, set while the host runs, verified, and kept over a reboot."""

DOCUMENTATION = r"""
module: hugepages
short_description: Set aside huge pages on each NUMA node while the host runs
version_added: 0.1.0
description:
  - Gives each NUMA node its own number of huge pages of each size and reads back what the kernel really gave (section 12.3.1.1 of the Best Practices).
  - If the kernel gives fewer pages than asked for, its memory is compacted and it is asked once more. If that does not help, all pools are put back as
    they were and the task fails, telling what was got and how to set the pages aside at boot.
  - Refuses beforehand what cannot work or would harm, such as more pages than the node has memory for, or fewer pages than programs use.
  - The number of pages that a pool had before it was first changed is remembered below C(/var/backups/dgxops). O(state=absent) brings it back, and so does
    no longer naming the pool in O(pages). Pools that were never changed by this module are left alone.
author:
  - Contributors to dgxops.fleet (@dgxops)
attributes:
  check_mode:
    support: full
    description: Predicts what the run then does. Whether the kernel finds that many pages in one piece only shows when it is run.
  diff_mode:
    support: full
    description: Shows the pages of each pool before and after, and the file that repeats them at boot.
options:
  state:
    description:
      - V(present) sets the pools in O(pages).
      - V(absent) gives every pool that was changed the pages back that it had before, and removes the file that sets them at boot.
    type: str
    choices: [present, absent]
    default: present
  pages:
    description:
      - "The pages wanted, by size, NUMA node and number, as V({'1G': {0: 96, 1: 96}}). Sizes are written as V(2M) and V(1G), or in KiB as V(2048)."
      - This is what the filter P(dgxops.fleet.kvm_plan#filter) answers as C(pages) of each guest. Add up the guests of a host.
      - The numbers are those of the whole pool. Add what other programs on the host need.
      - Required with O(state=present).
    type: dict
  persistent:
    description:
      - Whether the same numbers are set at every boot, by C(/etc/tmpfiles.d/dgxops-hugepages.conf), early and before libvirtd starts.
      - C(vm.nr_hugepages) of sysctl cannot do this, since it spreads the pages over all nodes.
      - V(false) removes that file.
    type: bool
    default: true
  shrink_in_use:
    description:
      - Consent to give a pool fewer pages than are in use or reserved.
      - No program loses its memory by this. The kernel keeps such pages as surplus and takes each back when it is freed.
    type: bool
    default: false
  root:
    description: The directory below which the host's files are found, other than V(/) for tests.
    type: path
    default: /
seealso:
  - module: dgxops.fleet.kernel_cmdline
    description: Sets pages aside at boot, which is the sure way for pages of 1 GiB.
  - name: HugeTLB pages
    description: The kernel's documentation of huge pages.
    link: https://docs.kernel.org/admin-guide/mm/hugetlbpage.html
"""

EXAMPLES = r"""
- name: 96 GiB for the guests of each socket, in pages of 1 GiB
  dgxops.fleet.hugepages:
    pages:
      1G: {0: 96, 1: 96}

- name: Pages of 2 MiB on the first node, until the next boot
  dgxops.fleet.hugepages:
    pages:
      2M: {0: 49152}
    persistent: false

- name: Give back what was there before
  dgxops.fleet.hugepages:
    state: absent
"""

RETURN = r"""
pools:
  description: Every pool that was asked for or holds pages, by node and size, as read after the change (in check mode, as found).
  returned: success
  type: list
  elements: dict
  contains:
    node:
      description: NUMA node.
      returned: success
      type: int
    size:
      description: Page size, such as V(2M) or V(1G).
      returned: success
      type: str
    size_kib:
      description: Page size in KiB.
      returned: success
      type: int
    before:
      description: Pages before this run.
      returned: success
      type: int
    wanted:
      description: Pages this run asked for; null if it was not concerned with this pool.
      returned: success
      type: int
    total:
      description: Pages in the pool.
      returned: success
      type: int
    free:
      description: Pages in the pool that nothing uses.
      returned: success
      type: int
    in_use:
      description: Pages that programs use.
      returned: success
      type: int
    surplus:
      description: Pages in use beyond what was asked for, which the kernel takes back when they are freed.
      returned: success
      type: int
  sample:
    - {node: 0, size: 1G, size_kib: 1048576, before: 0, wanted: 96, total: 96, free: 96, in_use: 0, surplus: 0}
verified:
  description: Whether all pools hold what was asked for, read back from the kernel. In check mode, whether they do already.
  returned: success
  type: bool
hugetlbfs:
  description: Where huge pages are mounted, by page size in KiB. A guest can only use sizes that are listed here.
  returned: success
  type: dict
  sample: {"2048": "/dev/hugepages"}
persistent_file:
  description: The file that sets the pages at every boot; empty if there is none.
  returned: success
  type: str
  sample: /etc/tmpfiles.d/dgxops-hugepages.conf
node:
  description: The NUMA node that did not do what it was asked.
  returned: when the kernel gives too few pages
  type: int
size_kib:
  description: The page size concerned, in KiB.
  returned: when the kernel gives too few pages
  type: int
asked:
  description: The number of pages asked for.
  returned: when the kernel gives too few pages
  type: int
got:
  description: The number of pages the kernel gave before the pools were put back.
  returned: when the kernel gives too few pages
  type: int
"""

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.host.errors import errors_reported_by
from ..module_utils.host.hugepages import TMPFILES, Wish, decide, results, show_size, unmounted, wanted_pages
from ..module_utils.host.hugepages_host import Kernel, carry_out, read, users_of_pages

ARGUMENTS = {
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    "pages": {"type": "dict"},
    "persistent": {"type": "bool", "default": True},
    "shrink_in_use": {"type": "bool", "default": False},
    "root": {"type": "path", "default": "/"},
}

UNMOUNTED = (
    "No hugetlbfs with pages of {0} is mounted, so libvirt cannot give these pages to a guest. Mount one, for example at /dev/hugepages{0} "
    "with the option pagesize={0}, and restart libvirtd."
)


def main() -> None:
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True, required_if=[("state", "present", ["pages"])])
    with errors_reported_by(module):
        kernel = Kernel(module.params["root"])
        present = module.params["state"] == "present"
        wish = Wish(wanted_pages(module.params["pages"]) if present else {}, module.params["persistent"], module.params["shrink_in_use"])
        before = now = read(kernel)
        change = decide(wish, before, users=lambda: users_of_pages(kernel))
        if not module.check_mode:
            carry_out(change, kernel, before.by_node)
            now = read(kernel)
        for size in unmounted(wish, now):
            module.warn(UNMOUNTED.format(show_size(size)))
        module.exit_json(
            changed=bool(change),
            diff=[diff.to_dict() for diff in change.diffs],
            pools=[result.to_dict() for result in results(change, before, now)],
            verified=not decide(wish, now).steps,
            hugetlbfs={str(size): path for size, path in sorted((now.mounts or {}).items())},
            persistent_file="/" + TMPFILES if change.persist else "",
        )


if __name__ == "__main__":
    main()
