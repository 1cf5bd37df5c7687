//! The machine against scripted modems: good ones, bad ones, and none at all.

use super::super::command::Meaning;
use super::*;

/// A modem that answers by a table, and what the machine told.
struct Scripted {
    modem: Modem,
    now: Instant,
    said: Vec<String>,
    events: Vec<Event>,
}

impl Scripted {
    fn new(pin: Option<&str>) -> Scripted {
        let pin = pin.map(|pin| Zeroizing::new(pin.to_owned()));
        let mut scripted = Scripted {
            modem: Modem::new(pin),
            now: Instant::now(),
            said: Vec::new(),
            events: Vec::new(),
        };
        scripted.modem.opened(scripted.now);
        scripted
    }

    /// Answers everything that is said, until nothing more is.
    fn answer(&mut self, answer: impl Fn(&str) -> String) {
        while let Some(octets) = self.modem.poll_transmit() {
            let text = String::from_utf8(octets).unwrap();
            self.said.push(text.trim_end().to_owned());
            let answer = answer(text.trim_end());
            // Octet by octet, as a slow line would give them.
            for octet in answer.bytes() {
                self.modem.handle_bytes(self.now, &[octet]);
            }
        }
        self.events.extend(std::iter::from_fn(|| self.modem.poll()));
    }

    /// Lets time pass to the next deadline.
    fn wait(&mut self) {
        self.now = self.modem.poll_timeout().expect("something is waited for");
        self.modem.handle_timeout(self.now);
        self.events.extend(std::iter::from_fn(|| self.modem.poll()));
    }

    fn send(&mut self, text: &str) -> bool {
        let parts = pdu::submit("+79161234567", text, 1, 9).unwrap();
        self.modem.send(self.now, 5, parts)
    }
}

fn good(command: &str) -> String {
    match command {
        "AT+CPIN?" => "\r\n+CPIN: READY\r\n\r\nOK\r\n".into(),
        "AT+CREG?" => "\r\n+CREG: 0,1\r\n\r\nOK\r\n".into(),
        "AT+CSQ" => "\r\n^RSSI:20\r\n\r\n+CSQ: 20,99\r\n\r\nOK\r\n".into(),
        _ if command.starts_with("AT+CMGS=") => "\r\n> ".into(),
        _ if command.ends_with('\u{1a}') => "\r\n+CMGS: 42\r\n\r\nOK\r\n".into(),
        "\u{1b}" => String::new(),
        _ => "\r\nOK\r\n".into(),
    }
}

fn good_but(wanted: &'static str, answer: &'static str) -> impl Fn(&str) -> String {
    move |command| match command.starts_with(wanted) {
        true => answer.into(),
        false => good(command),
    }
}

#[test]
fn a_good_modem_is_prepared_and_sends() {
    let mut line = Scripted::new(None);
    line.answer(good);
    assert_eq!(line.modem.trouble(), None);
    assert_eq!(line.modem.signal_dbm(), Some(-73));
    assert!(line.said.contains(&"AT+CNMI=2,1,0,1,0".to_owned()));
    assert!(line.send("power is gone"));
    assert!(!line.send("another"), "one message at a time");
    line.answer(good);
    assert_eq!(line.events.last(), Some(&Event::Sent(5, vec![42])));
}

#[test]
fn late_ends_of_earlier_commands_are_no_answers() {
    for late in 0..6 {
        let mut line = Scripted::new(None);
        for _ in 0..late {
            line.modem.handle_bytes(line.now, b"\r\nOK\r\n");
        }
        line.answer(good);
        assert_eq!(line.modem.trouble(), None, "{late} ends too many");
        assert!(line.send("x"));
        line.modem.handle_bytes(line.now, b"\r\nOK\r\n");
        line.answer(good);
        assert_eq!(line.events.last(), Some(&Event::Sent(5, vec![42])), "{late}");
    }
}

#[test]
fn an_echo_is_not_an_answer() {
    let mut line = Scripted::new(None);
    line.answer(|command| format!("{command}\r{}", good(command)));
    assert_eq!(line.modem.trouble(), None);
}

