# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a scheduler runs on a node before and after each job.

    job prolog [SCHEDULER]    looks at the GPUs; starts the job's statistics; exit status 1 if a GPU is not well, at which the scheduler takes the node out
    job epilog [SCHEDULER]    ends what the job left behind in its own control group; collects the statistics; completes the job's record
    job health [SCHEDULER]    looks at the GPUs between jobs; drains the node with the reason (Slurm's HealthCheckProgram)

Section 5.1 of the Best Practices for DGX. SCHEDULER is slurm, gridengine, pbs or lsf. Prolog and epilog call no command of Slurm (slurm.conf(5),
"Prolog and Epilog Scripts": they must not). Only a sick GPU fails a job: a full disk or a DCGM that does not answer is said and passed over.
"""
import contextlib
import csv
import fcntl
import glob
import json
import os
import pwd
import re
import signal
import socket
import stat
import subprocess
import sys
import time

ROOT = "/"  # another one for tests
SETTINGS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "job.json")
DEFAULTS = {"checks": [], "timeout": 60, "dcgm_level": 1, "statistics": True, "records": "/var/log/dgxops/jobs", "keep_months": 12}
REASON = "dgxops.fleet health: "

#: Where each scheduler says which job it is: its number, an index in an array, the user, his number, the GPUs.
VARIABLES = {
    "slurm": ("SLURM_JOB_ID", "", "SLURM_JOB_USER", "SLURM_JOB_UID", "SLURM_JOB_GPUS"),
    "gridengine": ("JOB_ID", "SGE_TASK_ID", "USER", "", "SGE_HGR_gpu"),
    "pbs": ("PBS_JOBID", "", "USER", "", "CUDA_VISIBLE_DEVICES"),
    "lsf": ("LSB_JOBID", "LSB_JOBINDEX", "LSFUSER", "", "CUDA_VISIBLE_DEVICES"),
}

VISIBLE = ("CUDA_VISIBLE_DEVICES", "USER", "LSFUSER")


def path(*words):
    return os.path.join(ROOT, *(word.lstrip("/") for word in words))


def say(text):
    """To the scheduler's log."""
    sys.stderr.write("dgxops.fleet: {0}\n".format(text))


def settings():
    try:
        with open(SETTINGS) as handle:
            given = json.load(handle)
        if not isinstance(given, dict):
            raise ValueError("it holds no settings")
    except (OSError, ValueError) as error:
        say("{0} cannot be read, so everything is as it is without it: {1}".format(SETTINGS, error))
        return dict(DEFAULTS)
    wrong = [name for name in DEFAULTS if name in given and type(given[name]) is not type(DEFAULTS[name])]
    if wrong:
        say("{0} has {1} wrong, which is as it is without it".format(SETTINGS, ", ".join(wrong)))
    return dict(DEFAULTS, **{name: value for name, value in given.items() if name not in wrong})


def run(argv, timeout):
    """Exit status and all that a program said; None as status if there is no such program, 124 if it took too long."""
    try:
        done = subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=timeout, check=False,
                              env=clean(os.environ))
    except FileNotFoundError:
        return None, ""
    except subprocess.TimeoutExpired:
        return 124, "no answer in {0} s".format(timeout)
    except OSError as error:
        return 126, str(error)
    return done.returncode, done.stdout.decode("utf-8", "replace").strip()


def clean(environment):
    """What programs that are run by root may see: Grid Engine and LSF hand over the environment of the job, in which its user may write what he likes."""
    kept = {name: value for name, value in environment.items() if name.startswith(("SLURM_", "SGE_", "JOB_", "PBS_", "LSB_")) or name in VISIBLE}
    return dict(kept, PATH="/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", LC_ALL="C", HOME="/root")


# -- the job ---------------------------------------------------------------------------------------------------------------------------


