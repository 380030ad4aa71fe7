# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""hand_out.py ADDRESS DRIVER: give a PCI function to this driver, as libvirt does before it gives it to a guest; "" is its own again."""
import os
import sys

address, driver = sys.argv[1:]
place = "/sys/bus/pci/devices/" + address


def write(path, text):
    with open(path, "w") as handle:
        handle.write(text + "\n")


write(place + "/driver_override", driver)
if os.path.exists(place + "/driver"):
    write(place + "/driver/unbind", address)
write("/sys/bus/pci/drivers_probe", address)
if driver and os.path.basename(os.path.realpath(place + "/driver")) != driver:
    sys.exit("{0} did not take {1}".format(driver, address))
