# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Stands in for get-pip.py, which ansible-test fetches from a host that not every network lets through.

It takes the same arguments and does the same from Python's own ensurepip and the configured package index.
"""
import ensurepip
import os
import runpy
import sys

NOT_KNOWN_TO_PIP = ("--no-setuptools", "--no-wheel")

environment = dict(os.environ)
ensurepip.bootstrap()
# ensurepip turns the user's configuration of pip off, and with it the index and the certificates.
os.environ.clear()
os.environ.update(environment)
sys.argv = ["pip", "install", "--upgrade"] + [word for word in sys.argv[1:] if word not in NOT_KNOWN_TO_PIP]
runpy.run_module("pip", run_name="__main__", alter_sys=True)
