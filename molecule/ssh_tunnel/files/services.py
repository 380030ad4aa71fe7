# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""services PORT...: on each port of the loopback, takes what comes until its end, and answers with this host's name, the port and a checksum."""
import hashlib
import socket
import socketserver
import sys
import threading


class Service(socketserver.StreamRequestHandler):
    def handle(self):
        digest = hashlib.sha256(self.rfile.read()).hexdigest()
        self.wfile.write("{0} {1} {2}\n".format(socket.gethostname(), self.server.server_address[1], digest).encode())


class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True


servers = [Server(("127.0.0.1", int(port)), Service) for port in sys.argv[1:]]
for server in servers[1:]:
    threading.Thread(target=server.serve_forever, daemon=True).start()
servers[0].serve_forever()
