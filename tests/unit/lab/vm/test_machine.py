"""The lab ends what it started and nothing else; it knows a machine again that another command started."""
import subprocess

import pytest

from ansible_collections.dgxops.fleet.tests.lab.vm import machine as machines
from ansible_collections.dgxops.fleet.tests.lab.vm.image import Image
from ansible_collections.dgxops.fleet.tests.lab.vm.machine import Machine, Process, found_in, process_in, qemu, start, stopped_on_failure
from ansible_collections.dgxops.fleet.tests.lab.vm.platforms import platform_named
from ansible_collections.dgxops.fleet.tests.lab.vm.programs import LabError


@pytest.fixture
def child():
    process = subprocess.Popen(["sleep", "60"])
    yield process
    process.kill()
    process.wait()


def machine_of(child, directory, later=0):
    process = Process(directory, child.pid, machines._birth_of(child.pid) + later)
    return Machine(process, platform_named("station"), Image(directory / "image"), 2222)


def test_a_machine_is_known_again(child, tmp_path):
    machine = machine_of(child, tmp_path)
    machine.remember()
    assert found_in(tmp_path) == machine
    assert found_in(tmp_path).access.port == 2222


def test_a_machine_without_a_monitor_is_ended_all_the_same(child, tmp_path):
    machine = machine_of(child, tmp_path)
    machine.remember()
    machine.process.stop()
    assert child.wait(5) == -9
    assert found_in(tmp_path) is None


def test_a_process_that_got_the_number_later_is_left_alone(child, tmp_path):
    stranger = machine_of(child, tmp_path, later=-1)
    stranger.remember()
    assert process_in(tmp_path) is None
    stranger.process.stop()
    assert child.poll() is None


def test_a_failure_ends_the_machine_that_was_started_for_it(child, tmp_path):
    def interrupted():
        with stopped_on_failure(machine_of(child, tmp_path)):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert child.wait(5) == -9


def test_a_machine_of_another_version_of_the_lab_can_still_be_ended(child, tmp_path):
    machine_of(child, tmp_path).remember()
    state = tmp_path / "machine.json"
    state.write_text(state.read_text().replace('"os_drives"', '"formerly_called"'))
    with pytest.raises(LabError, match="script/lab down"):
        found_in(tmp_path)
    process_in(tmp_path).stop()
    assert child.wait(5) == -9


def test_nothing_is_found_where_nothing_was_started(tmp_path):
    assert found_in(tmp_path) is None


def test_an_emulator_that_does_not_start_is_quoted(monkeypatch, tmp_path):
    emulator = tmp_path / "qemu"
    emulator.write_text("#!/bin/sh\necho 'qemu: -machine q35: not today' >&2\nexit 1\n")
    emulator.chmod(0o755)
    monkeypatch.setenv("DGXOPS_LAB_QEMU", str(emulator))
    with pytest.raises(LabError, match="not today"):
        start(tmp_path, platform_named("station"), Image(tmp_path), 2222)


def test_an_emulator_that_is_missing_is_named(monkeypatch, tmp_path):
    monkeypatch.setenv("DGXOPS_LAB_QEMU", "qemu-of-tomorrow")
    with pytest.raises(LabError, match="qemu-of-tomorrow is not installed"):
        start(tmp_path, platform_named("station"), Image(tmp_path), 2222)


def test_only_a_machine_with_the_adapter_runs_in_another_emulator(monkeypatch):
    plain = platform_named("station")
    monkeypatch.delenv("DGXOPS_LAB_QEMU", raising=False)
    monkeypatch.setenv("DGXOPS_LAB_QEMU_SRIOV", "/cache/qemu")
    assert [qemu(platform) for platform in (plain, plain._replace(adapter=True))] == ["qemu-system-x86_64", "/cache/qemu"]
    monkeypatch.setenv("DGXOPS_LAB_QEMU", "/mine/qemu")
    assert [qemu(platform) for platform in (plain, plain._replace(adapter=True))] == ["/mine/qemu", "/mine/qemu"]
