"""A DLMS/COSEM meter whose octets are made by code that Holdfast's authors did not write.

APDUs are decoded, ciphered and authenticated, data and associations encoded by the Python package dlms-cosem; this file holds
the objects, the order of things and the few octets around a GET answer. TCP, wrapper framing; a clock, A+ and A- registers and a load profile of 15 minutes with
selective access by range and block transfer. Values are a plain function of the interval's end, so that a test knows what must
have been read: with n = interval ends since 2026-01-01 UTC, A+ = 1000000 + 25 n and A- = 3 n, scaler 1 (10 Wh).

usage: meter.py --port P --auth none|lls|hls5 [--secret TEXT] [--guek HEX --gak HEX --title HEX] [--days 3]
"""
import argparse
import datetime
import os
import socket
import struct
import threading

from dlms_cosem import cosem, enumerations as enums, security, utils
from dlms_cosem.dlms_data import (
    DataArray, DataStructure, EnumData, IntegerData, UnsignedLongData, OctetStringData,
    DoubleLongUnsignedData,
)
from dlms_cosem.cosem.selective_access import RangeDescriptor
from dlms_cosem.protocol import acse, xdlms
from dlms_cosem.protocol.acse.user_information import UserInformation
from dlms_cosem.protocol.xdlms.conformance import Conformance
from dlms_cosem.protocol.xdlms.initiate_response import GlobalCipherInitiateResponse
from dlms_cosem.time import datetime_to_bytes

EPOCH = datetime.datetime(2026, 1, 1, tzinfo=datetime.timezone.utc)
STEP = 900
BLOCK = 300
CLOCK, APLUS, AMINUS, PROFILE = "0.0.1.0.0.255", "1.0.1.8.0.255", "1.0.2.8.0.255", "1.0.99.1.0.255"
COUNTER = "0.0.43.1.0.255"
PLAIN = {0xC8: 0xC0, 0xC9: 0xC1, 0xCB: 0xC3}
GLO = {0xC4: 0xCC, 0xC5: 0xCD, 0xC7: 0xCF}


def now():
    return datetime.datetime.now(datetime.timezone.utc)


def last_end():
    return int((now() - EPOCH).total_seconds()) // STEP


def octets(code):
    return bytes(int(part) for part in code.split("."))


