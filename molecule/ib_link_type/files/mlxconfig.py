"""Answers as mlxconfig of MFT 4.22 does, for the adapters of /srv/dgx-1, and keeps what is set in /srv/dgx-1/firmware.json."""
import json
import sys

STATE = "/srv/dgx-1/firmware.json"
NAMES = {"1": "IB(1)", "2": "ETH(2)", "3": "VPI(3)"}


def main(words):
    with open("/srv/dgx-1/calls", "a", encoding="ascii") as calls:
        calls.write(" ".join(words) + "\n")
    device = words[words.index("-d") + 1]
    with open(STATE, encoding="ascii") as handle:
        firmware = json.load(handle)
    if device not in firmware:
        sys.exit("-E- Failed to open the device\n")
    head = "\nDevice #1:\n----------\n\nDevice type:    ConnectX4\nName:           MCX455A-ECA_Ax\nDevice:         {0}\n\n".format(device)
    if "set" in words:
        parameter, _equals, value = words[-1].partition("=")
        if device == "0000:0b:00.0":
            print(head + "-E- Failed to set the configuration: the flash is write protected")
            sys.exit(3)
        firmware[device][parameter] = value
        with open(STATE, "w", encoding="ascii") as handle:
            json.dump(firmware, handle)
        print(head + "Applying... Done!\n-I- Please reboot machine to load new configurations.")
    else:
        print(head + "Configurations:                              Next Boot")
        for parameter, value in sorted(firmware[device].items()):
            print("         {0:<36}{1}".format(parameter, NAMES.get(value, value)))


main(sys.argv[1:])
