"""Reads a Holdfast simulator's direct meter with the Python package dlms-cosem (its own DlmsClient and transports).

Prints one JSON line {"register": value, "rows": n, "shifted": true, "denied": true} or fails.

usage: dlms_cosem_client.py --port P --auth none|lls|hls5 [--hdlc PHYSICAL] [--secret TEXT] [--guek HEX --gak HEX]

What the package does by itself and what is done about it here, never in our code:
* `DlmsClient.get` with a selective access writes the range with `datetime_to_bytes`, which wants aware times.
* `HdlcTransport` reads a frame until the next flag, so it needs two flags between frames or one shared;
  our side sends one flag at either end.
"""
import argparse
import datetime
import json

from dlms_cosem import cosem, enumerations, utils
from dlms_cosem.client import ActionError, DlmsClient
from dlms_cosem.cosem.selective_access import CaptureObject, RangeDescriptor
from dlms_cosem.dlms_data import IntegerData, LongData
from dlms_cosem.io import BlockingTcpIO, HdlcTransport, TcpTransport
from dlms_cosem.security import (
    HighLevelSecurityGmacAuthentication, LowLevelSecurityAuthentication, NoSecurityAuthentication)

CLOCK = cosem.CosemAttribute(enumerations.CosemInterface.CLOCK, cosem.Obis(0, 0, 1, 0, 0), 2)
REGISTER = cosem.CosemAttribute(enumerations.CosemInterface.REGISTER, cosem.Obis(1, 0, 1, 8, 0), 2)
PROFILE = cosem.CosemAttribute(enumerations.CosemInterface.PROFILE_GENERIC, cosem.Obis(1, 0, 99, 1, 0), 2)
SHIFT = cosem.CosemMethod(enumerations.CosemInterface.CLOCK, cosem.Obis(0, 0, 1, 0, 0), 6)
ENERGY_RESET = cosem.CosemMethod(enumerations.CosemInterface.REGISTER, cosem.Obis(1, 0, 1, 8, 0), 1)


def transport(args):
    io = BlockingTcpIO(host="127.0.0.1", port=args.port, timeout=10)
    if args.hdlc is None:
        return TcpTransport(args.client_sap, args.server_sap, io)
    return HdlcTransport(
        client_logical_address=args.client_sap, server_logical_address=args.server_sap,
        server_physical_address=args.hdlc, io=io)


def client(args):
    settings = {}
    if args.auth == "none":
        authentication = NoSecurityAuthentication()
    elif args.auth == "lls":
        authentication = LowLevelSecurityAuthentication(secret=args.secret.encode())
    else:
        authentication = HighLevelSecurityGmacAuthentication()
        settings = {
            "encryption_key": bytes.fromhex(args.guek), "authentication_key": bytes.fromhex(args.gak),
            "client_system_title": b"HFDINTR2",
            "client_initial_invocation_counter": int(datetime.datetime.now().timestamp()) & 0x7FFFFFFF,
        }
    return DlmsClient(transport=transport(args), authentication=authentication, **settings)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--auth", choices=["none", "lls", "hls5"], required=True)
    parser.add_argument("--hdlc", type=int)
    parser.add_argument("--client-sap", type=int, default=1)
    parser.add_argument("--server-sap", type=int, default=1)
    parser.add_argument("--secret", default="")
    parser.add_argument("--guek", default="")
    parser.add_argument("--gak", default="")
    args = parser.parse_args()
    with client(args).session() as meter:
        register = utils.parse_as_dlms_data(meter.get(REGISTER))
        until = datetime.datetime.now(datetime.timezone.utc)
        column = CaptureObject(cosem_attribute=CLOCK, data_index=0)
        chosen = RangeDescriptor(
            restricting_object=column, from_value=until - datetime.timedelta(hours=10), to_value=until)
        rows = utils.parse_as_dlms_data(meter.get(PROFILE, access_descriptor=chosen))
        meter.action(SHIFT, LongData(0).to_bytes())
        try:
            meter.action(ENERGY_RESET, IntegerData(0).to_bytes())
            denied = False
        except ActionError:
            denied = True
    print(json.dumps({"register": register, "rows": len(rows), "shifted": True, "denied": denied}))


if __name__ == "__main__":
    main()
