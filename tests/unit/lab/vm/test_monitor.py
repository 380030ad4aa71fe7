"""QEMU tells of events whenever it likes, and the agent may still be in the middle of an old conversation."""
import json
import socket
import threading

import pytest

from ansible_collections.dgxops.fleet.tests.lab.vm.monitor import Agent, Monitor
from ansible_collections.dgxops.fleet.tests.lab.vm.programs import LabError


@pytest.fixture
def peer(tmp_path):
    """Start a server that says its greeting, then answers each line by a function; returns where it listens and what it was asked."""
    threads = []

    def start(answer, greeting=b"", path=None):
        path = path or tmp_path / "peer.sock"
        path.parent.mkdir(parents=True, exist_ok=True)
        asked = []
        listener = socket.socket(socket.AF_UNIX)
        here = tmp_path / "short"
        listener.bind(str(here))
        here.rename(path)
        listener.listen(1)

        def serve():
            connection, _address = listener.accept()
            with connection, connection.makefile("rwb") as stream:
                stream.write(greeting)
                stream.flush()
                for line in stream:
                    asked.append(json.loads(line.lstrip(b"\xff")))
                    stream.write(b"".join(part if isinstance(part, bytes) else json.dumps(part).encode() + b"\n" for part in answer(asked[-1])))
                    stream.flush()

        threads.append(threading.Thread(target=serve, daemon=True))
        threads[-1].start()
        return path, asked

    yield start
    for thread in threads:
        thread.join(5)


GREETING = b'{"QMP": {"version": {}}}\n'


def test_an_answer_is_found_among_events(peer):
    path, asked = peer(lambda question: [{"event": "RTC_CHANGE", "data": {}}, {"return": {"status": "running"}}], GREETING)
    with Monitor(path) as monitor:
        assert monitor.execute("query-status") == {"status": "running"}
    assert [question["execute"] for question in asked] == ["qmp_capabilities", "query-status"]


def test_an_event_counts_that_came_before_anybody_waited_for_it(peer):
    gone = [{"event": "DEVICE_DELETED", "data": {"device": name}} for name in ("data1", "data3")]
    path, _asked = peer(lambda question: [*gone, {"return": {}}] if question["execute"] == "device_del" else [{"return": {}}], GREETING)
    with Monitor(path) as monitor:
        monitor.execute("device_del", {"id": "data3"})
        monitor.wait_for("DEVICE_DELETED", lambda data: data.get("device") == "data3")


def test_a_refusal_carries_the_words_of_qemu(peer):
    refused = {"error": {"class": "DeviceNotFound", "desc": "Device 'data9' not found"}}
    path, _asked = peer(lambda question: [refused if question["execute"] == "device_del" else {"return": {}}], GREETING)
    with Monitor(path) as monitor, pytest.raises(LabError, match="QEMU refused device_del: Device 'data9' not found"):
        monitor.execute("device_del", {"id": "data9"})


def test_a_migration_is_waited_for(peer):
    states = iter(["setup", "active", "active", "completed"])
    path, _asked = peer(lambda question: [{"return": {"status": next(states)} if question["execute"] == "query-migrate" else {}}], GREETING)
    with Monitor(path) as monitor:
        assert monitor.wait_while("query-migrate", busy=("setup", "active"), timeout=10) == {"status": "completed"}


def test_what_never_ends_is_given_up(peer):
    path, _asked = peer(lambda question: [{"return": {"status": "active"}}], GREETING)
    with Monitor(path) as monitor, pytest.raises(LabError, match="still 'active' after 0.2 s"):
        monitor.wait_while("query-migrate", busy=("active",), timeout=0.2)


def test_a_socket_may_lie_deeper_than_its_address_could_say(peer, tmp_path):
    path, _asked = peer(lambda question: [{"return": {}}], GREETING, path=tmp_path / ("d" * 120) / "monitor.sock")
    with Monitor(path) as monitor:
        assert monitor.execute("cont") == {}


def test_nobody_there_is_said_so(tmp_path):
    with pytest.raises(LabError, match="Is the machine up"):
        Monitor(tmp_path / "monitor.sock")


def agent_that(outcome):
    """An agent which first finishes an old answer, and whose process ends at the second look."""
    looks = iter([{"exited": False}, {"exited": True, **outcome}])

    def answer(question):
        if question["execute"] == "guest-sync-delimited":
            return [b'": "half a sentence\n', {"return": 1}, b"\xff", {"return": question["arguments"]["id"]}]
        return [{"return": {"pid": 77} if question["execute"] == "guest-exec" else next(looks)}]

    return answer


def test_the_agent_runs_a_script_after_an_interrupted_conversation(peer):
    path, asked = peer(agent_that({"exitcode": 3, "out-data": "aGVsbG8K", "err-data": "b29wcwo="}))
    with Agent(path) as agent:
        assert agent.run("echo hello; exit 3", timeout=10) == (3, "hello\n", "oops\n")
    assert asked[1]["arguments"]["arg"] == ["-c", "echo hello; exit 3"]


def test_a_script_that_was_killed_has_a_status_as_a_shell_gives_it(peer):
    path, _asked = peer(agent_that({"signal": 9}))
    with Agent(path) as agent:
        assert agent.run("kill -9 $$", timeout=10).status == 137
