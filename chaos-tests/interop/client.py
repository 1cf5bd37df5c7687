"""Reads a Holdfast simulator's directly dialled meter with the Python package gurux-dlms: a client that others wrote.

Prints one JSON line {"register": value, "columns": n, "rows": n, "last": [a_plus, a_minus], "zone": minutes,
"shifted": true, "denied": true} or fails.

usage: client.py --port P --auth none|lls|hls3|hls4|hls5|hls6 [--hdlc PHYSICAL] [--server-sap 1] [--secret TEXT]
                 [--guek HEX --gak HEX]
"""
import argparse
import datetime
import json
import socket

from gurux_dlms import GXByteBuffer, GXReplyData
from gurux_dlms import GXDLMSClient
from gurux_dlms.enums import Authentication, DataType, ErrorCode, InterfaceType, Security
from gurux_dlms.objects import GXDLMSClock, GXDLMSProfileGeneric, GXDLMSRegister
from gurux_dlms.secure import GXDLMSSecureClient

MECHANISM = {
    "none": Authentication.NONE, "lls": Authentication.LOW, "hls3": Authentication.HIGH_MD5,
    "hls4": Authentication.HIGH_SHA1, "hls5": Authentication.HIGH_GMAC, "hls6": Authentication.HIGH_SHA256,
}


class Session:
    def __init__(self, args):
        secret = args.secret if args.auth not in ("none", "hls5") else None
        sap, server, kind = args.client_sap, args.server_sap, InterfaceType.WRAPPER
        if args.hdlc is not None:
            server, kind = GXDLMSClient.getServerAddress(args.server_sap, args.hdlc), InterfaceType.HDLC
        self.client = GXDLMSSecureClient(True, sap, server, MECHANISM[args.auth], secret, kind)
        if args.auth == "hls6":
            # The titles of both sides are part of what is proved.
            self.client.ciphering.systemTitle = b"HFDINTER"
        if args.auth == "hls5":
            ciphering = self.client.ciphering
            ciphering.systemTitle = b"HFDINTER"
            ciphering.blockCipherKey = bytes.fromhex(args.guek)
            ciphering.authenticationKey = bytes.fromhex(args.gak)
            ciphering.security = Security.AUTHENTICATION_ENCRYPTION
            ciphering.invocationCounter = int(datetime.datetime.now().timestamp()) & 0x7FFFFFFF
        self.socket = socket.create_connection(("127.0.0.1", args.port), timeout=5)

    def ask(self, frame):
        reply, notify, received = GXReplyData(), GXReplyData(), GXByteBuffer()
        self.socket.sendall(bytes(frame))
        while True:
            octets = self.socket.recv(4096)
            if not octets:
                raise ConnectionError("the meter closed the connection")
            received.set(octets)
            if self.client.getData(received, reply, notify):
                if not reply.isMoreData():
                    return reply
                self.socket.sendall(bytes(self.client.receiverReady(reply)))
                received = GXByteBuffer()

    def associate(self, auth):
        if self.client.interfaceType == InterfaceType.HDLC:
            self.client.parseUAResponse(self.ask(self.client.snrmRequest()).data)
        self.client.parseAareResponse(self.ask(self.client.aarqRequest()[0]).data)
        if auth.startswith("hls"):
            for frame in self.client.getApplicationAssociationRequest():
                self.client.parseApplicationAssociationResponse(self.ask(frame).data)

    def value(self, target, index):
        return self.client.updateValue(target, index, self.ask(self.client.read(target, index)[0]).value)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--auth", choices=sorted(MECHANISM), required=True)
    parser.add_argument("--hdlc", type=int)
    parser.add_argument("--client-sap", type=int, default=1)
    parser.add_argument("--server-sap", type=int, default=1)
    parser.add_argument("--secret", default="")
    parser.add_argument("--guek", default="")
    parser.add_argument("--gak", default="")
    parser.add_argument("--hours", type=int, default=10)
    args = parser.parse_args()
    session = Session(args)
    session.associate(args.auth)
    register = GXDLMSRegister("1.0.1.8.0.255")
    session.value(register, 3)
    total = session.value(register, 2)
    profile = GXDLMSProfileGeneric("1.0.99.1.0.255")
    session.value(profile, 3)
    until = datetime.datetime.now()
    since = until - datetime.timedelta(hours=args.hours)
    rows = session.client.readRowsByRange(profile, since, until)[0]
    table = session.client.updateValue(profile, 2, session.ask(rows).value)
    # Another zone and back again, a shift by nothing, and a reset that no meter allows.
    clock = GXDLMSClock("0.0.1.0.0.255")
    for zone in (-60, 0):
        clock.timeZone = zone
        session.ask(session.client.write(clock, 3)[0])
        seen = session.value(clock, 3)
        if seen != zone:
            raise ValueError(f"the zone is {seen}, not {zone}")
    session.ask(session.client.method(clock, 6, 0, DataType.INT16)[0])
    reply = session.ask(session.client.method(register, 1, 0, DataType.INT8)[0])
    denied = reply.error == ErrorCode.READ_WRITE_DENIED
    last = [cell for cell in table[-1] if isinstance(cell, int)] if table else []
    print(json.dumps(
        {"register": total, "columns": len(profile.captureObjects), "rows": len(table), "last": last[-2:],
         "zone": zone, "shifted": True, "denied": denied}))


if __name__ == "__main__":
    main()
