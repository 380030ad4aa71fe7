# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Packages come and go, and nothing that was not named goes with them. What apt and dpkg say was recorded on Debian 12 in November 2026, and cut short."""
import pytest

from ansible_collections.dgxops.fleet.plugins.module_utils.host import apt
from ansible_collections.dgxops.fleet.plugins.module_utils.host.commands import Commands, Recorded, Result
from ansible_collections.dgxops.fleet.plugins.module_utils.host.errors import FleetError

INSTALL = """\
NOTE: This is only a simulation!
Inst libldap-2.5-0 (2.5.13+dfsg-5 Debian:12.11/oldstable [amd64])
Inst sudo [1.9.13p3-1+deb12u1] (1.9.13p3-1+deb12u2 Debian:12.11/oldstable [amd64])
Inst sssd-ldap (2.8.2-4+deb12u1 Debian:12.11/oldstable [amd64])
Conf sssd-ldap (2.8.2-4+deb12u1 Debian:12.11/oldstable [amd64])
"""


class Apt(Commands):
    """Answers by a word of the question; ``asked`` are the questions without their options."""

    def __init__(self, **answers):
        super().__init__()
        self.answers = answers
        self.asked = []

    def run(self, argv, timeout=None, text_in=None):
        words = [word for word in argv if not word.startswith(("-", "DEBIAN_")) and word != "env"] + (["?"] if "--simulate" in argv else [])
        self.asked.append(" ".join(words))
        answers = self.answers.get(words[1] if len(words) > 1 else words[0], [Result(0, "", "")])
        return answers.pop(0) if len(answers) > 1 else answers[0]


def test_what_is_new_is_told_from_what_is_only_made_newer():
    assert apt.try_install(Apt(install=[Result(0, INSTALL, "")]), ["sssd-ldap"]) == apt.Trial(("libldap-2.5-0", "sssd-ldap"), ())


@pytest.mark.parametrize(("said", "version"), [
    ("slurmctld:\n  Installed: (none)\n  Candidate: 22.05.8-4+deb12u3\n", "22.05.8-4+deb12u3"),
    ("slurmctld:\n  Installed: (none)\n  Candidate: (none)\n", ""),
    ("", ""),
])
def test_the_version_that_would_come_is_told(said, version):
    assert apt.candidate(Apt(policy=[Result(0, said, "")]), "slurmctld") == version


def test_package_lists_are_fetched_where_they_are_stale():
    commands = Apt(install=[Result(100, "", "E: Unable to locate package"), Result(0, INSTALL, "")])
    apt.try_install(commands, ["sssd-ldap"])
    assert commands.asked == ["apt-get install sssd-ldap ?", "apt-get update", "apt-get install sssd-ldap ?"]


def test_what_apt_does_not_have_is_told_in_its_words():
    with pytest.raises(FleetError, match="apt cannot install x: E: Unable to locate package x"):
        apt.try_install(Apt(install=[Result(100, "", "E: Unable to locate package x\n")]), ["x"])
    assert not apt.knows(Recorded({}), "x"), "a host without apt knows no package"


def test_programs_are_found_where_a_user_s_path_does_not_lead(monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    assert apt.missing({"sh": "dash", "no-such-program": "that"}) == ("that",)


def test_nothing_goes_unasked_to_make_room():
    commands = Apt(install=[Result(0, "Remv chrony [4.3-2]\n" + INSTALL, "")])
    assert apt.try_install(commands, ["systemd-timesyncd"], ["chrony"]).removed == ("chrony",)
    with pytest.raises(FleetError, match="apt would also remove chrony. Nothing was changed"):
        apt.try_install(commands, ["systemd-timesyncd"])


def test_packages_that_others_need_are_told():
    everything = Result(0, "Remv their-tool [1] \nRemv libnss-sss [2]\nRemv sssd-ldap [2]\n", "")
    commands = Apt(remove=[everything, Result(0, "Remv their-tool [1]\nRemv libnss-sss [2]\n", ""), Result(0, "Remv sssd-ldap [2]\n", "")])
    assert apt.needed_by_others(commands, ["libnss-sss", "sssd-ldap"]) == ("libnss-sss",)
    assert apt.needed_by_others(Apt(remove=[Result(0, "Remv sssd-ldap [2]\n", "")]), ["sssd-ldap"]) == ()


def test_packages_of_which_only_settings_are_left_are_not_installed():
    said = "sssd-ldap installed\nlibnss-sss config-files\nlibpam-sss half-configured\nsudo not-installed\n"
    commands = Apt(**{"sssd-ldap": [Result(1, said, "dpkg-query: no packages found matching adcli")]})
    assert apt.statuses(commands, ["sssd-ldap"]) == {"sssd-ldap": "installed", "libnss-sss": "config-files", "libpam-sss": "half-configured"}
    assert apt.installed(commands, ["sssd-ldap"]) == ("sssd-ldap",)
