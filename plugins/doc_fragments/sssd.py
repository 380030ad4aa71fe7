# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What the modules have in common that let sssd bring users to a node."""


class ModuleDocFragment:
    """The options that are the same for LDAP and for Active Directory."""

    DOCUMENTATION = r"""
options:
  create_home:
    description: Whether a home is made when somebody logs in who has none on this node.
    type: bool
    default: true
  home_umask:
    description: The octal mask for such a home. V(0077) lets nobody else in.
    type: str
    default: '0077'
  home:
    description: Where all homes are, such as V(/home/%u); see C(override_homedir) in sssd.conf(5). Without it, where the directory says.
    type: str
  shell:
    description: The shell of users for whom the directory names none, such as V(/bin/bash).
    type: str
  cache_credentials:
    description: Whether somebody who has logged in before can log in while no server answers.
    type: bool
    default: true
  offline_days:
    description: For how many days after the last login with a server. V(0) means without end.
    type: int
    default: 0
  cache_timeout_s:
    description: For how many seconds an entry is believed before a server is asked again.
    type: int
    default: 5400
  min_id:
    description: Users and groups with lower numbers are not taken from the directory, so that it cannot make anybody root or an account of the system.
    type: int
    default: 1000
  sudo:
    description: Whether rules for sudo are read from the directory.
    type: bool
    default: false
  access_filter:
    description: An LDAP filter; only users whom it fits may log in. Excludes O(allowed_users) and O(allowed_groups).
    type: str
  allowed_users:
    description: Only these users, and the members of O(allowed_groups), may log in. Without both, and without O(access_filter), whoever the directory lets in.
    type: list
    elements: str
    default: []
  allowed_groups:
    description: Only the members of these groups, and O(allowed_users), may log in.
    type: list
    elements: str
    default: []
  settings:
    description: Further options of the domain in sssd.conf(5), by name. None that is decided by another option, and none that loosens the check of the server.
    type: dict
    default: {}
  expected_users:
    description: Users who must be known on the node at the end, as a proof that it works. If one is not, the task fails.
    type: list
    elements: str
    default: []
  conflicts:
    description:
      - What happens on a node that gets users from elsewhere already, by nslcd, winbind, NIS or an sssd that was set up otherwise.
      - V(refuse) stops before the first change.
      - V(replace) puts that aside until O(state=absent) brings it back.
      - A node that another role of this collection has set up is refused either way.
    type: str
    choices: [refuse, replace]
    default: refuse
  state:
    description:
      - V(present) brings the users of the directory to the node.
      - V(absent) gives the node back as it was before, with packages, files, nsswitch.conf, PAM and services. No other option is needed then.
    type: str
    choices: [present, absent]
    default: present
"""
