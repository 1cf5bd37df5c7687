//! Our APDUs in the shape in which the vectors state what they expect, so that whole values are
//! compared and not only fields.

use cosem::acse::{Aare, Aarq, ApplicationContext, AssociateResult, Diagnostic, Release};
use cosem::apdu::access::AccessSpecification;
use cosem::apdu::action::{ActionRequest, ActionResponse};
use cosem::apdu::ciphered::KeyInfo;
use cosem::apdu::get::{GetRequest, GetResponse, GetResult};
use cosem::apdu::set::{Block, SetRequest, SetResponse};
use cosem::apdu::{
    AccessRequest, Body, Conformance, DataNotification, ExceptionResponse, GeneralBlock,
    GeneralCiphering, InitiateRequest, InitiateResponse, Protected, ServiceFault, tag,
};
use cosem::data::Data;
use cosem::{Apdu, AttributeRef, DataAccessError, Selection};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use crate::octets::to_hex;

/// A value as [type name, value].
pub fn data(value: &Data) -> Value {
    let list = |list: &[Data]| Value::Array(list.iter().map(data).collect());
    match value {
        Data::Null => json!(["null-data", null]),
        Data::Array(elements) => json!(["array", list(elements)]),
        Data::Structure(fields) => json!(["structure", list(fields)]),
        Data::CompactArray(array) => json!(["compact-array", list(&array.elements)]),
        Data::Boolean(value) => json!(["boolean", value]),
        Data::BitString(bits) => {
            let text: String = bits.iter().map(|bit| if bit { '1' } else { '0' }).collect();
            json!(["bit-string", text])
        }
        Data::I32(value) => json!(["double-long", value]),
        Data::U32(value) => json!(["double-long-unsigned", value]),
        Data::OctetString(octets) => json!(["octet-string", to_hex(octets)]),
        Data::VisibleString(_) => json!(["visible-string", value.as_text()]),
        Data::Utf8(_) => json!(["utf8-string", value.as_text()]),
        Data::Bcd(value) => json!(["bcd", value]),
        Data::I8(value) => json!(["integer", value]),
        Data::I16(value) => json!(["long", value]),
        Data::U8(value) => json!(["unsigned", value]),
        Data::U16(value) => json!(["long-unsigned", value]),
        Data::I64(value) => json!(["long64", value]),
        Data::U64(value) => json!(["long64-unsigned", value]),
        Data::Enum(value) => json!(["enum", value]),
        Data::F32(value) => json!(["float32", value]),
        Data::F64(value) => json!(["float64", value]),
        Data::DateTime(value) => json!(["date-time", to_hex(&value.to_octets())]),
        other => panic!("no vector holds {other:?}"),
    }
}

/// An APDU as the vectors describe it.
pub fn apdu(apdu: &Apdu) -> Value {
    match apdu {
        Apdu::InitiateRequest(apdu) => initiate_request(apdu),
        Apdu::InitiateResponse(apdu) => initiate_response(apdu),
        Apdu::ConfirmedServiceError(apdu) => json!({
            "apdu": "confirmed-service-error", "service": apdu.service,
            "error_class": apdu.class, "error": apdu.error,
        }),
        Apdu::Aarq(apdu) => aarq(apdu),
        Apdu::Aare(apdu) => aare(apdu),
        Apdu::Rlrq(apdu) => release("rlrq", apdu),
        Apdu::Rlre(apdu) => release("rlre", apdu),
        Apdu::GetRequest(apdu) => get_request(apdu),
        Apdu::GetResponse(apdu) => get_response(apdu),
        Apdu::SetRequest(apdu) => set_request(apdu),
        Apdu::SetResponse(apdu) => set_response(apdu),
        Apdu::ActionRequest(apdu) => action_request(apdu),
        Apdu::ActionResponse(apdu) => action_response(apdu),
        Apdu::EventNotification(event) => {
            let time = event.time.map(|time| to_hex(&time.to_octets()));
            let mut shape = attribute(&event.attribute);
            shape.insert("apdu".into(), json!("event-notification"));
            shape.insert("time".into(), json!(time));
            shape.insert("data".into(), data(&event.value));
            Value::Object(shape)
        }
        Apdu::DataNotification(apdu) => notification(apdu),
        Apdu::ExceptionResponse(apdu) => exception(apdu),
        Apdu::AccessRequest(apdu) => access(apdu),
        Apdu::AccessResponse(apdu) => panic!("no vector holds {apdu:?}"),
        Apdu::Protected(apdu) => protected(apdu),
        Apdu::GeneralCiphering(apdu) => general_ciphering(apdu),
        Apdu::GeneralSigning(_) => panic!("no vector holds general-signing"),
        Apdu::GeneralBlock(apdu) => general_block(apdu),
    }
}