#[test]
fn parts_are_sent_in_turn() {
    let mut line = Scripted::new(None);
    line.answer(good);
    assert!(line.send(&"ж".repeat(150)));
    line.answer(good);
    assert_eq!(line.events.last(), Some(&Event::Sent(5, vec![42, 42, 42])));
}

#[test]
fn a_report_of_the_first_part_is_told_after_the_message_was_sent() {
    let mut line = Scripted::new(None);
    line.answer(good);
    assert!(line.send(&"ж".repeat(100)));
    let report = "00062A0B916407281553F8421015123045804210151230558000";
    let answer = format!("+CMGS: 42\r\nOK\r\n+CDS: 25\r\n{report}\r\n");
    line.answer(|command| match command.ends_with('\u{1a}') {
        true => answer.clone(),
        false => good(command),
    });
    let sent = line.events.iter().position(|event| matches!(event, Event::Sent(..))).unwrap();
    let reported = |event: &Event| matches!(event, Event::Reported(_));
    assert_eq!(line.events.iter().filter(|event| reported(event)).count(), 2);
    assert!(line.events.iter().position(reported).unwrap() > sent);
}

#[test]
fn failures_are_told_with_their_meaning() {
    let cases = [
        ("+CMS ERROR: 38\r\n", Meaning::Again, Failure::Message(38)),
        ("+CMS ERROR: 28\r\n", Meaning::Never, Failure::Message(28)),
        ("+CMS ERROR: 310\r\n", Meaning::Modem, Failure::Message(310)),
        ("ERROR\r\n", Meaning::Again, Failure::Plain),
    ];
    for (answer, meaning, failure) in cases {
        let mut line = Scripted::new(None);
        line.answer(good);
        assert!(line.send("x"));
        line.answer(good_but("0031", answer));
        assert_eq!(line.events.last(), Some(&Event::NotSent(5, meaning, failure)));
        assert!(line.send("x"), "and the next may go");
    }
}

#[test]
fn a_pin_is_given_once_and_a_refused_one_never_again() {
    let asks = |command: &str| match command {
        "AT+CPIN?" => "+CPIN: SIM PIN\r\nOK\r\n".into(),
        "AT+CPIN=\"1234\"" => "+CME ERROR: 16\r\n".into(),
        _ => good(command),
    };
    let mut line = Scripted::new(Some("1234"));
    line.answer(asks);
    assert_eq!(line.modem.trouble(), Some(Trouble::Pin));
    assert!(!line.send("x"));
    for _ in 0..3 {
        line.wait();
        line.answer(asks);
    }
    line.modem.opened(line.now);
    line.answer(asks);
    let tries = line.said.iter().filter(|said| said.starts_with("AT+CPIN=")).count();
    assert_eq!(tries, 1);
}

#[test]
fn a_right_pin_opens_the_sim() {
    let mut line = Scripted::new(Some("1234"));
    let open = std::cell::Cell::new(false);
    line.answer(|command| match command {
        "AT+CPIN=\"1234\"" => {
            open.set(true);
            good(command)
        }
        "AT+CPIN?" if !open.get() => "+CPIN: SIM PIN\r\nOK\r\n".into(),
        _ => good(command),
    });
    assert_eq!(line.modem.trouble(), None);
}

#[test]
fn a_missing_sim_is_looked_for_again() {
    let mut line = Scripted::new(None);
    line.answer(good_but("AT+CPIN?", "+CME ERROR: 10\r\n"));
    assert_eq!(line.modem.trouble(), Some(Trouble::Sim(10)));
    line.wait();
    line.answer(good);
    assert_eq!(line.modem.trouble(), None);
}

#[test]
fn a_lost_network_is_noticed_and_found_again() {
    let mut line = Scripted::new(None);
    line.answer(good);
    line.wait();
    line.answer(good_but("AT+CREG?", "+CREG: 0,2\r\nOK\r\n"));
    assert_eq!(line.modem.trouble(), Some(Trouble::NoNetwork));
    assert!(!line.send("x"));
    line.wait();
    line.answer(good);
    assert_eq!(line.modem.trouble(), None);
}