def job_of(scheduler, environment):
    number, index, user, uid, gpus = (environment.get(name, "") if name else "" for name in VARIABLES[scheduler])
    name = number + ("." + index if index not in ("", "0", "undefined") else "")
    if not re.match(r"^[A-Za-z0-9][A-Za-z0-9._\[\]-]*$", name):
        raise ValueError("{0} does not say which job this is: {1} is {2!r}".format(scheduler, VARIABLES[scheduler][0], number))
    numbers = [int(word) for word in re.split(r"[ ,]+", gpus) if word.isdigit()]
    if scheduler != "slurm":
        # In other schedulers a user may have written this. One that there is not would take the node out.
        known = set(minors().values())
        numbers = [number for number in numbers if number in known]
    return {"job": name, "scheduler": scheduler, "user": user, "uid": uid or uid_of(user), "node": socket.gethostname().partition(".")[0],
            "gpus": numbers, "gpus_known": bool(gpus)}


def uid_of(user):
    try:
        return str(pwd.getpwnam(user).pw_uid)
    except KeyError:
        return ""


def minors():
    """The numbers of the device files by PCI address, as NVIDIA's driver tells them."""
    found = {}
    for place in glob.glob(path("proc/driver/nvidia/gpus/*/information")):
        with contextlib.suppress(OSError), open(place) as handle:
            match = re.search(r"^Device Minor:\s*(\d+)", handle.read(), re.MULTILINE)
            if match:
                found[os.path.basename(os.path.dirname(place)).lower()] = int(match.group(1))
    return found


def indexes(gpus, timeout):
    """The numbers by which DCGM and nvidia-smi know these device files: they count by PCI address, the device files need not."""
    status, said = run(["nvidia-smi", "--query-gpu=index,pci.bus_id", "--format=csv,noheader"], timeout)
    if status != 0:
        return list(gpus)
    known = minors()
    found = {}
    for row in csv.reader(said.splitlines(), skipinitialspace=True):
        if len(row) == 2 and row[0].isdigit():
            # nvidia-smi writes eight digits of the domain, the driver's directory four.
            minor = known.get(re.sub(r"^0000(?=[0-9a-f]{4}:)", "", row[1].strip().lower()))
            found[int(row[0]) if minor is None else minor] = int(row[0])
    return [found.get(gpu, gpu) for gpu in gpus]


# -- looking at the GPUs -----------------------------------------------------------------------------------------------------------------


def check_files(gpus):
    for gpu in gpus:
        place = path("dev/nvidia{0}".format(gpu))
        if not os.path.exists(place) or not (stat.S_ISCHR(os.stat(place).st_mode) or ROOT != "/"):
            return "there is no device /dev/nvidia{0}".format(gpu)
    return ""


def check_smi(timeout):
    fields = "index,pci.bus_id,ecc.errors.uncorrected.volatile.total,retired_pages.pending"
    status, said = run(["nvidia-smi", "--query-gpu=" + fields, "--format=csv,noheader,nounits"], timeout)
    if status is None:
        return None
    if status != 0:
        return "nvidia-smi: {0}".format(first_line(said) or "exit status {0}".format(status))
    for row in csv.reader(said.splitlines(), skipinitialspace=True):
        if len(row) != 4 or not row[0].isdigit():
            return "nvidia-smi: {0}".format(", ".join(row))
        if row[2].strip().isdigit() and int(row[2]):
            return "GPU {0} ({1}): {2} uncorrectable ECC errors since the last reset".format(row[0], row[1], row[2].strip())
        if row[3].strip().lower() == "yes":
            return "GPU {0} ({1}): memory pages wait for a reboot to be retired".format(row[0], row[1])
    return ""


def check_dcgm(level, gpus, timeout):
    status, said = run(["dcgmi", "diag", "-r", str(level)] + (["-i", ",".join(map(str, gpus))] if gpus else []), timeout)
    if status is None:
        return None
    failed = [line for line in said.splitlines() if re.search(r"\bFail\b", line)]
    if failed:
        return "dcgmi diag -r {0}: {1}".format(level, " ".join(re.sub(r"[|]", " ", failed[0]).split()))
    if status != 0:
        say("dcgmi diag gave no verdict: {0}".format(first_line(said)))
        return None
    return ""