fn object(value: Value) -> Map<String, Value> {
    let Value::Object(map) = value else { panic!("not an object") };
    map
}

fn attribute(of: &AttributeRef) -> Map<String, Value> {
    object(json!({
        "class_id": of.class, "instance": of.logical_name.to_string(), "attribute": of.attribute,
    }))
}

fn selected(of: &AttributeRef, selection: Option<&Selection>) -> Map<String, Value> {
    let mut shape = attribute(of);
    let selection = selection.map(|selection| {
        json!({"selector": selection.selector, "parameters": data(&selection.parameters)})
    });
    shape.insert("access_selection".into(), json!(selection));
    shape
}

fn method(of: &cosem::MethodRef) -> Map<String, Value> {
    object(json!({
        "class_id": of.class, "instance": of.logical_name.to_string(), "method": of.method,
    }))
}

fn join(mut left: Map<String, Value>, right: Value) -> Value {
    left.extend(object(right));
    Value::Object(left)
}

fn result_name(result: Result<(), DataAccessError>) -> &'static str {
    result.err().map_or("success", DataAccessError::name)
}

fn conformance(value: Conformance) -> (String, Vec<&'static str>) {
    (format!("{:06x}", value.0), value.names().collect())
}

fn initiate_request(apdu: &InitiateRequest) -> Value {
    let (hex, names) = conformance(apdu.conformance);
    json!({
        "apdu": "initiate-request", "response_allowed": apdu.response_allowed,
        "dedicated_key": apdu.dedicated_key.as_ref().map(|key| to_hex(key)),
        "quality_of_service": apdu.quality_of_service, "dlms_version": apdu.version,
        "conformance_hex": hex, "conformance": names, "max_receive_pdu_size": apdu.max_pdu,
    })
}

fn initiate_response(apdu: &InitiateResponse) -> Value {
    let (hex, names) = conformance(apdu.conformance);
    json!({
        "apdu": "initiate-response", "quality_of_service": apdu.quality_of_service,
        "dlms_version": apdu.version, "conformance_hex": hex, "conformance": names,
        "max_receive_pdu_size": apdu.max_pdu, "vaa_name": format!("{:04x}", apdu.vaa_name),
    })
}

fn context(context: ApplicationContext) -> &'static str {
    match context {
        ApplicationContext::LOGICAL_NAME => "LN",
        ApplicationContext::LOGICAL_NAME_CIPHERED => "LN-with-ciphering",
        other => panic!("no vector holds {other:?}"),
    }
}

fn user_information(shape: &mut Map<String, Value>, octets: Option<&[u8]>) {
    if let Some(octets) = octets {
        shape.insert("user_information".into(), apdu(&Apdu::decode(octets).unwrap()));
        shape.insert("user_information_hex".into(), json!(to_hex(octets)));
    }
}

fn authentication(
    shape: &mut Map<String, Value>,
    mechanism: Option<cosem::acse::Mechanism>,
    value: Option<&[u8]>,
) {
    if let Some(mechanism) = mechanism {
        shape.insert("acse_requirements".into(), json!("0780"));
        shape.insert("mechanism".into(), json!(mechanism.0));
    }
    if let Some(value) = value {
        shape.insert("authentication_value".into(), json!(to_hex(value)));
    }
}

