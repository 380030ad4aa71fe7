"""Stands between the programs and ibsim, and does what a kernel does for a program that asks the fabric: asks again, and says so when there is no answer.

ibsim passes packets on, and a lost one stays lost: OpenSM, which leaves time-outs to the kernel (umad_send(3)), would wait for its answer for ever. Here each
request is kept until its answer comes. The answer to a trap, TrapRepress, is not for ibsim, which drops it, but for the program that sent the trap. A program
that is gone is signed off, as a kernel does when it closes the program's files.
"""
import selectors
import socket
import struct
import time

#: Ports of ibsim (its option -l) and of this: the first is for control, each of the next ten for one program.
BEHIND, FRONT, PROGRAMS = 8070, 7070, 10
#: Seconds until a request is sent again, and how often, as OpenSM asks of a kernel (transaction_timeout, transaction_retries).
AGAIN, TRIES = 0.3, 4

# ibsim.h: struct sim_ctl (magic, client, type, length, 64 bytes of data), struct sim_request (addresses, status, length, the packet of 256 bytes).
CONTROL = struct.Struct("=IIII64s")
MAGIC, CONNECT, DISCONNECT, SET_ISSM = 0xDEADBEEF, 1, 2, 9
# ibsim writes the number of who asks into the first two bytes of the number of the question.
STATUS, METHOD, ASKER, NUMBER = slice(16, 20), 32 + 3, slice(32 + 8, 32 + 10), slice(32 + 10, 32 + 16)
TIMED_OUT = struct.pack("!I", 110)
ANSWER, SEND, TRAP_REPRESS = 0x80, 3, 7


class Program:
    """A program at the fabric: its own socket, and the one that ibsim knows it by."""

    def __init__(self, number, address, behind, others):
        self.number, self.behind, self.others, self.waiting = number, behind, others, {}
        self.front = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.front.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.front.bind(("", FRONT + number + 1))
        self.front.connect(address)
        self.behind.connect(("127.0.0.1", BEHIND + number + 1))

    def asks(self):
        """Pass on what the program sends, and remember what wants an answer."""
        packet = self.front.recv(512)
        if packet[METHOD] == TRAP_REPRESS:
            asker = self.others.get(int.from_bytes(packet[ASKER], "big"))
            if asker:
                asker.answer(packet)
            return
        if not packet[METHOD] & ANSWER and packet[METHOD] != SEND:
            self.waiting[packet[NUMBER]] = (packet, time.monotonic() + AGAIN, 1)
        self.behind.send(packet)

    def is_told(self):
        """Pass on what comes for the program."""
        packet = self.behind.recv(512)
        if packet[METHOD] & ANSWER or packet[STATUS] != bytes(4):
            self.answer(packet)
        else:
            self.front.send(packet)

    def answer(self, packet):
        """Pass on an answer, but one that is no longer waited for."""
        if self.waiting.pop(packet[NUMBER], None):
            self.front.send(packet)

    def look(self, now):
        """Ask again, or give up."""
        for number, (packet, due, tries) in list(self.waiting.items()):
            if now < due:
                continue
            if tries < TRIES:
                self.waiting[number] = (packet, now + AGAIN, tries + 1)
                self.behind.send(packet)
            else:
                del self.waiting[number]
                print("no answer for", self.number, packet[32:40].hex(), flush=True)
                self.front.send(packet[:STATUS.start] + TIMED_OUT + packet[STATUS.stop:])

    def close(self):
        self.front.close()
        self.behind.close()


class Fabric:
    """All programs, and the way to ibsim."""

    def __init__(self):
        self.programs, self.selector = {}, selectors.DefaultSelector()
        self.front = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.front.bind(("", FRONT))
        self.behind = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.behind.connect(("127.0.0.1", BEHIND))
        self.behind.settimeout(5)
        self.selector.register(self.front, selectors.EVENT_READ, self.control)

    def control(self):
        """Pass on a word to ibsim itself, and its answer. Who connects gets a socket of his own on both sides."""
        packet, address = self.front.recvfrom(512)
        magic, client, kind, length, data = CONTROL.unpack(packet)
        if kind == CONNECT:
            behind = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            behind.bind(("127.0.0.1", 0))
            port = struct.unpack_from("=I", data)[0]
            packet = CONTROL.pack(magic, client, kind, length, struct.pack("=I", behind.getsockname()[1]) + data[4:])
        answer = self.ask(packet)
        if kind == CONNECT:
            number = struct.unpack_from("=I", CONTROL.unpack(answer)[4])[0]
            self.forget(number)
            program = self.programs[number] = Program(number, (address[0], port), behind, self.programs)
            self.selector.register(program.front, selectors.EVENT_READ, lambda: self.safely(program, program.asks))
            self.selector.register(program.behind, selectors.EVENT_READ, lambda: self.safely(program, program.is_told))
        elif kind == DISCONNECT:
            self.forget(client)
        self.front.sendto(answer, address)

    def ask(self, packet):
        self.behind.send(packet)
        return self.behind.recv(512)

    def safely(self, program, step, *arguments):
        """Take a step for a program, or sign it off if it turns out to be gone."""
        try:
            step(*arguments)
        except ConnectionRefusedError:
            if self.programs.get(program.number) is program:
                print("gone:", program.number, flush=True)
                self.ask(CONTROL.pack(MAGIC, program.number, SET_ISSM, 4, bytes(64)))
                self.ask(CONTROL.pack(MAGIC, program.number, DISCONNECT, 0, bytes(64)))
                self.forget(program.number)

    def forget(self, number):
        program = self.programs.pop(number, None)
        if program:
            self.selector.unregister(program.front)
            self.selector.unregister(program.behind)
            program.close()

    def run(self):
        while True:
            for key, _events in self.selector.select(AGAIN / 2):
                if key.fileobj.fileno() >= 0:  # it may have been closed by the one before
                    key.data()
            now = time.monotonic()
            for program in list(self.programs.values()):
                self.safely(program, program.look, now)


if __name__ == "__main__":
    Fabric().run()
