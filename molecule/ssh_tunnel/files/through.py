# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""through PORT,PORT... COMMAND...: open tunnels by a command, send a megabyte into each port of this machine, and say who answered."""
import hashlib
import os
import socket
import subprocess
import sys
import time

ports = [int(port) for port in sys.argv[1].split(",")]
payload = os.urandom(1 << 20)


def answer(port):
    with socket.create_connection(("localhost", port), timeout=20) as connection:
        connection.sendall(payload)
        connection.shutdown(socket.SHUT_WR)
        name, far, digest = connection.makefile().read().split()
    assert digest == hashlib.sha256(payload).hexdigest(), "the bytes did not arrive as they were sent"
    return "{0}:{1}".format(name, far)


def listening(port):
    try:
        socket.create_connection(("localhost", port), timeout=1).close()
    except OSError:
        return False
    return True


tunnel = subprocess.Popen(sys.argv[2:], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
try:
    limit = time.monotonic() + 30
    while not listening(ports[-1]) and tunnel.poll() is None and time.monotonic() < limit:
        # PuTTY asks for each of the two servers whether its key is right, and takes one line for an answer.
        os.write(tunnel.stdin.fileno(), b"y\n")
        time.sleep(1)
    if tunnel.poll() is not None:
        sys.exit(tunnel.stdout.read().decode())
    print(" ".join(answer(port) for port in ports))
finally:
    tunnel.kill()