fn aarq(apdu: &Aarq) -> Value {
    let mut shape = object(json!({"apdu": "aarq", "application_context": context(apdu.context)}));
    if let Some(title) = &apdu.calling_title {
        shape.insert("calling_ap_title".into(), json!(to_hex(title)));
    }
    authentication(&mut shape, apdu.mechanism, apdu.authentication.as_deref());
    user_information(&mut shape, apdu.user_information.as_deref());
    Value::Object(shape)
}

fn aare(apdu: &Aare) -> Value {
    let result = match apdu.result {
        AssociateResult::Accepted => "accepted",
        AssociateResult::RejectedPermanent => "rejected-permanent",
        AssociateResult::RejectedTransient => "rejected-transient",
    };
    let (source, value) = match apdu.diagnostic {
        Diagnostic::User(value) => ("acse-service-user", value),
        Diagnostic::Provider(value) => ("acse-service-provider", value),
    };
    let mut shape = object(json!({
        "apdu": "aare", "application_context": context(apdu.context), "result": result,
        "result_source_diagnostic": {"source": source, "value": value},
    }));
    if let Some(title) = &apdu.responding_title {
        shape.insert("responding_ap_title".into(), json!(to_hex(title)));
    }
    authentication(&mut shape, apdu.mechanism, apdu.authentication.as_deref());
    user_information(&mut shape, apdu.user_information.as_deref());
    Value::Object(shape)
}

fn release(name: &str, apdu: &Release) -> Value {
    let mut shape = object(json!({"apdu": name, "reason": apdu.reason}));
    user_information(&mut shape, apdu.user_information.as_deref());
    Value::Object(shape)
}

fn get_request(apdu: &GetRequest) -> Value {
    let invoke = apdu.invoke().0;
    match apdu {
        GetRequest::Normal { attribute, selection, .. } => join(
            selected(attribute, selection.as_ref()),
            json!({"apdu": "get-request-normal", "invoke_id_and_priority": invoke}),
        ),
        GetRequest::Next { block, .. } => json!({
            "apdu": "get-request-next", "invoke_id_and_priority": invoke, "block_number": block,
        }),
        GetRequest::WithList { list, .. } => {
            let list: Vec<_> = list.iter().map(|(a, s)| selected(a, s.as_ref())).collect();
            json!({
                "apdu": "get-request-with-list", "invoke_id_and_priority": invoke, "list": list,
            })
        }
    }
}

fn get_result(result: &GetResult) -> Value {
    match result {
        Ok(value) => json!({"data": data(value)}),
        Err(reason) => json!({"result": reason.name()}),
    }
}

fn get_response(apdu: &GetResponse) -> Value {
    let invoke = apdu.invoke().0;
    match apdu {
        GetResponse::Normal { result, .. } => join(
            object(get_result(result)),
            json!({"apdu": "get-response-normal", "invoke_id_and_priority": invoke}),
        ),
        GetResponse::Block { last, block, result, .. } => {
            let shape = object(json!({
                "apdu": "get-response-with-datablock", "invoke_id_and_priority": invoke,
                "last_block": last, "block_number": block,
            }));
            join(
                shape,
                match result {
                    Ok(octets) => json!({
                        "raw_data_length": octets.len(),
                        "raw_data_sha256": to_hex(&Sha256::digest(octets)),
                    }),
                    Err(reason) => json!({"result": reason.name()}),
                },
            )
        }
        GetResponse::WithList { results, .. } => {
            let list: Vec<_> = results.iter().map(get_result).collect();
            json!({
                "apdu": "get-response-with-list", "invoke_id_and_priority": invoke, "list": list,
            })
        }
    }
}

fn block(block: &Block) -> Value {
    json!({
        "last_block": block.last, "block_number": block.number,
        "raw_data": to_hex(&block.octets),
    })
}

