//! Values and APDUs of every kind, made from a seed: what the differential test puts through both
//! codecs. Nothing is checked here.

use bytes::Bytes;
use cosem::acse::{
    Aare, Aarq, ApplicationContext, AssociateResult, Diagnostic, Mechanism, Release,
};
use cosem::apdu::access::{
    AccessOutcome, AccessRequest, AccessResponse, AccessSpecification as Specification,
};
use cosem::apdu::action::{ActionAnswer, ActionRequest, ActionResponse};
use cosem::apdu::set::Block;
use cosem::apdu::{
    ConfirmedServiceError, Conformance, DataNotification, EventNotification, ExceptionResponse,
    GeneralBlock, GeneralCiphering, GeneralHeader, GeneralSigning, GetRequest, GetResponse,
    InitiateRequest, InitiateResponse, InvokePriority, KeyInfo, LongInvokePriority, Protected,
    ServiceFault, SetRequest, SetResponse,
};
use cosem::compact::{CompactArray, TypeDescription};
use cosem::data::BitString;
use cosem::datetime::{Date, DateTime, Time};
use cosem::{Apdu, AttributeRef, Data, DataAccessError, MethodRef, SecurityControl, Selection};

use crate::corpus::Chance;

/// Kinds of APDU that `apdu` makes.
pub(crate) const KINDS: usize = 38;

/// Kinds of simple values that `data` makes.
const SIMPLE: usize = 28;

/// The maker: the same seed makes the same things.
pub(crate) struct Made(pub(crate) Chance);

impl Made {
    fn yes(&mut self) -> bool {
        self.0.below(2) == 0
    }

    fn u8(&mut self) -> u8 {
        self.octets_of::<1>()[0]
    }

    fn u16(&mut self) -> u16 {
        u16::from_be_bytes(self.octets_of())
    }

    fn u32(&mut self) -> u32 {
        u32::from_be_bytes(self.octets_of())
    }

    /// Octets, of which limits are as likely as all others together.
    fn octets_of<const N: usize>(&mut self) -> [u8; N] {
        const LIMITS: [u8; 4] = [0, 0x7f, 0x80, 0xff];
        std::array::from_fn(|_| match self.0.below(2) {
            0 => LIMITS[self.0.below(4)],
            _ => u8::try_from(self.0.below(256)).unwrap(),
        })
    }

    /// Octets around the lengths where their encoding changes.
    pub(crate) fn octets(&mut self) -> Bytes {
        let length = [0, 1, 7, 12, 20, 127, 128, 200][self.0.below(8)];
        (0..length).map(|_| self.u8()).collect()
    }

    fn list<T>(&mut self, mut one: impl FnMut(&mut Self) -> T) -> Vec<T> {
        let count = self.0.below(5);
        (0..count).map(|_| one(self)).collect()
    }

    fn maybe<T>(&mut self, one: impl FnOnce(&mut Self) -> T) -> Option<T> {
        if self.yes() { Some(one(self)) } else { None }
    }

    fn simple(&mut self, kind: usize) -> Data {
        match kind {
            0 => Data::Null,
            1 => Data::Boolean(self.yes()),
            2 => Data::BitString(BitString::new(&self.list(Self::yes))),
            3 => Data::I32(i32::from_be_bytes(self.octets_of())),
            4 => Data::U32(self.u32()),
            5 => Data::OctetString(self.octets()),
            6 => Data::VisibleString(self.octets()),
            7 => Data::Utf8(self.octets()),
            8 => Data::Bcd(self.u8()),
            9 => Data::I8(i8::from_be_bytes(self.octets_of())),
            10 => Data::I16(i16::from_be_bytes(self.octets_of())),
            11 => Data::U8(self.u8()),
            12 => Data::U16(self.u16()),
            13 => Data::I64(i64::from_be_bytes(self.octets_of())),
            14 => Data::U64(u64::from_be_bytes(self.octets_of())),
            15 => Data::Enum(self.u8()),
            // From whole numbers, so that equality of floats says what it should.
            16 => Data::F32(f32::from(i16::from_be_bytes(self.octets_of()))),
            17 => Data::F64(f64::from(i32::from_be_bytes(self.octets_of()))),
            18 => Data::DateTime(DateTime::from_octets(self.octets_of())),
            19 => Data::Date(Date::from_octets(self.octets_of())),
            20 => Data::Time(Time::from_octets(self.octets_of())),
            21 => Data::DeltaI8(i8::from_be_bytes(self.octets_of())),
            22 => Data::DeltaI16(i16::from_be_bytes(self.octets_of())),
            23 => Data::DeltaI32(i32::from_be_bytes(self.octets_of())),
            24 => Data::DeltaU8(self.u8()),
            25 => Data::DeltaU16(self.u16()),
            26 => Data::DeltaU32(self.u32()),
            _ => Data::DontCare,
        }
    }

