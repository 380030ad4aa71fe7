# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""netplan's own examples, on a host that has their adapters: each is taken and written again with the same meaning, or refused for a reason.

`script/corpus` fetches them from the source package of the distribution; script/test does that by itself.
"""
import glob
import os
import re

import pytest

from ansible_collections.dgxops.fleet.plugins.module_utils.host.errors import FleetError
from ansible_collections.dgxops.fleet.plugins.module_utils.network.netplan import KINDS, merged
from ansible_collections.dgxops.fleet.plugins.module_utils.network.netplan_change import Text, decide
from ansible_collections.dgxops.fleet.plugins.module_utils.network.netplan_host import documents, read
from ansible_collections.dgxops.fleet.plugins.module_utils.network.netplan_links import Link

from .lab_netplan import NetHost, host_below, wish

CHECKOUT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.realpath(__file__))))))
CORPUS = os.path.join(os.environ.get("DGXOPS_CORPUS") or os.path.join(CHECKOUT, ".cache", "corpus"), "netplan.io")
EXAMPLES = sorted(glob.glob(os.path.join(CORPUS, "*.yaml")))

#: Examples that are refused, and why. What is in none of our kinds, or has a password, belongs in a file of its own.
REFUSED = {
    "dhcp_wired8021x.yaml": "auth, which holds a password",
    "ipv6_tunnel.yaml": "network has tunnels",
    "modem.yaml": "network has modems",
    "openvswitch.yaml": "network has openvswitch",
    "vrf.yaml": "network has vrfs",
    "vxlan.yaml": "network has tunnels",
    "wireguard.yaml": "network has tunnels",
    "wireless.yaml": "network has wifis",
    "wpa_enterprise.yaml": "network has wifis",
}


def example(path):
    with open(path) as handle:
        text = handle.read()
    return documents({"/etc/netplan/50-example.yaml": Text(text)}, NetHost())[0]


def host_of(document, tmp_path):
    """A host with the adapters that the example speaks of."""
    links = {}
    for number, (name, one) in enumerate(sorted(merged([document]).items())):
        if one.virtual:
            continue
        match = one.match or {}
        link = re.sub(r"\*|\[(.).*\]", r"\1", str(one.settings.get("set-name") or match.get("name", name)))
        mac = str(match.get("macaddress", "52:54:00:00:00:{0:02x}".format(number))).lower()
        links[link] = Link(link, mac=mac, driver=str(match.get("driver", "")), max_vfs=16)
    return host_below(tmp_path, NetHost(links), {})


@pytest.mark.skipif(not os.path.isdir(CORPUS), reason="script/corpus has not been run")
def test_there_are_examples():
    assert len(EXAMPLES) > 20


@pytest.mark.parametrize("path", EXAMPLES, ids=os.path.basename)
def test_an_example_means_the_same_after_we_wrote_it_or_is_refused_for_a_reason(path, tmp_path):
    document = example(path)
    host = host_of(document, tmp_path)
    name = os.path.basename(path)
    try:
        asked = wish(dict(document.network))
        text = decide(asked, read(asked, host)).files[asked.path].text
    except FleetError as refusal:
        assert name in REFUSED, refusal.message
        assert REFUSED[name] in refusal.message
        return
    assert name not in REFUSED
    again = documents({asked.path: Text(text)}, NetHost())[0]
    before = {one.name: one for one in merged([document]).values()}
    for one in merged([again]).values():
        said = before[one.name].settings if one.name in before else {}
        for key, value in said.items():
            if key != "parameters":
                assert _spelled(one.settings[key]) == _spelled(value), (one.name, key)
    assert set(document.network) <= set(KINDS) | {"version", "renderer"}


def _spelled(value):
    if isinstance(value, dict):
        return {key: _spelled(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [_spelled(entry) for entry in value]
    return {"yes": "true", "no": "false"}.get(str(value).lower(), str(value))
