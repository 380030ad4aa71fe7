# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Whether a clock is really kept: what the bus tells, what a server answers, and what is said if something is wrong."""
import contextlib
import socket
import struct
import threading
import time

import pytest

from ansible_collections.dgxops.fleet.plugins.module_utils.host import timesync
from ansible_collections.dgxops.fleet.plugins.module_utils.host.commands import Recorded, Result
from ansible_collections.dgxops.fleet.plugins.module_utils.host.errors import FleetError

#: systemd 252 of Debian 12 in a container beside a chrony server, recorded on 2026-11-23.
BUS = """\
s "time01"
(iay) 2 4 127 0 0 1
(uuuuittayttttbtt) 0 4 4 8 -26 0 0 4 127 127 1 1 1795404222223378 1795404222223555 1795404222223766 1795404222223966 false 3 0
as 1 "time01"
as 2 "0.debian.pool.ntp.org" "1.debian.pool.ntp.org"
as 0
"""
#: The same before any server has answered.
ALONE = """\
s "time09"
(iay) 2 4 10 89 1 9
(uuuuittayttttbtt) 0 0 0 0 0 0 0 0 0 0 0 0 false 0 0
as 2 "time09" "time08"
as 0
as 0
"""
NOBODY = ALONE.replace('"time09"\n(iay) 2 4 10 89 1 9', '""\n(iay) 0 0', 1)

SHOW = ("systemctl", "show", "--property=ActiveState,StatusText", timesync.SERVICE)
ASK = timesync._ASK


def host(bus, active="active", status="", rc=0):
    return Recorded({SHOW: Result(0, "ActiveState={0}\nStatusText={1}\n".format(active, status), ""), ASK: Result(rc, bus, "")})