    /// A compact array of structures of three.
    fn compact(&mut self) -> Data {
        let of = [0x06, 0x09, 0x12].map(TypeDescription::Simple).to_vec();
        let rows = self.list(|made| {
            Data::Structure(vec![
                Data::U32(made.u32()),
                Data::OctetString(made.octets()),
                Data::U16(made.u16()),
            ])
        });
        Data::CompactArray(CompactArray::new(TypeDescription::Structure(of), rows).unwrap())
    }

    /// Any value, with at most `depth` lists around it.
    pub(crate) fn data(&mut self, depth: usize) -> Data {
        match self.0.below(10) {
            0 | 1 if depth > 0 => Data::Array(self.list(|made| made.data(depth - 1))),
            2 | 3 if depth > 0 => Data::Structure(self.list(|made| made.data(depth - 1))),
            4 => self.compact(),
            _ => {
                let kind = self.0.below(SIMPLE);
                self.simple(kind)
            }
        }
    }

    fn value(&mut self) -> Data {
        self.data(2)
    }

    fn attribute(&mut self) -> AttributeRef {
        AttributeRef::new(self.u16(), self.octets_of(), i8::from_be_bytes(self.octets_of()))
    }

    fn method(&mut self) -> MethodRef {
        MethodRef::new(self.u16(), self.octets_of(), i8::from_be_bytes(self.octets_of()))
    }

    fn selection(&mut self) -> Option<Selection> {
        self.maybe(|made| Selection { selector: made.u8(), parameters: made.value() })
    }

    fn invoke(&mut self) -> InvokePriority {
        InvokePriority(self.u8())
    }

    fn long_invoke(&mut self) -> LongInvokePriority {
        LongInvokePriority(self.u32())
    }

    fn refusal(&mut self) -> DataAccessError {
        DataAccessError::from_octet(
            [1, 2, 3, 4, 9, 11, 12, 13, 14, 15, 16, 17, 250][self.0.below(13)],
        )
    }

    fn done(&mut self) -> Result<(), DataAccessError> {
        if self.yes() { Ok(()) } else { Err(self.refusal()) }
    }

    fn got(&mut self) -> Result<Data, DataAccessError> {
        if self.yes() { Ok(self.value()) } else { Err(self.refusal()) }
    }

    fn answer(&mut self) -> ActionAnswer {
        ActionAnswer { result: self.done(), returned: self.maybe(Self::got) }
    }

    fn block(&mut self) -> Block {
        Block { last: self.yes(), number: self.u32(), octets: self.octets() }
    }

    fn date_time(&mut self) -> Option<DateTime> {
        self.maybe(|made| DateTime::from_octets(made.octets_of()))
    }

    /// The date-time of ACCESS: 12 octets or none.
    fn date_octets(&mut self) -> Bytes {
        self.date_time().map(|time| Bytes::copy_from_slice(&time.to_octets())).unwrap_or_default()
    }

    fn attributes(&mut self) -> Vec<(AttributeRef, Option<Selection>)> {
        self.list(|made| (made.attribute(), made.selection()))
    }

    /// Without selections: before those of ACCESS the other codec has a flag which the standard
    /// (IEC 62056-5-3, Access-Request-Get-With-Selection) has not.
    fn specifications(&mut self) -> Vec<Specification> {
        self.list(|made| match made.0.below(3) {
            0 => Specification::Get(made.attribute(), None),
            1 => Specification::Set(made.attribute(), None),
            _ => Specification::Action(made.method()),
        })
    }

    fn values_for<T>(&mut self, list: &[T]) -> Vec<Data> {
        list.iter().map(|_| self.value()).collect()
    }

    fn get(&mut self, kind: usize) -> Apdu {
        let invoke = self.invoke();
        match kind {
            0 => Apdu::GetRequest(GetRequest::Normal {
                invoke,
                attribute: self.attribute(),
                selection: self.selection(),
            }),
            1 => Apdu::GetRequest(GetRequest::Next { invoke, block: self.u32() }),
            2 => Apdu::GetRequest(GetRequest::WithList { invoke, list: self.attributes() }),
            3 => Apdu::GetResponse(GetResponse::Normal { invoke, result: self.got() }),
            4 => {
                let result = if self.yes() { Ok(self.octets()) } else { Err(self.refusal()) };
                let (last, block) = (self.yes(), self.u32());
                Apdu::GetResponse(GetResponse::Block { invoke, last, block, result })
            }
            _ => {
                let results = self.list(Self::got);
                Apdu::GetResponse(GetResponse::WithList { invoke, results })
            }
        }
    }

