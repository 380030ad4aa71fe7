# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What the libvirt modules have in common, for their documentation."""


class ModuleDocFragment:
    """The connection to libvirt."""

    DOCUMENTATION = r"""
options:
  uri:
    description:
      - Which libvirt to talk to, as a libvirt connection URI.
    type: str
    default: qemu:///system
requirements:
  - python3-libvirt (the libvirt bindings of the Python that runs the module)
"""