def first_line(text):
    return next((" ".join(line.split())[:200] for line in text.splitlines() if line.strip()), "")


def look(wanted, gpus, with_dcgm):
    """Each check with what is wrong (nothing: "") and how long it took, up to the first that is wrong. Those whose program is not there are left out."""
    steps = [("devices", lambda: check_files(gpus)), ("nvidia-smi", lambda: check_smi(wanted["timeout"]))]
    if with_dcgm and wanted["dcgm_level"]:
        steps.append(("dcgmi", lambda: check_dcgm(wanted["dcgm_level"], indexes(gpus, wanted["timeout"]), wanted["timeout"])))
    steps += [(" ".join(argv), lambda argv=argv: check_own(argv, wanted["timeout"])) for argv in wanted["checks"]]
    found = []
    for name, step in steps:
        begun = time.time()
        problem = step()
        if problem is not None:
            found.append({"check": name, "problem": problem, "seconds": round(time.time() - begun, 2)})
        if problem:
            break
    return found


def check_own(argv, timeout):
    status, said = run(argv, timeout)
    if status == 0:
        return ""
    return "{0}: {1}".format(argv[0], first_line(said) or ("there is no such program" if status is None else "exit status {0}".format(status)))


# -- statistics --------------------------------------------------------------------------------------------------------------------------


def start_statistics(job, wanted):
    """DCGM counts processes that start after this, so it has to be before the job's first."""
    group = ["-a", ",".join(map(str, indexes(job["gpus"], wanted["timeout"])))] if job["gpus"] else ["--default"]
    status, said = run(["dcgmi", "group", "-c", "job-" + job["job"]] + group, wanted["timeout"])
    match = re.search(r"group ID of (\d+)", said)
    if status is None:
        return
    if status != 0 or not match:
        say("DCGM made no group for the job: {0}".format(first_line(said)))
        return
    job["dcgm_group"] = int(match.group(1))
    for argv in (["dcgmi", "stats", "-g", match.group(1), "-e"], ["dcgmi", "stats", "-g", match.group(1), "-s", job["job"]]):
        status, said = run(argv, wanted["timeout"])
        if status != 0:
            say("{0}: {1}".format(" ".join(argv), first_line(said)))


def stop_statistics(job, wanted):
    if "dcgm_group" not in job:
        return
    run(["dcgmi", "stats", "-x", job["job"]], wanted["timeout"])
    status, said = run(["dcgmi", "stats", "-v", "-j", job["job"]], wanted["timeout"])
    job["statistics"] = parse_statistics(said) if status == 0 else []
    job["statistics_text"] = said
    run(["dcgmi", "stats", "-r", job["job"]], wanted["timeout"])
    run(["dcgmi", "group", "-d", str(job["dcgm_group"])], wanted["timeout"])


def parse_statistics(text):
    """``dcgmi stats -v`` is one table for each GPU: a line ``GPU ID: 0``, and lines of a name and a value."""
    found = []
    for line in text.splitlines():
        match = re.match(r"^\W*GPU ID:\s*(\d+)", line)
        if match:
            found.append({"gpu": int(match.group(1))})
            continue
        cells = [cell.strip() for cell in line.strip("| ").split("|")]
        if found and len(cells) == 2 and cells[0] and not cells[0].startswith("-"):
            found[-1][cells[0].lstrip("- ")] = cells[1]
    return found


# -- what is left behind -----------------------------------------------------------------------------------------------------------------


