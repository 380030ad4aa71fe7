#!/usr/bin/python
# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Alerts when a software RAID array fails: by mdadm's monitor, and by a timer for what that does not watch."""

DOCUMENTATION = r"""
module: md_monitor
short_description: Let somebody hear of it when a software RAID array fails
version_added: 0.1.0
description:
  - Sets C(MAILADDR), C(MAILFROM) and C(PROGRAM) in C(mdadm.conf), by which C(mdadm --monitor) alerts. That does not watch a RAID-0.
  - With O(checker), which the role P(dgxops.fleet.raid_cache#role) brings, a systemd timer looks at all arrays, and alerts by the same mail address and
    program when one is broken, degraded, inactive or missing. How all is stands in C(/var/lib/dgxops/md-health/status.json), what changed in
    C(history.jsonl) beside it, and the unit C(dgxops-md-health.service) has failed while something is not well.
  - What was found before the first change is remembered below C(/var/backups/dgxops). O(state=absent) gives it back.
options:
  mail:
    description:
      - Who gets mail. Without this option what C(mdadm.conf) says stays.
      - Mail is handed to C(/usr/sbin/sendmail) of the host, by which mdadm too sends its own; a mail server that takes mail for others (postfix, nullmailer,
        msmtp-mta, dma) brings it. There is a warning while there is none. C(mdadm --monitor --scan --oneshot --test) sends a test for each array.
    type: str
  mail_from:
    description: The sender of that mail.
    type: str
  program:
    description: "A program on the host to call, as C(mdadm) does it: with the event, the array, and more if there is more to tell."
    type: path
  checker:
    description: The text of the program that looks at all arrays. Without it there is no timer.
    type: str
  interval:
    description: How long the timer waits from one look to the next, as a time span of systemd.
    type: str
    default: 5min
  mounts:
    description: Paths where something has to be mounted, which is watched too.
    type: list
    elements: path
    default: []
  storcli:
    description: The path of StorCLI on the host, to watch the volumes of hardware RAID too.
    type: path
  state:
    description:
      - V(present) watches.
      - V(absent) gives back what was there before the first change, and removes the history.
    type: str
    choices: [present, absent]
    default: present
attributes:
  check_mode:
    support: full
    description: Predicts what the run then does.
  diff_mode:
    support: full
    description: Shows the files and the units.
seealso:
  - module: dgxops.fleet.md_array_info
author:
  - Contributors to dgxops.fleet (@dgxops)
"""

EXAMPLES = r"""
- name: Send mail when an array with redundancy fails
  dgxops.fleet.md_monitor:
    mail: ops@example.com
"""

RETURN = r"""
units:
  description: The units after the change; in check mode as they would be.
  returned: success
  type: dict
  sample: {dgxops-md-health.timer: {enablement: enabled, active: true}}
"""

import os
import shutil

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.host.commands import Commands
from ..module_utils.host.errors import FleetError, errors_reported_by
from ..module_utils.host.host import Host
from ..module_utils.host.settings_host import change_files, change_units, finish, read_record, read_state, write_record
from ..module_utils.storage.md_conf import PATHS
from ..module_utils.storage.md_monitor import CHECKER, HISTORY, MODES, MONITOR, SERVICE_FILE, TIMER, TIMER_FILE, Wish, plan

ARGUMENTS = {
    "mail": {"type": "str"},
    "mail_from": {"type": "str"},
    "program": {"type": "path"},
    "checker": {"type": "str"},
    "interval": {"type": "str", "default": "5min"},
    "mounts": {"type": "list", "elements": "path", "default": []},
    "storcli": {"type": "path"},
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
}
#: Seconds for a command: systemd and mdadm wait for drives and for other jobs, on a busy host for long.
_TIME_LIMIT = 300.0
_NAME = "md_monitor"
_SENDMAIL = "usr/sbin/sendmail"


def main() -> None:
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    with errors_reported_by(module):
        host = Host(Commands(_TIME_LIMIT))
        wish = Wish.from_params(module.params)
        if wish.present and wish.program and not module.check_mode and not os.access(wish.program, os.X_OK):
            raise FleetError("program is {0}, but there is no program there that can be run on this host. Copy it there first.".format(wish.program))
        conf = next((path for path in PATHS if os.path.exists(host.path(path))), PATHS[0])
        found = read_state(host, [conf, CHECKER, SERVICE_FILE, TIMER_FILE], [TIMER, MONITOR])
        change = plan(wish, found, read_record(_NAME, host), conf)
        if change and not module.check_mode:
            write_record(_NAME, host, change.record)
            if not wish.present and TIMER in found.units and not found.files.get(TIMER_FILE) == change.after.files.get(TIMER_FILE):
                host.commands.output(("systemctl", "disable", "--now", TIMER))  # while there still is a file that says what it is
                # A look that is under way would fail without what it looks at, and write its history anew.
                host.commands.run(("systemctl", "stop", os.path.basename(SERVICE_FILE)))
                host.commands.run(("systemctl", "reset-failed", os.path.basename(SERVICE_FILE)))
            change_files(change, host, MODES)
            change_units(change, host)
        if not module.check_mode:
            if not wish.present:
                shutil.rmtree(host.path(HISTORY), ignore_errors=True)
            finish(_NAME, change, host)
        if wish.present and wish.mail and not os.access(host.path(_SENDMAIL), os.X_OK):
            module.warn("Nobody gets mail: mail to {0} needs /usr/sbin/sendmail, which this host does not have. Install a mail server, such as nullmailer or "
                        "postfix, or name a program.".format(wish.mail))
        module.exit_json(
            changed=bool(change),
            diff=[diff.to_dict() for diff in change.diffs],
            units={name: {"enablement": unit.enablement, "active": unit.active} for name, unit in change.after.units.items()},
        )


if __name__ == "__main__":
    main()