    fn set(&mut self, kind: usize) -> Apdu {
        let invoke = self.invoke();
        let request = match kind {
            0 => SetRequest::Normal {
                invoke,
                attribute: self.attribute(),
                selection: self.selection(),
                value: self.value(),
            },
            1 => SetRequest::FirstBlock {
                invoke,
                attribute: self.attribute(),
                selection: self.selection(),
                block: self.block(),
            },
            2 => SetRequest::Block { invoke, block: self.block() },
            3 => {
                let list = self.attributes();
                let values = self.values_for(&list);
                SetRequest::WithList { invoke, list, values }
            }
            4 => {
                let list = self.attributes();
                SetRequest::WithListFirstBlock { invoke, list, block: self.block() }
            }
            5 => {
                return Apdu::SetResponse(SetResponse::Normal { invoke, result: self.done() });
            }
            6 => return Apdu::SetResponse(SetResponse::Block { invoke, block: self.u32() }),
            7 => {
                let (result, block) = (self.done(), self.u32());
                return Apdu::SetResponse(SetResponse::LastBlock { invoke, result, block });
            }
            8 => {
                let (results, block) = (self.list(Self::done), self.u32());
                return Apdu::SetResponse(SetResponse::LastBlockWithList {
                    invoke,
                    results,
                    block,
                });
            }
            _ => {
                let results = self.list(Self::done);
                return Apdu::SetResponse(SetResponse::WithList { invoke, results });
            }
        };
        Apdu::SetRequest(request)
    }

    fn action(&mut self, kind: usize) -> Apdu {
        let invoke = self.invoke();
        let request = match kind {
            0 => ActionRequest::Normal {
                invoke,
                method: self.method(),
                parameters: self.maybe(Self::value),
            },
            1 => ActionRequest::Next { invoke, block: self.u32() },
            2 => {
                let list = self.list(Self::method);
                let parameters = self.values_for(&list);
                ActionRequest::WithList { invoke, list, parameters }
            }
            3 => {
                let (method, block) = (self.method(), self.block());
                ActionRequest::FirstBlock { invoke, method, block }
            }
            4 => {
                let (list, block) = (self.list(Self::method), self.block());
                ActionRequest::WithListFirstBlock { invoke, list, block }
            }
            5 => ActionRequest::Block { invoke, block: self.block() },
            6 => {
                let answer = self.answer();
                return Apdu::ActionResponse(ActionResponse::Normal { invoke, answer });
            }
            7 => {
                return Apdu::ActionResponse(ActionResponse::Block { invoke, block: self.block() });
            }
            8 => {
                let answers = self.list(Self::answer);
                return Apdu::ActionResponse(ActionResponse::WithList { invoke, answers });
            }
            _ => return Apdu::ActionResponse(ActionResponse::Next { invoke, block: self.u32() }),
        };
        Apdu::ActionRequest(request)
    }

    fn notification(&mut self, kind: usize) -> Apdu {
        match kind {
            0 => {
                let (invoke, time, data) = (self.long_invoke(), self.date_time(), self.value());
                Apdu::DataNotification(DataNotification::new(invoke, time, data))
            }
            1 => {
                let (time, attribute, value) = (self.date_time(), self.attribute(), self.value());
                Apdu::EventNotification(EventNotification { time, attribute, value })
            }
            2 => {
                let fault = match self.0.below(3) {
                    0 => ServiceFault::NotSupported,
                    1 => ServiceFault::Deciphering,
                    _ => ServiceFault::InvocationCounter { expected: self.u32() },
                };
                let service_unknown = self.yes();
                Apdu::ExceptionResponse(ExceptionResponse { service_unknown, fault })
            }
            _ => {
                let (service, class, error) =
                    ([1, 5, 6][self.0.below(3)], [0, 1, 6][self.0.below(3)], self.0.below(4));
                let error = u8::try_from(error).unwrap();
                Apdu::ConfirmedServiceError(ConfirmedServiceError { service, class, error })
            }
        }
    }