def own_groups(job):
    """The job's control groups: of version 1 below each controller, of version 2 below slurmstepd's scope, which is in system.slice or in the one that
    CgroupSlice of cgroup.conf names. On no account those of another job or node."""
    if job["scheduler"] != "slurm" or not job["uid"].isdigit() or not job["job"].isdigit():
        return []
    base, node, name = path("sys/fs/cgroup"), job["node"], "job_" + job["job"]
    places = [os.path.join(controller, slurm, "uid_" + job["uid"], name) for controller in glob.glob(base + "/*") for slurm in ("slurm", "slurm_" + node)]
    places += [os.path.join(above, scope, name) for depth in ("", "/*.slice", "/*.slice/*.slice") for above in glob.glob(base + depth)
               for scope in ("slurmstepd.scope", node + "_slurmstepd.scope")]
    return [place for place in places if os.path.isdir(place)]


def left_behind(job):
    """The processes in the job's control groups, but for Slurm's own, which are not the user's even if one of his is called so."""
    found = set()
    for place in own_groups(job):
        for directory, _below, names in os.walk(place):
            if "cgroup.procs" in names:
                with contextlib.suppress(OSError), open(os.path.join(directory, "cgroup.procs")) as handle:
                    found.update(int(line) for line in handle.read().split())
    named = {pid: program(pid) for pid in sorted(found) if pid != os.getpid()}
    return {pid: name for pid, name in named.items() if name and (name != "slurmstepd" or owner(pid) == job["uid"])}


def program(pid):
    try:
        with open(path("proc/{0}/comm".format(pid))) as handle:
            return handle.read().strip()
    except OSError:
        return ""  # it has ended


def owner(pid):
    try:
        return str(os.stat(path("proc/{0}".format(pid))).st_uid)
    except OSError:
        return ""  # it has ended


def end_leftovers(job, patience=3.0):
    """Ask them to end, then make them; returns their names. What is in the group is asked anew each time, since a number may become another's."""
    ended = {}
    for sign, seconds in ((signal.SIGTERM, patience), (signal.SIGKILL, patience)):
        for pid, name in left_behind(job).items():
            with contextlib.suppress(OSError):
                os.kill(pid, sign)
                ended[pid] = name
        end = time.time() + seconds
        while left_behind(job) and time.time() < end:
            time.sleep(0.1)
    return sorted(ended.values())


# -- records -----------------------------------------------------------------------------------------------------------------------------


def now():
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def begun_record(job, wanted):
    return os.path.join(path(wanted["records"]), "running", job["job"] + ".json")


def begin_record(job, wanted):
    place = begun_record(job, wanted)
    os.makedirs(os.path.dirname(place), mode=0o750, exist_ok=True)
    with open(place + ".part", "w") as handle:
        json.dump(job, handle, sort_keys=True)
    os.replace(place + ".part", place)


def take_up_record(job, wanted):
    """The record that the prolog began; without one, a record begins now."""
    try:
        with open(begun_record(job, wanted)) as handle:
            begun = json.load(handle)
    except (OSError, ValueError):
        return job
    return dict(job, **begun) if isinstance(begun, dict) else job


def complete_record(job, wanted):
    directory = path(wanted["records"])
    os.makedirs(directory, mode=0o750, exist_ok=True)
    job = {key: value for key, value in job.items() if key not in ("gpus_known", "dcgm_group")}
    descriptor = os.open(os.path.join(directory, "jobs-{0}.jsonl".format(time.strftime("%Y-%m", time.gmtime()))), os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o640)
    with os.fdopen(descriptor, "a") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        handle.write(json.dumps(job, sort_keys=True) + "\n")
    with contextlib.suppress(FileNotFoundError):
        os.unlink(begun_record(job, wanted))
    for old in sorted(glob.glob(os.path.join(directory, "jobs-????-??.jsonl")))[:-wanted["keep_months"]]:
        os.unlink(old)


# -- what the scheduler calls --------------------------------------------------------------------------------------------------------------


