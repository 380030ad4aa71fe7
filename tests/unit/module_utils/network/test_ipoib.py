"""IPoIB interfaces on a root of files that behaves like /sys/class/net."""
import os

import pytest

from ansible_collections.dgxops.fleet.plugins.module_utils.host import records
from ansible_collections.dgxops.fleet.plugins.module_utils.host.errors import FleetError
from ansible_collections.dgxops.fleet.plugins.module_utils.host.sysfs import Sysfs
from ansible_collections.dgxops.fleet.plugins.module_utils.network import ipoib


@pytest.fixture
def host(tmp_path):
    interfaces = {"ib0": {"type": "32", "mode": "datagram", "mtu": "2044"}, "ib1": {"type": "32", "mtu": "2044"}, "eth0": {"type": "1", "mtu": "1500"}}
    for name, files in interfaces.items():
        place = tmp_path / "sys/class/net" / name
        place.mkdir(parents=True)
        for key, text in files.items():
            (place / key).write_text(text + "\n")
    (tmp_path / "etc/udev/rules.d").mkdir(parents=True)
    return Sysfs(str(tmp_path))


def wish(*interfaces, **options):
    return ipoib.Wish.from_params(dict({"interfaces": list(interfaces), "mode": "connected", "mtu": None, "state": "present"}, **options))


def run(host, wanted):
    change = ipoib.decide(wanted, ipoib.read(wanted, host))
    ipoib.carry_out(change, host)
    return change


def now(host, name):
    return host.read("sys/class/net/{0}/mode".format(name)), host.read("sys/class/net/{0}/mtu".format(name))


def test_mode_and_mtu_are_set_and_kept_and_given_back(host):
    assert run(host, wish("ib0")) and now(host, "ib0") == ("connected", "65520")
    assert 'KERNEL=="ib0", ACTION=="add", SUBSYSTEM=="net", ATTR{mode}="connected", ATTR{mtu}="65520"' in host.read(ipoib.RULE)
    assert not run(host, wish("ib0"))
    assert run(host, wish(state="absent")) and now(host, "ib0") == ("datagram", "2044")
    assert not run(host, wish(state="absent")) and host.read(ipoib.RULE) is None and not os.path.exists(records.place(ipoib.RECORD, host.root))


def test_an_interface_that_is_no_longer_named_is_given_back(host):
    run(host, wish("ib0"))
    run(host, wish("ib1", mode="datagram", mtu=4092))
    assert now(host, "ib0") == ("datagram", "2044") and now(host, "ib1") == (None, "4092") and "mode" not in host.read(ipoib.RULE)


@pytest.mark.parametrize("names, options, said", [
    (["ib1"], {}, "knows no connected mode.*ipoib_enhanced"), (["eth0"], {}, "eth0 is no IPoIB interface of this host. It has ib0, ib1"),
    (["ib9"], {}, "no IPoIB interface"), (["ib0"], {"mode": "datagram", "mtu": 9000}, "from 68 to 4092"), (["ib0"], {"mtu": 70000}, "from 68 to 65520"),
    (["../x"], {}, "the name of an interface"),
])
def test_what_cannot_be_is_refused(host, names, options, said):
    with pytest.raises(FleetError, match=said):
        run(host, wish(*names, **options))


def test_a_refused_mtu_puts_the_mode_back(host, monkeypatch):
    real = open

    def refuse(place, mode="r"):
        handle = real(place, mode)
        if place.endswith("mtu") and mode == "w":
            write = handle.write
            monkeypatch.setattr(ipoib, "open", real, raising=False)
            write("2044\n")
            handle.close()
            raise OSError(22, "Invalid argument")
        return handle

    monkeypatch.setattr(ipoib, "open", refuse, raising=False)
    with pytest.raises(FleetError, match="refused the mtu 65520 for ib0: Invalid argument.*as they were"):
        run(host, wish("ib0"))
    assert now(host, "ib0") == ("datagram", "2044") and host.read(ipoib.RULE) is None


def test_a_damaged_record_is_told(host):
    run(host, wish("ib0"))
    with open(records.place(ipoib.RECORD, host.root), "w") as handle:
        handle.write('{"ib0": 1}')
    with pytest.raises(FleetError, match="ipoib.json is damaged"):
        run(host, wish(state="absent"))
