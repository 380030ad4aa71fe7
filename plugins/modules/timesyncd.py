#!/usr/bin/python
# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""systemd-timesyncd as the one time service of a host, and the host as it was before."""

DOCUMENTATION = r"""
module: timesyncd
short_description: Keep a host's time by systemd-timesyncd, and give the host back as it was
version_added: 0.1.0
description:
  - Installs systemd-timesyncd where it is missing, configures it by a file of its own, C(/etc/systemd/timesyncd.conf.d/50-dgxops.conf), sees to it that it is
    enabled and runs with these settings, and sets the time zone. All in one call, so that a host has one time service at any moment.
  - Another time service (chrony, ntpd, ntpsec, openntpd) that runs or is enabled is not touched unless O(conflicts=disable).
  - What was found before the first change is remembered below C(/var/backups/dgxops). O(state=absent) gives it back, with packages, services and time zone.
  - Whether time is really kept is told by M(dgxops.fleet.timesync_info).
author:
  - Contributors to dgxops.fleet (@dgxops)
attributes:
  check_mode:
    support: full
    description: Predicts what the run then does. Whether the service starts only shows when it is run.
  diff_mode:
    support: full
    description: Shows the time services, the file and the time zone before and after.
options:
  servers:
    description:
      - The time servers, names or addresses, in the order they are tried.
      - None means that timesyncd asks those that come by DHCP, or else O(fallback_servers).
    type: list
    elements: str
    default: []
  fallback_servers:
    description: Servers to ask if there are no others. An empty list means none; without this option the distribution's stay.
    type: list
    elements: str
  root_distance_max_s:
    description: The greatest distance in seconds from the reference clock, by which a server is still believed (C(RootDistanceMaxSec)).
    type: float
  poll_interval_min_s:
    description: The shortest time between two questions in seconds, at least 16 (C(PollIntervalMinSec)).
    type: int
  poll_interval_max_s:
    description: The longest time between two questions in seconds (C(PollIntervalMaxSec)).
    type: int
  connection_retry_s:
    description: The shortest time before the next server is tried, in seconds (C(ConnectionRetrySec), from systemd 248 on; left out with a warning before).
    type: int
  save_interval_s:
    description: The time between two savings of the clock to disk, in seconds (C(SaveIntervalSec), from systemd 250 on; left out with a warning before).
    type: int
  timezone:
    description: The time zone, such as V(Etc/UTC) or V(Europe/Berlin). Without this option it is left alone.
    type: str
  conflicts:
    description:
      - What happens to another time service.
      - V(refuse) stops before the first change if there is one.
      - V(disable) stops and disables it. Where the distribution does not allow both packages, its package makes room for that of timesyncd.
    type: str
    choices: [refuse, disable]
    default: refuse
  state:
    description:
      - V(present) makes timesyncd the host's time service.
      - V(absent) gives back the services, packages and time zone that were there before.
    type: str
    choices: [present, absent]
    default: present
seealso:
  - name: timesyncd.conf(5)
    description: What the settings mean.
    link: https://www.freedesktop.org/software/systemd/man/latest/timesyncd.conf.html
  - module: dgxops.fleet.timesync_info
"""

EXAMPLES = r"""
- name: Keep time by our own servers
  dgxops.fleet.timesyncd:
    servers: [ntp1.example.com, ntp2.example.com]

- name: Take over from chrony
  dgxops.fleet.timesyncd:
    servers: [ntp1.example.com]
    timezone: Etc/UTC
    conflicts: disable

- name: Give the host back as it was
  dgxops.fleet.timesyncd:
    state: absent
"""

RETURN = r"""
services:
  description: The time services of the host after the change (in check mode, as they would be).
  returned: success
  type: dict
  sample: {systemd-timesyncd.service: {enablement: enabled, active: true}, chrony.service: {enablement: disabled, active: false}}
stopped:
  description: Time services that no longer set the clock.
  returned: success
  type: list
  elements: str
  sample: [chrony.service]
installed:
  description: Packages that were installed.
  returned: success
  type: list
  elements: str
  sample: [systemd-timesyncd]
removed:
  description: Packages that were removed.
  returned: success
  type: list
  elements: str
  sample: [chrony]
timezone:
  description: The time zone.
  returned: success
  type: str
  sample: Etc/UTC
file:
  description: The file with the settings; empty if there is none.
  returned: success
  type: str
  sample: /etc/systemd/timesyncd.conf.d/50-dgxops.conf
"""

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.host.commands import Commands
from ..module_utils.host.errors import errors_reported_by
from ..module_utils.host.host import Host
from ..module_utils.host.timesyncd import DROP_IN, Wish, decide
from ..module_utils.host.timesyncd_host import carry_out, read

ARGUMENTS = {
    "servers": {"type": "list", "elements": "str", "default": []},
    "fallback_servers": {"type": "list", "elements": "str"},
    "root_distance_max_s": {"type": "float"},
    "poll_interval_min_s": {"type": "int"},
    "poll_interval_max_s": {"type": "int"},
    "connection_retry_s": {"type": "int"},
    "save_interval_s": {"type": "int"},
    "timezone": {"type": "str"},
    "conflicts": {"type": "str", "choices": ["refuse", "disable"], "default": "refuse"},
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
}


def main() -> None:
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    with errors_reported_by(module):
        host = Host(Commands())
        wish = Wish.from_params(module.params)
        found = read(wish, host)
        change = decide(wish, found)
        now = change.after if module.check_mode else carry_out(change, host)
        for warning in wish.too_new(found.systemd) if wish.present else []:
            module.warn(warning)
        module.exit_json(
            changed=bool(change),
            diff=[diff.to_dict() for diff in change.diffs],
            services={name: {"enablement": unit.enablement, "active": unit.active} for name, unit in now.units.items()},
            stopped=change.stopped,
            installed=change.install,
            removed=change.remove,
            timezone=now.zone.called,
            file="/" + DROP_IN if now.drop_in is not None else "",
        )


if __name__ == "__main__":
    main()
