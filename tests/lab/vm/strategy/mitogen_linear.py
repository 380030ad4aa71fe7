# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Mitogen's strategy, wherever pip has put it: it keeps one Python running in the machine, where starting one takes a second under emulation.

For the lab only. The collection neither needs nor recommends it.
"""

from ansible.plugins.strategy.linear import StrategyModule as Linear
from ansible_mitogen.strategy import StrategyMixin


class StrategyModule(StrategyMixin, Linear):
    """Ansible's linear strategy over Mitogen's connections."""
