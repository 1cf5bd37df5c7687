//! Push setups, compact data, status mapping, register monitor and the plain values of class 1.

use cosem::{Data, DataAccessError};

use super::Meter;
use super::catalogue::{
    COMPACT, CONSUMER_MESSAGE, DEVICE_NAME, FIRMWARE_ID, Flow, INVOCATION_COUNTER, Name, SERIAL,
};
use super::measure::to_u32;
use crate::fault::Kind as Fault;
use crate::push::{CLOCK, EXPORT, IMPORT, STATUS};

/// wPort that a push goes to, as in `concentrator`.
const PUSH_CLIENT: u8 = 102;
/// Types of the cells of the compact data: octet-string of 12, u32, u32.
const TEMPLATE: [u8; 5] = [0x02, 3, 0x09, 0x06, 0x06];

impl Meter<'_> {
    /// Values of class 1 that stand alone.
    pub(super) fn plain(&self, name: Name) -> Result<Data, DataAccessError> {
        Ok(match name {
            DEVICE_NAME | SERIAL => Data::octets(self.model.serial.as_bytes()),
            FIRMWARE_ID => Data::octets(&self.firmware()),
            INVOCATION_COUNTER => Data::U32(self.moment.counter),
            STATUS => Data::U8(self.date_time(self.moment.now_s).status),
            CONSUMER_MESSAGE => Data::octets(b""),
            _ => return Err(DataAccessError::ObjectUndefined),
        })
    }

    /// Attributes of a push setup as they left the factory.
    pub(super) fn push_setup(purpose: u8, attribute: i8) -> Result<Data, DataAccessError> {
        let object = |class: u16, name: &Name| {
            Data::Structure(vec![Data::U16(class), Data::octets(name), Data::I8(2), Data::U16(0)])
        };
        let setup = [0, purpose, 25, 9, 0, 255];
        Ok(match attribute {
            2 => Data::Array(match purpose {
                4 => vec![
                    object(1, &DEVICE_NAME),
                    object(40, &setup),
                    object(1, &[0, 0, 97, 98, 20, 255]),
                ],
                7 => vec![object(1, &DEVICE_NAME), object(40, &setup)],
                _ => vec![
                    object(1, &DEVICE_NAME),
                    object(40, &setup),
                    object(8, &CLOCK),
                    object(3, &IMPORT),
                    object(3, &EXPORT),
                ],
            }),
            // TCP, to the association that ordered it, A-XDR encoded.
            3 => Data::Structure(vec![Data::Enum(0), Data::octets(b""), Data::Enum(0)]),
            4 | 10 => Data::Array(Vec::new()),
            5 | 7 => Data::U16(0),
            6 => Data::U8(0),
            8 => Data::octets(&[]),
            9 => Data::I8(PUSH_CLIENT as i8),
            _ => return Err(DataAccessError::ObjectUndefined),
        })
    }

    /// The body of a push: the values of the setup's object list. A register is followed by its
    /// scaler and unit, unless the fault `missing-scaler` leaves them out.
    #[must_use]
    pub fn push_body(&mut self, purpose: u8) -> Data {
        let setup = [0, purpose, 25, 9, 0, 255];
        let list = self.current(40, setup, 2);
        let mut values = Vec::new();
        for object in list.as_array().unwrap_or(&[]) {
            let Ok(column) = cosem::class::profile::CaptureObject::from_data(object) else {
                continue;
            };
            let attribute = column.attribute;
            let name = attribute.logical_name.0;
            if name == setup {
                values.push(Data::octets(&name));
                continue;
            }
            values.push(self.current(attribute.class, name, attribute.attribute));
            if attribute.class == 3 && !self.plays(Fault::MissingScaler) {
                values.push(self.current(3, name, 3));
            }
        }
        Data::Structure(values)
    }

    /// Attributes of the compact data: time, A+ and A-, without their tags.
    pub(super) fn compact(&self, attribute: i8) -> Result<Data, DataAccessError> {
        Ok(match attribute {
            2 => {
                let registers = self.registers(self.moment.now_s);
                let template = self.current(62, COMPACT, 4).as_u64().unwrap_or(1);
                let mut buffer = vec![u8::try_from(template).unwrap_or(1), 12];
                buffer.extend(self.date_time(self.moment.now_s).to_octets());
                for flow in [Flow::Import, Flow::Export] {
                    buffer.extend(to_u32(registers.of(flow)).to_be_bytes());
                }
                Data::octets(&buffer)
            }
            3 => {
                let object = |class: u16, name: &Name| {
                    Data::Structure(vec![
                        Data::U16(class),
                        Data::octets(name),
                        Data::I8(2),
                        Data::U16(0),
                    ])
                };
                Data::Array(vec![object(8, &CLOCK), object(3, &IMPORT), object(3, &EXPORT)])
            }
            4 => Data::U8(1),
            5 => Data::octets(&TEMPLATE),
            6 => Data::Enum(0),
            _ => return Err(DataAccessError::ObjectUndefined),
        })
    }

    /// Attributes of the status mapping: switch, clock, battery and tariff as bits, and what each
    /// bit means.
    pub(super) fn mapping(&self, attribute: i8) -> Result<Data, DataAccessError> {
        let connected = self.switch_state() == super::switch::State::Connected;
        let errors = self.errors();
        let rate = self.rate_now();
        Ok(match attribute {
            2 => {
                let clock = errors & 1;
                let battery = errors >> 1 & 1;
                let rate = u32::from(rate - 1) << 3;
                Data::U8((u32::from(connected) | clock << 1 | battery << 2 | rate) as u8)
            }
            3 => {
                Data::Structure(vec![Data::U8(1), Data::Array((0..5_u16).map(Data::U16).collect())])
            }
            _ => return Err(DataAccessError::ObjectUndefined),
        })
    }

    /// Attributes of the alarm monitor.
    pub(super) fn monitor(attribute: i8) -> Result<Data, DataAccessError> {
        Ok(match attribute {
            2 => Data::Array(vec![Data::U32(0)]),
            3 => Data::Structure(vec![
                Data::U16(1),
                Data::octets(&[0, 0, 97, 98, 20, 255]),
                Data::I8(2),
            ]),
            4 => {
                let script = |selector| {
                    let table = Data::octets(&[0, 0, 10, 0, 108, 255]);
                    Data::Structure(vec![table, Data::U16(selector)])
                };
                Data::Array(vec![Data::Structure(vec![script(1), script(0)])])
            }
            _ => return Err(DataAccessError::ObjectUndefined),
        })
    }
}
