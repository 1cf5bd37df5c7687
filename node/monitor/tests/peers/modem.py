"""A GSM modem on a pseudo-terminal, with a codec of its own, in Python's standard library alone.

Arguments: link, log. The link is made to point at the terminal; every message that is sent goes as
a JSON line to the log. Orders come on standard input, a line each:

    fail CODE TIMES      the next TIMES messages end with +CMS ERROR: CODE
    silent SECONDS       no answer to anything
    network N            what +CREG? says: 1 home, 2 searching
    receive NUMBER TEXT  a message comes in
    pin DIGITS           the SIM wants this PIN from now on
"""
import json
import os
import pty
import select
import sys
import time
import tty

BASIC = (
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞ\x1bÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?"
    "¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà"
)
EXTENSION = {0x14: "^", 0x28: "{", 0x29: "}", 0x2F: "\\", 0x3C: "[", 0x3D: "~", 0x3E: "]",
             0x40: "|", 0x65: "€"}


def septets(octets, skip_bits, count):
    number = int.from_bytes(octets, "little") >> skip_bits
    return [(number >> (7 * nth)) & 0x7F for nth in range(count)]


def letters(codes):
    text, escaped = "", False
    for code in codes:
        if escaped:
            text, escaped = text + EXTENSION.get(code, " "), False
        elif code == 0x1B:
            escaped = True
        else:
            text += BASIC[code]
    return text


def number_of(octets, digits, kind):
    halves = "".join(f"{octet & 15:x}{octet >> 4:x}" for octet in octets)[:digits]
    return ("+" if kind == 0x91 else "") + halves


def semi(number):
    digits = number.lstrip("+")
    padded = digits + ("F" if len(digits) % 2 else "")
    swapped = "".join(padded[at + 1] + padded[at] for at in range(0, len(padded), 2))
    return f"{len(digits):02X}{'91' if number.startswith('+') else '81'}{swapped}"


def read_submit(pdu):
    """A SUBMIT as {to, text, part, report}; the octets must be exactly as long as they say."""
    octets = bytes.fromhex(pdu)
    octets = octets[1 + octets[0]:]
    first, digits, kind = octets[0], octets[2], octets[3]
    assert first & 3 == 1, "not a SUBMIT"
    after = 4 + (digits + 1) // 2
    to = number_of(octets[4:after], digits, kind)
    coding = octets[after + 1]
    after += 2 + {0: 0, 2: 1, 1: 7, 3: 7}[(first >> 3) & 3]
    length, data = octets[after], octets[after + 1:]
    header = data[: data[0] + 1] if first & 0x40 else b""
    part = list(header[3:6]) if header[:3] == bytes([5, 0, 3]) else None
    if coding & 0x0C == 8:
        assert len(data) == length, "wrong length"
        text = data[len(header):].decode("utf-16-be")
    else:
        assert len(data) == (length * 7 + 7) // 8, "wrong length"
        used = (len(header) * 8 + 6) // 7
        text = letters(septets(data, used * 7, length - used))
    return {"to": to, "text": text, "part": part, "report": bool(first & 0x20), "coding": coding}


def deliver(number, text):
    body = text.encode("utf-16-be")
    return f"0004{semi(number)}0008{'42110321436500'}{len(body):02X}{body.hex().upper()}"