#[test]
fn messages_and_reports_are_taken_and_removed() {
    let deliver = "07917283010010F5040BC87238880900F10000993092516195800AE8329BFD4697D9EC37";
    let report = "00062A0B916407281553F8421015123045804210151230558000";
    let mut line = Scripted::new(None);
    line.answer(good);
    line.modem.handle_bytes(line.now, b"\r\n+CMTI: \"SM\",3\r\n");
    let answer = format!("+CMGR: 0,,23\r\n{deliver}\r\nOK\r\n");
    line.answer(|command| match command {
        "AT+CMGR=3" => answer.clone(),
        _ => good(command),
    });
    assert!(matches!(line.events.last(), Some(Event::Received(got)) if got.text == "hellohello"));
    assert_eq!(line.said.last().map(String::as_str), Some("AT+CMGD=3"));
    line.modem.handle_bytes(line.now, format!("\r\n+CDS: 25\r\n{report}\r\n").as_bytes());
    line.answer(good);
    assert!(matches!(line.events.last(), Some(Event::Reported(got)) if got.reference == 42));
}

#[test]
fn stored_messages_are_taken_at_the_beginning() {
    let deliver = "07917283010010F5040BC87238880900F10000993092516195800AE8329BFD4697D9EC37";
    let list = format!("+CMGL: 1,1,,23\r\n{deliver}\r\n+CMGL: 2,1,,23\r\n{deliver}\r\nOK\r\n");
    let mut line = Scripted::new(None);
    line.answer(|command| match command {
        "AT+CMGL=4" => list.clone(),
        _ => good(command),
    });
    let received = line.events.iter().filter(|event| matches!(event, Event::Received(_)));
    assert_eq!(received.count(), 2);
    assert!(line.said.contains(&"AT+CMGD=2".to_owned()));
}

#[test]
fn a_hang_while_sending_is_unknown_then_reopened_then_reset() {
    let mut line = Scripted::new(None);
    line.answer(good);
    assert!(line.send("x"));
    line.answer(good_but("0031", ""));
    let unknown = Event::NotSent(5, Meaning::Unknown, Failure::Silent);
    // A look at its health falls due before the message's own deadline.
    for _ in 0..2 {
        line.wait();
    }
    assert_eq!(line.events.last(), Some(&unknown));
    let silent = |_: &str| String::new();
    line.answer(silent);
    for _ in 0..2 {
        line.wait();
        line.answer(silent);
    }
    assert_eq!(line.modem.trouble(), Some(Trouble::Silent));
    assert_eq!(line.events.last(), Some(&Event::Reopen));
    line.modem.opened(line.now);
    line.answer(silent);
    line.wait();
    line.answer(silent);
    assert_eq!(line.said.last().map(String::as_str), Some("AT+CFUN=1,1"));
    for _ in 0..2 {
        line.wait();
        line.answer(silent);
    }
    assert_eq!(line.modem.resets(), 1);
    assert_eq!(line.events.last(), Some(&Event::Reopen));
    line.modem.opened(line.now);
    line.answer(good);
    assert_eq!(line.modem.trouble(), None, "and it works again");
    let ends = line.events.iter().filter(|event| matches!(event, Event::NotSent(..)));
    assert_eq!(ends.count(), 1, "the end of a message is told once");
}

#[test]
fn a_lost_port_ends_the_message() {
    let mut line = Scripted::new(None);
    line.answer(good);
    assert!(line.send("x"));
    line.modem.closed(line.now);
    line.answer(good);
    let lost = Event::NotSent(5, Meaning::Again, Failure::Lost);
    assert!(line.events.contains(&lost), "{:?}", line.events);
}

proptest::proptest! {
    #[test]
    fn noise_never_stops_it(noise in proptest::collection::vec(
        proptest::prelude::any::<u8>(), 0..2000)) {
        let mut line = Scripted::new(None);
        line.modem.handle_bytes(line.now, &noise);
        line.modem.handle_bytes(line.now, b"\r\nOK\r\n");
        // The machine may be anywhere now; given time and a good modem it comes back.
        for _ in 0..200 {
            line.answer(good);
            if line.modem.trouble().is_none() {
                break;
            }
            line.wait();
            if line.events.last() == Some(&Event::Reopen) {
                line.modem.opened(line.now);
            }
        }
        assert_eq!(line.modem.trouble(), None);
    }
}