@contextlib.contextmanager
def server(ahead=0.0, stratum=2, first=0x24, cut=48, echo=True):
    """A time server on this machine whose clock is so many seconds ahead; yields its port."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as door:
        door.bind(("127.0.0.1", 0))
        door.settimeout(5)

        def answer():
            with contextlib.suppress(OSError):
                while True:
                    asked, client = door.recvfrom(1024)
                    now = timesync._stamp(time.time() + ahead)
                    origin = list(struct.unpack("!2I", asked[40:48])) if echo else [1, 2]
                    door.sendto(struct.pack("!BBbb11I", first, stratum, 0, 0, 0, 0, 0, 0, 0, *(origin + now + now))[:cut], client)

        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        yield door.getsockname()[1]


def test_a_clock_that_is_kept_is_told_with_server_packets_and_offset():
    with server() as port:
        reading = timesync.read(host(BUS), port)
    told = reading.to_dict()
    assert (told["server"], told["address"], told["packets"], told["stratum"]) == ("time01", "127.0.0.1", 3, 2)
    assert (told["servers"], told["fallback_servers"]) == (["time01"], ["0.debian.pool.ntp.org", "1.debian.pool.ntp.org"])
    assert abs(told["offset_ms"]) < 1000
    assert timesync.problem_of(reading) == ""


@pytest.mark.parametrize("ahead, word", [(5, "behind"), (-5, "ahead of")])
def test_a_clock_that_is_off_is_told_with_direction_and_limit(ahead, word):
    with server(ahead=ahead) as port:
        reading = timesync.read(host(BUS), port)
    assert abs(reading.offset_ms + ahead * 1000) < 1000
    assert word + " time01 (127.0.0.1); at most 100 ms" in timesync.problem_of(reading, 100)
    assert timesync.problem_of(reading) == ""


def test_a_service_that_does_not_run_is_not_started_by_asking_it():
    commands = host(BUS, active="inactive")
    assert "is not running" in timesync.problem_of(timesync.read(commands))
    assert commands.asked == [SHOW]


@pytest.mark.parametrize("bus, said", [(ALONE, "It asks time09, time08."), (NOBODY, "It asks time09, time08.")])
def test_servers_that_never_answered_are_named(bus, said):
    assert said in timesync.problem_of(timesync.read(host(bus)))


def test_no_server_at_all_is_told():
    assert "none is configured" in timesync.problem_of(timesync.read(host(NOBODY.replace('as 2 "time09" "time08"', "as 0"))))


@pytest.mark.parametrize("status, contact", [
    ("Synchronized to time server 91.189.89.198:123 (ntp.ubuntu.com).", timesync.Contact("ntp.ubuntu.com", "91.189.89.198")),
    ("Synchronized to time server for the first time 91.189.89.198:123 (ntp.ubuntu.com).", timesync.Contact("ntp.ubuntu.com", "91.189.89.198")),
    ("Contacted time server [2001:db8::1]:123 (time01).", timesync.Contact("time01", "2001:db8::1")),
    ("Idle.", None),
])
def test_an_older_systemd_tells_its_server_in_its_status_text(status, contact):
    """systemd 237 of Ubuntu 18.04 has nothing on the bus."""
    assert timesync.parse_bus(Result(1, "", "The name org.freedesktop.timesync1 was not provided"), status).contact == contact


def test_a_server_of_an_older_systemd_is_asked_for_the_time_too():
    commands = host("", status="Synchronized to time server 127.0.0.1:123 (time01).", rc=1)
    with server() as port:
        reading = timesync.read(commands, port)
    assert (reading.to_dict()["packets"], timesync.problem_of(reading, 1000)) == (None, "")


def test_an_address_of_version_6_is_read():
    words = "(iay) 10 16 32 1 13 184 0 0 0 0 0 0 0 0 0 0 0 1"
    assert timesync.parse_bus(Result(0, BUS.replace("(iay) 2 4 127 0 0 1", words), "")).contact.address == "2001:db8::1"


@pytest.mark.parametrize("behaviour, said", [
    ({"first": 0xE4}, "its own clock is not set"),
    ({"stratum": 0}, "its own clock is not set"),
    ({"stratum": 16}, "its own clock is not set"),
    ({"echo": False}, "something else than it was asked"),
    ({"first": 0x23}, "something else than it was asked"),
    ({"cut": 12}, "12 bytes"),
])
def test_an_answer_that_is_no_time_is_not_believed(behaviour, said):
    with server(**behaviour) as port:
        reading = timesync.read(host(BUS), port)
    assert reading.answer is None and said in timesync.problem_of(reading)


def test_a_server_that_went_away_is_told_although_timesyncd_once_had_its_answers():
    with server() as port:
        pass
    assert "time01 (127.0.0.1) does not answer any more" in timesync.problem_of(timesync.read(host(BUS), port))


def test_silence_has_an_end():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as door:
        door.bind(("127.0.0.1", 0))
        with pytest.raises(FleetError, match="no answer within 0.1 s"):
            timesync.measure("127.0.0.1", door.getsockname()[1], 0.1)


def test_waiting_ends_with_the_first_answer_or_the_limit():
    clock = [0.0]
    waits = []

    def sleep(seconds):
        waits.append(seconds)
        clock[0] += seconds
        if len(waits) == 3:
            commands.answers[ASK] = Result(0, BUS, "")

    commands = host(ALONE)
    with server() as port:
        assert timesync.observe(commands, 60, None, lambda: clock[0], sleep, port).answer
    assert clock[0] == 3
    clock[0] = 0.0
    assert timesync.observe(host(ALONE), 10, None, lambda: clock[0], sleep).answer is None
    assert clock[0] == 10


@pytest.mark.parametrize("moment", [0.0, 1795404222.25, 2085978495.5, 2085978497.75, 4102444800.0])
@pytest.mark.parametrize("ahead", [-100000.0, -0.25, 0.0, 0.5, 7200.0])
def test_offset_and_delay_come_from_the_four_times_also_when_the_count_of_seconds_starts_anew(moment, ahead):
    """It does on 7 February 2036."""
    there = timesync._stamp(moment + ahead + 0.125)
    reply = struct.pack("!BBbb11I", 0x24, 1, 0, 0, 0, 0, 0, 0, 0, *(timesync._stamp(moment) + there + there))
    answer = timesync.parse_answer(reply, moment, moment + 0.25)
    assert (answer.offset, answer.delay) == (pytest.approx(ahead, abs=1e-6), pytest.approx(0.25, abs=1e-6))