class Meter:
    def __init__(self, args):
        self.args = args
        self.secured = args.auth == "hls5"
        self.counter = int(now().timestamp()) & 0x7FFFFFFF
        self.seen = 0
        self.client_title = None
        self.blocks = []
        self.associated = args.auth == "none"
        self.control = security.SecurityControlField(0, authenticated=True, encrypted=True)

    def keys(self):
        return bytes.fromhex(self.args.guek), bytes.fromhex(self.args.gak), bytes.fromhex(self.args.title)

    def seal(self, plain):
        guek, gak, title = self.keys()
        self.counter += 1
        text = security.encrypt(self.control, title, self.counter, guek, plain, gak)
        return self.counter, text

    def open(self, control, counter, text):
        guek, gak, _ = self.keys()
        if counter <= self.seen:
            raise ValueError("invocation counter does not rise")
        plain = security.decrypt(control, self.client_title, counter, guek, text, gak)
        self.seen = counter
        return plain

    def handle(self, source, apdu):
        if apdu[0] == 0x60:
            return self.associate(source, apdu)
        if apdu[0] == 0x62:
            return acse.ReleaseResponse(enums.ReleaseResponseReason.NORMAL).to_bytes()
        if apdu[0] in PLAIN:
            length_octets = 1 if apdu[1] < 0x80 else 1 + (apdu[1] & 0x7F)
            body = apdu[1 + length_octets:]
            control = security.SecurityControlField.from_bytes(body[:1])
            plain = self.open(control, int.from_bytes(body[1:5], "big"), body[5:])
            answer = self.serve(plain)
            counter, text = self.seal(answer)
            body = self.control.to_bytes() + counter.to_bytes(4, "big") + text
            length = bytes([len(body)]) if len(body) < 0x80 else b"\x82" + struct.pack(">H", len(body))
            return bytes([GLO[answer[0]]]) + length + body
        return self.serve(apdu)

    def associate(self, source, apdu):
        request = acse.ApplicationAssociationRequest.from_bytes(apdu)
        self.public = source == 16 and self.secured
        wanted = {
            "none": enums.AuthenticationMechanism.NONE,
            "lls": enums.AuthenticationMechanism.LLS,
            "hls5": enums.AuthenticationMechanism.HLS_GMAC,
        }[self.args.auth]
        got = request.authentication or enums.AuthenticationMechanism.NONE
        good = self.public or got == wanted
        if self.args.auth == "lls" and good:
            good = bytes(request.authentication_value) == self.args.secret.encode()
        result, diagnostic = enums.AssociationResult.ACCEPTED, enums.AcseServiceUserDiagnostics.NULL
        if not good:
            result = enums.AssociationResult.REJECTED_PERMANENT
            diagnostic = enums.AcseServiceUserDiagnostics.AUTHENTICATION_FAILED
        response = xdlms.InitiateResponse(
            negotiated_conformance=Conformance(
                get=True, set=True, action=True, selective_access=True, block_transfer_with_get_or_read=True,
            ),
            server_max_receive_pdu_size=500,
        )
        values = dict(result=result, result_source_diagnostics=diagnostic)
        if self.secured and not self.public and good:
            inner = request.user_information.content
            self.client_title = bytes(request.system_title)
            self.open(inner.security_control, inner.invocation_counter, inner.ciphered_text)
            self.ctos, self.stoc = bytes(request.authentication_value), os.urandom(16)
            counter, text = self.seal(response.to_bytes())
            response = GlobalCipherInitiateResponse(self.control, counter, text)
            values.update(
                ciphered=True, authentication=wanted, system_title=self.keys()[2], authentication_value=self.stoc,
                result_source_diagnostics=enums.AcseServiceUserDiagnostics.AUTHENTICATION_REQUIRED,
            )
        self.associated = good and (self.public or not self.secured)
        return acse.ApplicationAssociationResponse(user_information=UserInformation(response), **values).to_bytes()

    def serve(self, apdu):
        if apdu[0] == 0xC3:
            return self.reply_to_hls(xdlms.ActionRequestNormal.from_bytes(apdu))
        request = xdlms.GetRequestFactory.from_bytes(apdu)
        if isinstance(request, xdlms.GetRequestNext):
            return self.block(request.invoke_id_and_priority, request.block_number)
        invoke = request.invoke_id_and_priority
        data = self.read(request.cosem_attribute, request.access_selection) if self.associated else None
        if data is None:
            return xdlms.GetResponseNormalWithError(enums.DataAccessResult.OBJECT_UNDEFINED, invoke).to_bytes()
        if len(data) <= BLOCK:
            # The package's own GetResponseNormal cannot encode (25.1.0): four octets by hand.
            return b"\xc4\x01" + invoke.to_bytes() + b"\x00" + data
        self.blocks = [data[i:i + BLOCK] for i in range(0, len(data), BLOCK)]
        return self.block(invoke, 0)

    def block(self, invoke, number):
        last = number == len(self.blocks) - 1
        piece = self.blocks[number]
        head = b"\xc4\x02" + invoke.to_bytes() + bytes([last]) + struct.pack(">I", number + 1) + b"\x00"
        return head + b"\x82" + struct.pack(">H", len(piece)) + piece

    def reply_to_hls(self, request):
        guek, gak, title = self.keys()
        reply = utils.parse_as_dlms_data(request.data)
        control = security.SecurityControlField.from_bytes(bytes(reply[:1]))
        counter = int.from_bytes(reply[1:5], "big")
        expected = security.gmac(control, self.client_title, counter, guek, gak, self.stoc)
        invoke = request.invoke_id_and_priority
        if bytes(reply[5:]) != expected:
            return xdlms.ActionResponseNormalWithError(
                enums.ActionResultStatus.OTHER_REASON, enums.DataAccessResult.OTHER_REASON, invoke).to_bytes()
        self.associated = True
        only = security.SecurityControlField(0, authenticated=True, encrypted=False)
        self.counter += 1
        tag = security.gmac(only, title, self.counter, guek, gak, self.ctos)
        data = OctetStringData(only.to_bytes() + self.counter.to_bytes(4, "big") + tag).to_bytes()
        return xdlms.ActionResponseNormalWithData(enums.ActionResultStatus.SUCCESS, data, invoke).to_bytes()

    def read(self, attribute, selection):
        name, index = attribute.instance.to_string(), attribute.attribute
        name = name.replace("-", ".").replace(":", ".")
        n = last_end()
        if name == COUNTER and index == 2:
            return DoubleLongUnsignedData(self.seen).to_bytes()
        if name == CLOCK and index == 2:
            return OctetStringData(datetime_to_bytes(now())).to_bytes()
        if name in (APLUS, AMINUS) and index == 2:
            return DoubleLongUnsignedData(1000000 + 25 * n if name == APLUS else 3 * n).to_bytes()
        if name in (APLUS, AMINUS) and index == 3:
            return DataStructure([IntegerData(1), EnumData(30)]).to_bytes()
        if name == PROFILE and index == 2:
            return self.rows(selection)
        if name == PROFILE and index == 3:
            return DataArray([self.column(8, CLOCK), self.column(3, APLUS), self.column(3, AMINUS)]).to_bytes()
        if name == PROFILE and index == 4:
            return DoubleLongUnsignedData(STEP).to_bytes()
        if name == PROFILE and index in (7, 8):
            return DoubleLongUnsignedData(96 * self.args.days).to_bytes()
        return None

    def column(self, kind, code):
        return DataStructure([
            UnsignedLongData(kind), OctetStringData(octets(code)), IntegerData(2), UnsignedLongData(0)])

    def rows(self, selection):
        last = last_end()
        first = last - 96 * self.args.days + 1
        rows = []
        for n in range(first, last + 1):
            end = EPOCH + datetime.timedelta(seconds=STEP * n)
            if isinstance(selection, RangeDescriptor):
                if not aware(selection.from_value) <= end <= aware(selection.to_value):
                    continue
            rows.append(DataStructure([
                OctetStringData(datetime_to_bytes(end)), DoubleLongUnsignedData(1000000 + 25 * n),
                DoubleLongUnsignedData(3 * n)]))
        return DataArray(rows).to_bytes()


