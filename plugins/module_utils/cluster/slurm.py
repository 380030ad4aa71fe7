# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What slurm.conf and cgroup.conf may say, by the version of Slurm, from 20.11 to 26.05.

A key that a version does not know any more stops its daemons or does nothing, so it is never written, and one that a user adds is refused with
what to write instead. Source of each entry: CHANGELOG/slurm-*.md of Slurm's repository, and the options that the readers of each version take: for
slurm.conf src/common/read_config.c in its last release, for cgroup.conf src/common/xcgroup_read_config.c in 20.11, src/common/cgroup.c and
src/interfaces/cgroup.c since.
"""
import re
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Tuple

from ..host.errors import FleetError

SLURM_CONF, CGROUP_CONF = "slurm.conf", "cgroup.conf"
EXCLUSIVE, PER_GPU = "exclusive", "per_gpu"
MODES = (EXCLUSIVE, PER_GPU)

_VERSION = re.compile(r"(?<![\d.])(\d{2})\.(\d{2})(?:\.(\d{1,3}))?(?![\d])", re.ASCII)


class Version(NamedTuple):
    """A release of Slurm: year and month, and the number of its repair, which hardly ever brings a key."""

    year: int
    month: int
    repair: int = 0

    def __str__(self) -> str:
        return "{0:02d}.{1:02d}{2}".format(self.year, self.month, ".{0}".format(self.repair) if self.repair else "")


OLDEST, NEWEST = Version(20, 11), Version(26, 5)
#: From here on a job's control group of version 2 can have the job's number in its name; in 26.05.0 and 26.05.1 it never has, before it always had.
_JOB_ID_PATHS = Version(26, 5, 2)


class Rule(NamedTuple):
    """From when to before when a key, or only a value of it, is known; ``instead`` says what to do in other versions."""

    file: str
    key: str
    value: str
    since: Optional[Version]
    before: Optional[Version]
    instead: str


_KMEM = "The kernel does not limit kernel memory apart any more."
_RULES: Tuple[Rule, ...] = (
    Rule(SLURM_CONF, "SelectType", "select/cons_res", None, Version(23, 11), "Write SelectType=select/cons_tres."),
    Rule(SLURM_CONF, "SlurmdParameters", "numa_node_as_socket", Version(22, 5), None, "Leave it out, or update Slurm."),
    Rule(CGROUP_CONF, "CgroupAutomount", "", None, Version(23, 11), "systemd mounts cgroups."),
    Rule(CGROUP_CONF, "CgroupReleaseAgentDir", "", None, Version(22, 5), "Slurm removes its cgroups by itself."),
    Rule(CGROUP_CONF, "TaskAffinity", "", None, Version(22, 5), "Write TaskPlugin=task/affinity,task/cgroup in slurm.conf."),
    Rule(CGROUP_CONF, "AllowedKmemSpace", "", None, Version(23, 11), _KMEM),
    Rule(CGROUP_CONF, "ConstrainKmemSpace", "", None, Version(23, 11), _KMEM),
    Rule(CGROUP_CONF, "MaxKmemPercent", "", None, Version(23, 11), _KMEM),
    Rule(CGROUP_CONF, "MinKmemSpace", "", None, Version(23, 11), _KMEM),
    Rule(CGROUP_CONF, "CgroupPlugin", "", Version(21, 8), None, "Older versions know cgroup v1 only."),
    Rule(CGROUP_CONF, "CgroupPlugin", "cgroup/v2", Version(22, 5), None, "Older versions know cgroup v1 only."),
    Rule(CGROUP_CONF, "IgnoreSystemd", "", Version(22, 5), None, "Leave it out."),
    Rule(CGROUP_CONF, "IgnoreSystemdOnFailure", "", Version(22, 5), None, "Leave it out."),
    Rule(CGROUP_CONF, "EnableControllers", "", Version(23, 2), None, "Leave it out."),
    Rule(CGROUP_CONF, "SignalChildrenProcesses", "", Version(23, 11), None, "Leave it out."),
    Rule(CGROUP_CONF, "SystemdTimeout", "", Version(24, 5), None, "Leave it out."),
    Rule(CGROUP_CONF, "EnableExtraControllers", "", Version(25, 5), None, "Leave it out."),
    Rule(CGROUP_CONF, "CgroupSlice", "", Version(25, 11), None, "Leave it out."),
    Rule(CGROUP_CONF, "CgroupJobIdPaths", "", _JOB_ID_PATHS, None, "Leave it out."),
)

#: What would end a line, or comment the rest of it out, or take the next one into it (slurm.conf(5)).
_NO_VALUE = re.compile(r"[\r\n#]|\\\Z")

_CHANGES = "slurm.conf(5) of each version lists the keys it knows."
#: Keys of slurm.conf that stop the daemons from a version on. Those that Slurm calls defunct are passed over by it, and here.
_GONE = {
    Version(21, 8): "CacheGroups CheckpointType DefaultStorageHost DefaultStorageLoc DefaultStoragePass DefaultStoragePort DefaultStorageType "
                    "DefaultStorageUser JobCheckpointDir MemLimitEnforce SchedulerPort SchedulerRootFilter",
    Version(23, 2): "SlurmctldPlugstack",
    Version(24, 5): "SchedulerAuth",
    Version(25, 5): "FrontendName",
    Version(25, 11): "AccountingStorageLoc",
}
#: Keys of slurm.conf that stop the daemons of older versions.
_NEW = {
    Version(21, 8): "AccountingStoreFlags BcastExclude BcastParameters SwitchParameters",
    Version(22, 5): "MaxNodeCount",
    Version(23, 2): "MaxBatchRequeue PreemptParameters SuspendExcStates",
    Version(24, 5): "HashPlugin TLSParameters TLSType",
    Version(24, 11): "CertmgrParameters CertmgrType DataParserParameters",
    Version(25, 5): "CertgenParameters CertgenType EpilogTimeout PrologTimeout",
    Version(25, 11): "CliFilterParameters HttpParserType JobCompPassScript MetricsType NamespaceType UrlParserType",
    Version(26, 5): "HealthCheckTimeout LicenseParameters MetricsAuthUsers MetricsParameters PowerAction SlurmctldHttpAuthParameters "
                    "SlurmdHttpAuthParameters",
}
_RULES += tuple(Rule(SLURM_CONF, key, "", None, version, _CHANGES) for version, keys in _GONE.items() for key in keys.split())
_RULES += tuple(Rule(SLURM_CONF, key, "", version, None, _CHANGES) for version, keys in _NEW.items() for key in keys.split())


class Site(NamedTuple):
    """What the settings of a cluster depend on."""

    version: Version
    mode: str
    cgroup: int
    numa_node_as_socket: bool
    accounting: bool = True


def version_of(text: str) -> Version:
    """The version in ``22.05``, ``22.05.8`` or what ``slurmd -V`` says (``slurm-wlm 22.05.8``); raises :class:`FleetError` for older than 20.11."""
    match = _VERSION.search(str(text))
    if not match or not 1 <= int(match.group(2)) <= 12:
        raise FleetError("{0!r} is not a version of Slurm. Give it in quotes as year and month, such as \"22.05\".".format(text))
    version = Version(int(match.group(1)), int(match.group(2)), int(match.group(3) or 0))
    if version < OLDEST:
        raise FleetError("Slurm {0} is too old: its keys are known from {1} to {2}. Update Slurm.".format(version, OLDEST, NEWEST))
    return version


def check_settings(file: str, settings: Mapping[str, str], version: Version) -> None:
    """Raise :class:`FleetError` for the first setting that this version of Slurm does not know."""
    for key, value in settings.items():
        for rule in _RULES:
            words = [word.strip().lower() for word in value.split(",")]
            if (rule.file, rule.key.lower()) != (file, key.lower()) or rule.value and rule.value not in words:
                continue
            what = "{0}={1}".format(rule.key, rule.value) if rule.value else rule.key
            if rule.before and version >= rule.before:
                raise FleetError("{0} in {1} is gone since Slurm {2}; here is {3}. Leave it out. {4}".format(what, file, rule.before, version, rule.instead))
            if rule.since and version < rule.since:
                raise FleetError("{0} in {1} is known since Slurm {2}; here is {3}. {4}".format(what, file, rule.since, version, rule.instead))


def slurm_settings(site: Site, more: Optional[Mapping[str, Any]] = None) -> Dict[str, str]:
    """The settings of slurm.conf that share nodes out as the mode says; ``more`` are the user's, which win.

    Section 6.1.2 of *Best Practices for DGX* with two changes: select/cons_tres is the plugin that counts GPUs (select/cons_res is gone since 23.11), and
    task/affinity binds the tasks, as TaskAffinity in cgroup.conf did before 22.05.
    """
    settings = {
        "ProctrackType": "proctrack/cgroup",
        "TaskPlugin": "task/affinity,task/cgroup",
        "SelectType": "select/cons_tres",
        "SelectTypeParameters": "CR_Core_Memory",
        "JobAcctGatherType": "jobacct_gather/cgroup",
    }
    if site.mode == PER_GPU:
        settings["GresTypes"] = "gpu"
        if site.accounting:  # without a database, slurmctld ends at this line
            settings["AccountingStorageTRES"] = "gres/gpu"
    checked = _checked(SLURM_CONF, settings, more, site.version)
    tres = next((value for key, value in checked.items() if key.lower() == "accountingstoragetres"), "")
    if tres and not site.accounting:
        raise FleetError(
            "AccountingStorageTRES={0} needs accounting with a database, or slurmctld does not start. Leave it out, or have accounting.".format(tres))
    if site.numa_node_as_socket:
        # A list of words, to which this is added; without it the node lines and Cores would be wrong.
        key = next((key for key in checked if key.lower() == "slurmdparameters"), "SlurmdParameters")
        words = [word.strip() for word in checked.get(key, "").split(",") if word.strip()]
        checked[key] = ",".join(words + [word for word in ("numa_node_as_socket",) if word not in words])
        check_settings(SLURM_CONF, checked, site.version)
    return checked


def cgroup_settings(site: Site, more: Optional[Mapping[str, Any]] = None) -> Dict[str, str]:
    """The settings of cgroup.conf that keep a job to its cores, its memory and, where GPUs are shared out, its GPUs; ``more`` are the user's."""
    if site.cgroup == 2 and site.version < Version(22, 5):
        raise FleetError(
            "Slurm {0} knows cgroup v1 only, and the nodes have v2. Update Slurm to 22.05 or newer, or boot the nodes with "
            "systemd.unified_cgroup_hierarchy=0.".format(site.version)
        )
    settings = {"CgroupAutomount": "yes"} if site.cgroup == 1 and site.version < Version(23, 11) else {}
    settings.update({"ConstrainCores": "yes", "ConstrainRAMSpace": "yes"})
    if site.mode == PER_GPU:
        settings["ConstrainDevices"] = "yes"
    if site.cgroup == 2 and site.version >= _JOB_ID_PATHS:  # the epilog looks for the job's group by its number
        settings["CgroupJobIdPaths"] = "yes"
    return _checked(CGROUP_CONF, settings, more, site.version)


