# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Says what dcgmi diag says.

/opt/dcgm/version tells of which major version, /opt/dcgm/ill which GPU fails the memory test, /opt/dcgm/seconds how long it takes.
"""
import json
import signal
import sys
import time


def setting(name, default):
    try:
        with open("/opt/dcgm/" + name) as handle:
            return handle.read().strip()
    except OSError:
        return default


def stop(number, frame):
    with open("/opt/dcgm/stopped", "w") as handle:
        handle.write("by signal {0}\n".format(number))
    sys.exit(1)


signal.signal(signal.SIGTERM, stop)
level, new, ill = sys.argv[sys.argv.index("-r") + 1], setting("version", "2") == "4", setting("ill", "")
with open("/opt/dcgm/asked", "a") as handle:
    handle.write(level + "\n")
time.sleep(float(setting("seconds", "0")))
lost = "GPU 1 Detected 2 uncorrectable memory errors"
if new:
    entities = [{"entity_group": "GPU", "entity_group_id": 1, "entity_id": gpu, "status": "Pass"} for gpu in range(2)]
    hardware = [dict(entity) for entity in entities]
    if ill:
        hardware[int(ill)].update(status="Fail", warnings=[{"error_category": 1, "error_id": 5, "error_severity": 4, "warning": lost}])
    tests = [{"category": "Deployment", "tests": [{"name": "software", "results": entities, "test_summary": {"status": "Pass"}}]}]
    if level != "1":
        tests.append({"category": "Hardware", "tests": [{"name": "memory", "results": hardware, "test_summary": {"status": "Fail" if ill else "Pass"}}]})
    print(json.dumps({"DCGM Diagnostic": {"test_categories": tests}, "metadata": {"DCGM Version": "4.0.0", "Driver Version Detected": "550.54.15"}}))
else:
    tests = [{"category": "Deployment", "tests": [{"name": "Denylist", "results": [{"gpu_ids": "0,1", "status": "PASS"}]}, None]}]
    if level != "1":
        results = [{"gpu_ids": str(gpu), "status": "PASS"} for gpu in range(2)]
        if ill:
            results[int(ill)].update(status="FAIL", warnings=[lost])
        tests.append({"category": "Hardware", "tests": [{"name": "GPU Memory", "results": results}]})
    print(json.dumps({"DCGM GPU Diagnostic": {"test_categories": tests, "version": "2.2.9", "Driver Version Detected": "470.57.02"}}))
sys.exit(1 if ill else 0)