    fn access(&mut self, is_request: bool) -> Apdu {
        let (invoke, date_time, list) =
            (self.long_invoke(), self.date_octets(), self.specifications());
        let values = self.values_for(&list);
        if is_request {
            return Apdu::AccessRequest(AccessRequest { invoke, date_time, list, values });
        }
        let outcomes = list
            .iter()
            .map(|of| match of {
                Specification::Get(..) => AccessOutcome::Get(self.done()),
                Specification::Set(..) => AccessOutcome::Set(self.done()),
                Specification::Action(_) => AccessOutcome::Action(self.done()),
            })
            .collect();
        let list = if self.yes() { Some(list) } else { None };
        Apdu::AccessResponse(AccessResponse { invoke, date_time, list, values, outcomes })
    }

    fn header(&mut self) -> GeneralHeader {
        GeneralHeader {
            transaction: self.octets(),
            originator: Bytes::copy_from_slice(&self.octets_of::<8>()),
            recipient: Bytes::copy_from_slice(&self.octets_of::<8>()),
            date_time: self.date_octets(),
            other: self.octets(),
        }
    }

    fn carrier(&mut self, kind: usize) -> Apdu {
        let (control, counter) = (SecurityControl::BOTH, self.u32());
        match kind {
            0 => Apdu::GeneralBlock(GeneralBlock {
                control: self.u8(),
                block: self.u16(),
                acknowledged: self.u16(),
                octets: self.octets(),
            }),
            1 => {
                let tag = [0x21, 0x28, 0xc8, 0xc9, 0xcb, 0xcc, 0xcd, 0xcf, 0xd0, 0xd4, 0xd7];
                let tag = tag[self.0.below(11)];
                let content = self.octets();
                Apdu::Protected(Protected { tag, title: None, control, counter, content })
            }
            2 => {
                let (tag, title) = ([0xdb, 0xdc][self.0.below(2)], Some(self.octets_of()));
                let content = self.octets();
                Apdu::Protected(Protected { tag, title, control, counter, content })
            }
            3 => {
                let key = self.maybe(|made| match made.0.below(3) {
                    0 => KeyInfo::Identified(made.u8() & 1),
                    1 => KeyInfo::Wrapped(0, made.octets()),
                    _ => KeyInfo::Agreed { parameters: made.octets(), data: made.octets() },
                });
                let (header, content) = (self.header(), self.octets());
                Apdu::GeneralCiphering(GeneralCiphering { header, key, control, counter, content })
            }
            _ => {
                let (header, content, signature) = (self.header(), self.octets(), self.octets());
                Apdu::GeneralSigning(GeneralSigning { header, content, signature })
            }
        }
    }

    fn initiate(&mut self, is_request: bool) -> Apdu {
        let conformance = Conformance(self.u32() & 0x00ff_ffff);
        let max_pdu = self.u16();
        if is_request {
            return Apdu::InitiateRequest(InitiateRequest {
                dedicated_key: self.maybe(|made| made.octets_of::<16>().to_vec().into()),
                ..InitiateRequest::new(conformance, max_pdu)
            });
        }
        Apdu::InitiateResponse(InitiateResponse {
            quality_of_service: None,
            version: 6,
            conformance,
            max_pdu,
            vaa_name: 7,
        })
    }

    fn association(&mut self, kind: usize) -> Apdu {
        let context = ApplicationContext::LOGICAL_NAME;
        let title = |made: &mut Self| Bytes::copy_from_slice(&made.octets_of::<8>());
        let authentication = self.maybe(|made| Bytes::copy_from_slice(&made.octets_of::<16>()));
        let mechanism = authentication.as_ref().map(|_| Mechanism(5));
        let is_request = kind == 0;
        let user_information = Some(self.initiate(is_request).encode().into());
        match kind {
            0 => Apdu::Aarq(Aarq {
                context,
                calling_title: self.maybe(title),
                calling_user: None,
                mechanism,
                authentication,
                user_information,
            }),
            1 => Apdu::Aare(Aare {
                context,
                result: AssociateResult::Accepted,
                diagnostic: Diagnostic::User([0, 1, 14][self.0.below(3)]),
                responding_title: self.maybe(title),
                mechanism,
                authentication,
                user_information,
            }),
            2 => Apdu::Rlrq(Release { reason: Some(0), user_information }),
            _ => Apdu::Rlre(Release { reason: Some(0), user_information }),
        }
    }

    /// An APDU of a kind below `KINDS`.
    pub(crate) fn apdu(&mut self, kind: usize) -> Apdu {
        match kind {
            0..6 => self.get(kind),
            6..16 => self.set(kind - 6),
            16..26 => self.action(kind - 16),
            26..30 => self.notification(kind - 26),
            30 | 31 => self.access(kind == 30),
            32..37 => self.carrier(kind - 32),
            _ => {
                let kind = self.0.below(6);
                if kind < 2 { self.initiate(kind == 0) } else { self.association(kind - 2) }
            }
        }
    }
}