def partition_options(mode: str) -> str:
    """What each ``PartitionName`` line needs for the mode."""
    return "OverSubscribe=EXCLUSIVE" if mode == EXCLUSIVE else ""


def doubts(site: Site) -> List[str]:
    """What should be known about settings that are right as far as it goes."""
    found = []
    if site.version[:2] > NEWEST[:2]:
        found.append("Slurm {0} is newer than {1}, the newest whose keys are known here; those of {1} are used.".format(site.version, NEWEST))
    if site.cgroup == 1 and site.version >= Version(25, 5):
        found.append("Slurm deprecates cgroup v1 since 25.05. Boot the nodes with cgroup v2.")
    return found


def as_lines(settings: Mapping[str, str]) -> List[str]:
    """``Key=value`` lines, in order."""
    return ["{0}={1}".format(key, value) for key, value in settings.items()]


def _checked(file: str, settings: Dict[str, str], more: Optional[Mapping[str, Any]], version: Version) -> Dict[str, str]:
    """The settings with the user's in the place of ours: keys do not depend on case, and a value is one line of text."""
    spelled = {key.lower(): key for key in settings}
    for key, value in (more or {}).items():
        text = {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)
        if not re.match(r"^[A-Za-z][A-Za-z0-9]*\Z", str(key)) or not isinstance(value, (str, int, float)) or _NO_VALUE.search(text):
            raise FleetError("The setting {0!r}: {1!r} cannot be a line of {2}. Give a key of letters and a text or number, without # and in one line.".format(
                key, value, file))
        settings[spelled.get(str(key).lower(), str(key))] = text
    check_settings(file, settings, version)
    return settings


def site_of(version: str, mode: str, cgroup: Any, numa_node_as_socket: bool, accounting: bool = True) -> Site:
    """What a user says of a site, checked."""
    if mode not in MODES:
        raise FleetError("The mode {0!r} is not known. Known are {1}.".format(mode, " and ".join(MODES)))
    if str(cgroup) not in ("1", "2"):
        raise FleetError("cgroup is {0!r}, but 1 or 2 is expected: the version of cgroups on the nodes.".format(cgroup))
    return Site(version_of(version), mode, int(cgroup), numa_node_as_socket, accounting)