fn set_request(apdu: &SetRequest) -> Value {
    let invoke = apdu.invoke().0;
    let head = |name: &str| json!({"apdu": name, "invoke_id_and_priority": invoke});
    let list = |list: &[(AttributeRef, Option<Selection>)]| {
        list.iter().map(|(a, s)| Value::Object(selected(a, s.as_ref()))).collect::<Vec<_>>()
    };
    match apdu {
        SetRequest::Normal { attribute, selection, value, .. } => {
            let mut shape = selected(attribute, selection.as_ref());
            shape.insert("data".into(), data(value));
            join(shape, head("set-request-normal"))
        }
        SetRequest::FirstBlock { attribute, selection, block: first, .. } => join(
            object(join(selected(attribute, selection.as_ref()), block(first))),
            head("set-request-with-first-datablock"),
        ),
        SetRequest::Block { block: next, .. } => {
            join(object(block(next)), head("set-request-with-datablock"))
        }
        SetRequest::WithList { list: attributes, values, .. } => {
            let values: Vec<_> = values.iter().map(data).collect();
            let shape = object(json!({"list": list(attributes), "values": values}));
            join(shape, head("set-request-with-list"))
        }
        SetRequest::WithListFirstBlock { list: attributes, block: first, .. } => {
            let shape = object(join(object(block(first)), json!({"list": list(attributes)})));
            join(shape, head("set-request-with-list-and-first-datablock"))
        }
    }
}

fn set_response(apdu: &SetResponse) -> Value {
    let invoke = apdu.invoke().0;
    match apdu {
        SetResponse::Normal { result, .. } => json!({
            "apdu": "set-response-normal", "invoke_id_and_priority": invoke,
            "result": result_name(*result),
        }),
        SetResponse::Block { block, .. } => json!({
            "apdu": "set-response-datablock", "invoke_id_and_priority": invoke,
            "block_number": block,
        }),
        other => panic!("no vector holds {other:?}"),
    }
}

fn action_request(apdu: &ActionRequest) -> Value {
    let invoke = apdu.invoke().0;
    let head = |name: &str| json!({"apdu": name, "invoke_id_and_priority": invoke});
    match apdu {
        ActionRequest::Normal { method: of, parameters, .. } => {
            let mut shape = method(of);
            shape.insert("parameters".into(), json!(parameters.as_ref().map(data)));
            join(shape, head("action-request-normal"))
        }
        ActionRequest::WithList { list, parameters, .. } => {
            let list: Vec<_> = list.iter().map(method).collect();
            let parameters: Vec<_> = parameters.iter().map(data).collect();
            let shape = object(json!({"list": list, "parameters": parameters}));
            join(shape, head("action-request-with-list"))
        }
        ActionRequest::FirstBlock { method: of, block: first, .. } => {
            join(object(join(method(of), block(first))), head("action-request-with-first-pblock"))
        }
        other => panic!("no vector holds {other:?}"),
    }
}

fn action_response(apdu: &ActionResponse) -> Value {
    let invoke = apdu.invoke().0;
    match apdu {
        ActionResponse::Normal { answer, .. } => {
            let mut shape = object(json!({
                "apdu": "action-response-normal", "invoke_id_and_priority": invoke,
                "result": result_name(answer.result),
            }));
            match &answer.returned {
                None => {}
                Some(Ok(value)) => {
                    shape.insert("return_data".into(), data(value));
                }
                Some(Err(reason)) => {
                    shape.insert("return_result".into(), json!(reason.name()));
                }
            }
            Value::Object(shape)
        }
        ActionResponse::Next { block, .. } => json!({
            "apdu": "action-response-next-pblock", "invoke_id_and_priority": invoke,
            "block_number": block,
        }),
        other => panic!("no vector holds {other:?}"),
    }
}