class Modem:
    def __init__(self, link, log):
        self.master, slave = pty.openpty()
        tty.setraw(slave)
        tty.setraw(self.master)
        self.slave = slave
        if os.path.islink(link):
            os.unlink(link)
        os.symlink(os.ttyname(slave), link)
        self.log = log
        self.echo, self.network, self.reference = True, 1, 0
        self.fail_code, self.fail_times, self.silent_until = 0, 0, 0.0
        self.pin, self.store, self.waiting, self.buffer = None, {}, None, b""

    def say(self, text):
        os.write(self.master, text.encode())

    def line(self, *lines):
        for line in lines:
            self.say(f"\r\n{line}\r\n")

    def order(self, order):
        words = order.split(" ", 2)
        if words[0] == "fail":
            self.fail_code, self.fail_times = int(words[1]), int(words[2])
        elif words[0] == "silent":
            self.silent_until = time.time() + float(words[1])
        elif words[0] == "network":
            self.network = int(words[1])
        elif words[0] == "pin":
            self.pin = words[1]
        elif words[0] == "receive":
            index = max(self.store, default=0) + 1
            self.store[index] = deliver(words[1], words[2])
            self.line(f'+CMTI: "SM",{index}')

    def feed(self, octets):
        if time.time() < self.silent_until:
            return
        self.buffer += octets
        while self.buffer:
            if self.waiting is not None:
                ends = [at for at in (self.buffer.find(b"\x1a"), self.buffer.find(b"\x1b")) if at >= 0]
                if not ends:
                    return
                end = min(ends)
                pdu, sent = self.buffer[:end].decode(), self.buffer[end] == 0x1A
                self.buffer = self.buffer[end + 1:]
                length, self.waiting = self.waiting, None
                if sent:
                    self.submit(pdu.strip(), length)
                continue
            self.buffer = self.buffer.lstrip(b"\x1b\x1a\n")
            end = self.buffer.find(b"\r")
            if end < 0:
                return
            command = self.buffer[:end].decode("ascii", "replace").strip()
            self.buffer = self.buffer[end + 1:]
            if self.echo:
                self.say(command + "\r")
            if command:
                self.command(command)

    def submit(self, pdu, length):
        if self.fail_times > 0:
            self.fail_times -= 1
            return self.line(f"+CMS ERROR: {self.fail_code}")
        if self.network not in (1, 5):
            return self.line("+CMS ERROR: 331")
        try:
            centre = bytes.fromhex(pdu)[0]
            assert len(pdu) // 2 - 1 - centre == length, "not as long as announced"
            message = read_submit(pdu)
        except (AssertionError, ValueError, IndexError, KeyError) as fault:
            print("bad PDU", pdu, fault, file=sys.stderr, flush=True)
            return self.line("+CMS ERROR: 304")
        self.reference = (self.reference + 1) % 256
        with open(self.log, "a", encoding="utf-8") as out:
            out.write(json.dumps(message, ensure_ascii=False) + "\n")
        self.line(f"+CMGS: {self.reference}", "OK")
        if message["report"]:
            head = f"0006{self.reference:02X}{semi(message['to'])}"
            self.line("+CDS: 25", head + "42110321436500" + "42110321436500" + "00")

    def command(self, text):
        upper = text.upper()
        if not upper.startswith("AT"):
            return self.line("ERROR")
        what = upper[2:]
        plain = {"", "Z", "+CMGF=0", "+CMEE=1", "+CMEE=2", "+CREG=0", "+CREG=1", "+CREG=2", "H",
                 "E0", "E1", "E0V1", "&D2", "+CNMA", "+CSMS=0", "+CSMS=1"}
        told = {
            "I": "Holdfast test modem", "+CGMI": "Holdfast", "+CGMM": "PTY", "+CGMR": "1.0",
            "+CGSN": "490154203237518", "+CIMI": "214010000000001",
            "+CREG?": f"+CREG: 0,{self.network}", "+CSQ": "+CSQ: 20,99",
            "+COPS?": '+COPS: 0,2,"21401"', "+CSMS?": "+CSMS: 0,1,1,1", "+CMGF?": "+CMGF: 0",
            "+CSCA?": '+CSCA: "+34600000000",145', "+CSCS?": '+CSCS: "GSM"',
            "+CPMS?": "+CPMS: " + ",".join([f'"SM",{len(self.store)},20'] * 3), "+CMGF=?": "+CMGF: (0)",
            "+CSCS=?": '+CSCS: ("GSM","UCS2","HEX")', "+CNMI=?": "+CNMI: (0-2),(0,1),(0),(0,1),(0)",
            "+CPMS=?": '+CPMS: ("SM"),("SM"),("SM")', "+CNMI?": "+CNMI: 2,1,0,1,0",
        }
        if what.startswith("E"):
            self.echo = what.startswith("E1")
        if what == "+CPIN?":
            return self.line("+CPIN: SIM PIN" if self.pin else "+CPIN: READY", "OK")
        if what.startswith("+CPIN="):
            if what[6:].strip('"') != self.pin:
                return self.line("+CME ERROR: 16")
            self.pin = None
            return self.line("OK")
        if what.startswith("+CMGS="):
            self.waiting = int(what[6:])
            return self.say("\r\n> ")
        if what.startswith("+CMGL"):
            for index, pdu in sorted(self.store.items()):
                self.line(f"+CMGL: {index},0,,{len(pdu) // 2 - 1}", pdu)
            return self.line("OK")
        if what.startswith("+CMGR="):
            pdu = self.store.get(int(what[6:]))
            if pdu is None:
                return self.line("+CMS ERROR: 321")
            return self.line(f"+CMGR: 0,,{len(pdu) // 2 - 1}", pdu, "OK")
        if what.startswith("+CMGD="):
            self.store.pop(int(what[6:].split(",")[0]), None)
            return self.line("OK")
        if what.startswith("+CPMS="):
            return self.line("+CPMS: " + ",".join([f"{len(self.store)},20"] * 3), "OK")
        if what in told:
            return self.line(told[what], "OK")
        # Several orders in one line (V.250, 5.2.4), as far as they only set something.
        if ";" in what and all(part in plain for part in what.split(";")):
            return self.line("OK")
        if what in plain or what.startswith(("+CNMI=", "+CFUN=", "+CSCS=", "+CSCA=")):
            return self.line("OK")
        self.line("ERROR")

    def run(self):
        orders = b""
        watched = [self.master, 0]
        print("ready", flush=True)
        while True:
            ready, _, _ = select.select(watched, [], [], 1)
            if self.master in ready:
                try:
                    self.feed(os.read(self.master, 4096))
                except OSError:
                    time.sleep(0.1)
            if 0 in ready:
                octets = os.read(0, 4096)
                if not octets:
                    watched.remove(0)
                orders += octets
                while b"\n" in orders:
                    order, orders = orders.split(b"\n", 1)
                    self.order(order.decode())


Modem(sys.argv[1], sys.argv[2]).run()