def aware(value):
    return value if value.tzinfo else value.replace(tzinfo=datetime.timezone.utc)


def exactly(connection, count):
    data = b""
    while len(data) < count:
        piece = connection.recv(count - len(data))
        if not piece:
            return None
        data += piece
    return data


def session(connection, args):
    meter = Meter(args)
    with connection:
        while True:
            header = exactly(connection, 8)
            if header is None:
                return
            version, source, destination, length = struct.unpack(">HHHH", header)
            apdu = exactly(connection, length)
            if version != 1 or apdu is None:
                return
            answer = meter.handle(source, apdu)
            connection.sendall(struct.pack(">HHHH", 1, destination, source, len(answer)) + answer)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--auth", choices=["none", "lls", "hls5"], required=True)
    parser.add_argument("--secret", default="")
    parser.add_argument("--guek", default="")
    parser.add_argument("--gak", default="")
    parser.add_argument("--title", default="")
    parser.add_argument("--days", type=int, default=3)
    args = parser.parse_args()
    listener = socket.create_server(("127.0.0.1", args.port))
    print("listening", listener.getsockname()[1], flush=True)
    while True:
        connection, _ = listener.accept()
        threading.Thread(target=session, args=(connection, args), daemon=True).start()


if __name__ == "__main__":
    main()