fn notification(apdu: &DataNotification) -> Value {
    let date_time = apdu.date_time.map(|time| to_hex(&time.to_octets())).unwrap_or_default();
    let shape = object(json!({
        "apdu": "data-notification", "long_invoke_id_and_priority": apdu.invoke.0,
        "date_time": date_time,
    }));
    match &apdu.body {
        Body::Data(value) => join(shape, json!({"data": data(value)})),
        Body::Described { kind, items } => {
            let item = |(of, value): &(AttributeRef, Data)| {
                join(attribute(of), json!({"data": data(value)}))
            };
            let items: Vec<_> = items.iter().map(item).collect();
            let Data::Enum(kind) = kind else { panic!("no vector holds {kind:?}") };
            let body = format!("structure{{enum {kind}, array}}");
            join(shape, json!({"body": body, "items": items}))
        }
    }
}

fn exception(apdu: &ExceptionResponse) -> Value {
    let state = if apdu.service_unknown { "service-unknown" } else { "service-not-allowed" };
    let shape = object(json!({"apdu": "exception-response", "state_error": state}));
    join(
        shape,
        match apdu.fault {
            ServiceFault::NotSupported => json!({"service_error": "service-not-supported"}),
            ServiceFault::InvocationCounter { expected } => json!({
                "service_error": "invocation-counter-error",
                "expected_invocation_counter": expected,
            }),
            other => panic!("no vector holds {other:?}"),
        },
    )
}

fn access(apdu: &AccessRequest) -> Value {
    let part = |part: &AccessSpecification| match part {
        AccessSpecification::Get(of, None) => join(attribute(of), json!({"service": "get"})),
        AccessSpecification::Set(of, None) => join(attribute(of), json!({"service": "set"})),
        other => panic!("no vector holds {other:?}"),
    };
    json!({
        "apdu": "access-request", "long_invoke_id_and_priority": apdu.invoke.0,
        "date_time": to_hex(&apdu.date_time),
        "list": apdu.list.iter().map(part).collect::<Vec<_>>(),
        "values": apdu.values.iter().map(data).collect::<Vec<_>>(),
    })
}

fn protected(apdu: &Protected) -> Value {
    let name = match apdu.tag {
        0x21 => "glo-initiate-request",
        0x28 => "glo-initiate-response",
        0xc8 => "glo-get-request",
        0xcb => "glo-action-request",
        0xcf => "glo-action-response",
        tag::GENERAL_GLO => "general-glo-ciphering",
        other => panic!("no vector holds {other:02x}"),
    };
    let control = apdu.control;
    let mut shape = object(json!({
        "apdu": name, "security_control": control.0, "suite": control.suite(),
        "authenticated": control.is_authenticated(), "encrypted": control.is_encrypted(),
        "broadcast_key": control.is_broadcast(), "compressed": control.is_compressed(),
        "invocation_counter": apdu.counter,
    }));
    if let Some(title) = apdu.title {
        shape.insert("system_title".into(), json!(to_hex(&title)));
    }
    Value::Object(shape)
}

fn general_ciphering(apdu: &GeneralCiphering) -> Value {
    let Some(KeyInfo::Agreed { parameters, data }) = &apdu.key else {
        panic!("no vector holds {:?}", apdu.key);
    };
    json!({
        "apdu": "general-ciphering", "transaction_id": to_hex(&apdu.header.transaction),
        "originator_system_title": to_hex(&apdu.header.originator),
        "recipient_system_title": to_hex(&apdu.header.recipient),
        "date_time": to_hex(&apdu.header.date_time),
        "other_information": to_hex(&apdu.header.other),
        "key_info": {
            "kind": "agreed-key", "key_parameters": to_hex(parameters),
            "key_ciphered_data": to_hex(data),
        },
        "security_control": apdu.control.0, "invocation_counter": apdu.counter,
    })
}

fn general_block(apdu: &GeneralBlock) -> Value {
    json!({
        "apdu": "general-block-transfer", "last_block": apdu.is_last(),
        "streaming": apdu.is_streaming(), "window": apdu.window(), "block_number": apdu.block,
        "block_number_ack": apdu.acknowledged, "block_data_length": apdu.octets.len(),
    })
}