def prolog(scheduler, wanted):
    job = job_of(scheduler, os.environ)
    if not job["gpus"] and not job["gpus_known"] and scheduler == "slurm" and wanted.get("whole_nodes"):
        job["gpus"] = sorted(minors().values())
    # DCGM without a list of GPUs takes all, which are other jobs'. Slurm tells each job's, so one of which it tells none has none.
    with_dcgm = bool(job["gpus"]) or scheduler != "slurm"
    job.update(begin=now(), checks=look(wanted, job["gpus"], with_dcgm))
    problem = next((check["problem"] for check in job["checks"] if check["problem"]), "")
    with passed_over("the job's record"):
        if problem:
            remember(problem)
            complete_record(dict(job, end=now(), refused=problem), wanted)
        else:
            if wanted["statistics"] and with_dcgm:
                start_statistics(job, wanted)
            begin_record(job, wanted)
    if problem:
        say("job {0} does not start here, and the node is taken out: {1}".format(job["job"], problem))
    return 1 if problem else 0


def epilog(scheduler, wanted):
    job = job_of(scheduler, os.environ)
    if not os.path.exists(begun_record(job, wanted)) and refused(job, wanted):
        return 0
    job = take_up_record(job, wanted)
    with passed_over("what the job left behind"):
        job["leftovers"] = end_leftovers(job)
    with passed_over("the job's statistics"):
        stop_statistics(job, wanted)
    with passed_over("the job's record"):
        complete_record(dict(job, end=now()), wanted)
    return 0


def refused(job, wanted):
    """Whether the job's record says already that it did not start: Slurm runs the epilog all the same."""
    places = sorted(glob.glob(os.path.join(path(wanted["records"]), "jobs-????-??.jsonl")))[-1:]
    for place in places:
        with contextlib.suppress(OSError), open(place) as handle:
            for line in handle.readlines()[-20:]:
                with contextlib.suppress(ValueError):
                    record = json.loads(line)
                    if isinstance(record, dict) and record.get("job") == job["job"] and "refused" in record:
                        return True
    return False


def health(scheduler, wanted):
    """The one that may ask Slurm. A node that is drained with a reason of this kind keeps it; who repairs the GPU brings the node back."""
    found = look(wanted, sorted(minors().values()), False)
    problem, prologs = next((check["problem"] for check in found if check["problem"]), ""), remembered()
    if not problem and not prologs:
        return 0
    say(problem or prologs)
    if scheduler == "slurm":
        name = socket.gethostname().partition(".")[0]
        _status, said = run(["sinfo", "--all", "--noheader", "--Node", "--format=%T|%E", "--nodes=" + name], wanted["timeout"])
        state, _bar, reason = first_line(said).partition("|")
        told = state.startswith("drain") and reason.startswith(REASON)
        # What a prolog found puts Slurm's own reason in better words, but says nothing of a node that was repaired and brought back since.
        refused = state.startswith("drain") and reason.startswith("Prolog error")
        if refused or (problem and not told):
            run(["scontrol", "update", "NodeName=" + name, "State=DRAIN", "Reason=" + (REASON + (problem or prologs))[:250]], wanted["timeout"])
    return 0


SICK = "run/dgxops-job-sick"


def remember(problem):
    """Slurm gives no better reason than "Prolog error"; the next look between jobs says this one."""
    with open(path(SICK), "w") as handle:
        handle.write(problem)


def remembered():
    """What a prolog found, once."""
    try:
        with open(path(SICK)) as handle:
            problem = handle.read()
        os.unlink(path(SICK))
        return problem
    except OSError:
        return ""


@contextlib.contextmanager
def passed_over(what):
    try:
        yield
    except (OSError, ValueError) as error:
        say("{0}: {1}".format(what, error))


def main(arguments):
    acts = {"prolog": prolog, "epilog": epilog, "health": health}
    scheduler = arguments[1] if len(arguments) > 1 else "slurm"
    if not arguments or arguments[0] not in acts or scheduler not in VARIABLES:
        say("expected is one of {0}, and one of {1}".format(", ".join(sorted(acts)), ", ".join(sorted(VARIABLES))))
        return 0
    os.umask(0o027)
    try:
        return acts[arguments[0]](scheduler, settings())
    except (OSError, ValueError) as error:
        say(str(error))
        return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
