"""Jobs as a user submits them, and what they get. Ends with the first that is otherwise than it says."""
import json
import re
import subprocess
import sys
import time

#: The logical cores next to each GPU by its device file, as the makers of these machines say; the DGX A100 numbers its device files in an order of its own.
NEAR = {
    "dgx01": lambda gpu: range(0, 20) if gpu < 4 else range(20, 40),
    "dgx02": lambda gpu: range(0, 24) if gpu < 8 else range(24, 48),
    "dgx03": lambda gpu: {0: range(16, 32), 1: range(48, 64), 2: range(80, 96), 3: range(112, 128)}[gpu // 2],
}
THREADS = 2

#: Run inside a job: which GPUs open (nobody is behind them, so ENXIO) and which are denied (EPERM).
LOOK = r"""
import glob, json, os
def opens(path):
    try:
        os.open(path, os.O_RDONLY)
    except OSError as error:
        return error.strerror
found = {path: opens(path) for path in glob.glob("/dev/nvidia[0-9]*")}
print(json.dumps({"opens": found, "cuda": os.environ.get("CUDA_VISIBLE_DEVICES"), "cpus": sorted(os.sched_getaffinity(0))}))
"""


def run(*argv, good=True):
    done = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, universal_newlines=True, timeout=60, check=False)
    if (done.returncode == 0) != good:
        sys.exit("{0} ended with {1} and said: {2}".format(" ".join(argv), done.returncode, done.stdout))
    return done.stdout.strip()


def as_user(*argv, **more):
    return run("runuser", "-u", "games", "--", *argv, **more)


def expect(condition, *found):
    if not condition:
        sys.exit("Not so: {0}".format(" ".join(str(word) for word in found)))


def numbers(text):
    found = []
    for part in text.split(","):
        first, _dash, last = part.partition("-")
        found += range(int(first), int(last or first) + 1)
    return found


def given(job):
    """GPUs and logical cores of a job as slurmctld gave them out."""
    text = run("scontrol", "show", "job", "--details", job)
    gpus = re.search(r"GRES=gpu:\w+:\d+\(IDX:([\d,-]+)\)", text)
    cpus = re.search(r"CPU_IDs=([\d,-]+)", text)
    expect(gpus and cpus, text)
    return numbers(gpus.group(1)), sorted({cpu // THREADS for cpu in numbers(cpus.group(1))})


def submit(*options, command="sleep 120"):
    return as_user("sbatch", "--parsable", "--chdir=/tmp", "--output=/dev/null", *options, "--wrap", command)


def wait_for(jobs):
    until(lambda: set(run("squeue", "--noheader", "--format=%T", "--jobs=" + ",".join(jobs)).split()) == {"RUNNING"}, "{0} run".format(jobs))


def until(true, what, patience=30):
    end = time.time() + patience
    while not true():
        expect(time.time() < end, "after {0} s {1}:".format(patience, what), run("squeue"), run("sinfo", "--list-reasons"), run("sinfo", "--Node", "--long"))
        time.sleep(0.3)


def gpus_come_with_their_cores():
    jobs = {node: [submit("--nodelist=" + node, "--gres=gpu:2", "--ntasks=2") for _time in range(4)] for node in NEAR}
    wait_for(sum(jobs.values(), []))
    for node, near in NEAR.items():
        seen = []
        for job in jobs[node]:
            gpus, cores = given(job)
            expect(len(gpus) == 2 and not set(gpus) & set(seen), node, job, gpus, seen)
            seen += gpus
            expect(set(cores) <= {core for gpu in gpus for core in near(gpu)}, node, "GPUs", gpus, "cores", cores)
    run("scancel", *sum(jobs.values(), []))


def too_many_are_refused():
    said = as_user("srun", "--chdir=/tmp", "--nodelist=dgx01", "--gres=gpu:9", "true", good=False)
    expect("Requested node configuration is not available" in said, said)
    said = as_user("srun", "--chdir=/tmp", "--partition=a100", "--gres=gpu:v100:1", "true", good=False)
    expect("Requested node configuration is not available" in said, said)


def a_job_is_kept_to_what_it_has():
    found = json.loads(as_user("srun", "--chdir=/tmp", "--nodelist=dgx02", "--gres=gpu:v100:2", "python3", "-c", LOOK).splitlines()[-1])
    allowed = {path for path, said in found["opens"].items() if said == "No such device or address"}
    denied = {path for path, said in found["opens"].items() if said == "Operation not permitted"}
    expect(len(found["opens"]) == 16 and len(allowed) == 2 and len(denied) == 14, found)
    expect(found["cuda"] == "0,1", found)
    # This one's two cores are really there.
    found = json.loads(as_user("srun", "--chdir=/tmp", "--nodelist=small01", "--gres=gpu:1", "python3", "-c", LOOK).splitlines()[-1])
    expect(len(found["cpus"]) == 1 and sorted(found["opens"].values()) == ["No such device or address", "Operation not permitted"], found)


def memory_is_limited():
    job = submit("--nodelist=small01", "--mem=30M", command="python3 -c 'b = bytes(range(200)) * (1 << 20)'")
    until(lambda: "OUT_OF_MEMORY" in run("sacct", "--noheader", "--parsable2", "--format=state", "--jobs=" + job), "job {0} is out of memory".format(job))


def jobs_are_accounted():
    values = run("mysql", "--batch", "--skip-column-names", "--execute=SELECT @@innodb_lock_wait_timeout, @@innodb_buffer_pool_size >> 20")
    expect(values.split() == ["900", "64"], "MariaDB has the settings that slurmdbd asks for:", values)
    job = submit("--nodelist=dgx01", "--gres=gpu:3")
    line = ["sacct", "--noheader", "--parsable2", "--allocations", "--format=user,state,alloctres", "--jobs=" + job]
    until(lambda: "RUNNING" in run(*line), "job {0} is in the database while it runs".format(job))
    run("scancel", job)
    until(lambda: "CANCELLED" in run(*line), "job {0} has an end in the database".format(job))
    expect(run(*line).startswith("games|") and "gres/gpu=3" in run(*line), run(*line))


def what_a_job_leaves_behind_is_ended():
    as_user("srun", "--chdir=/tmp", "--nodelist=dgx01", "--gres=gpu:1", "sh", "-c", "setsid sleep 4321 >/dev/null 2>&1 </dev/null & sleep 0.5")


STORIES = (gpus_come_with_their_cores, too_many_are_refused, a_job_is_kept_to_what_it_has, memory_is_limited, jobs_are_accounted,
           what_a_job_leaves_behind_is_ended)


if __name__ == "__main__":
    for story in STORIES:
        begun = time.time()
        story()
        print("{0:5.1f} s  {1}".format(time.time() - begun, story.__name__.replace("_", " ")))
