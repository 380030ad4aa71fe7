"""Makes the sysfs of a DGX-1's adapters below /srv/dgx-1; `make_dgx_1 reboot` lets each port become what its firmware says."""
import json
import os
import sys

ROOT = "/srv/dgx-1"
ADAPTERS = {"0000:05:00.0": "mlx5_0", "0000:0b:00.0": "mlx5_1", "0000:84:00.0": "mlx5_2", "0000:8a:00.0": "mlx5_3"}
LAYERS = {"1": "InfiniBand", "2": "Ethernet"}


def put(path, text):
    place = os.path.join(ROOT, path)
    os.makedirs(os.path.dirname(place), exist_ok=True)
    with open(place, "w", encoding="ascii") as handle:
        handle.write(text + "\n")


def main():
    state = os.path.join(ROOT, "firmware.json")
    if sys.argv[1:] == ["reboot"]:
        with open(state, encoding="ascii") as handle:
            firmware = json.load(handle)
    else:
        firmware = {address: {"KEEP_IB_LINK_UP_P1": "False(0)", "LINK_TYPE_P1": "1", "SRIOV_EN": "False(0)"} for address in ADAPTERS}
        put("firmware.json", json.dumps(firmware))
    for address, name in ADAPTERS.items():
        own = "sys/bus/pci/devices/" + address
        put(own + "/vendor", "0x15b3")
        put("{0}/infiniband/{1}/ports/1/link_layer".format(own, name), LAYERS[firmware[address]["LINK_TYPE_P1"]])
        os.makedirs(os.path.join(ROOT, "sys/class/infiniband"), exist_ok=True)
        link = os.path.join(ROOT, "sys/class/infiniband", name)
        if not os.path.lexists(link):
            os.symlink("../../devices/pci0000:00/{0}/infiniband/{1}".format(address, name), link)


main()
