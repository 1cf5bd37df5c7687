//! The words of messages: templates by language, and what they are filled with.
//!
//! Languages are English, Spanish, Russian and Chinese; a site may replace any template.
//! Invariants: every language has every template; in HTML all values are escaped; a template that
//! fails on a sample is refused with the configuration, one that fails later falls back to a
//! plain line.

use std::collections::BTreeMap;

use minijinja::value::Serde;
use minijinja::{Environment, Value, context};
use serde::Serialize;

/// The languages that there are.
pub const LANGUAGES: [&str; 4] = ["en", "es", "ru", "zh"];
/// The templates that a site may replace.
pub const NAMES: [&str; 4] = ["subject", "sms", "mail", "html"];

/// What a message is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// An incident, to somebody who has not heard of it.
    Firing,
    /// It still lasts.
    Reminder,
    /// Nobody has acknowledged.
    Escalated,
    /// It is over.
    Recovered,
    /// You are on call now.
    Handover,
    /// The monitor lives.
    Heartbeat,
    /// Somebody tries whether messages come.
    Test,
    /// Many incidents at once, to somebody who has not heard of them.
    Digest,
    /// Many incidents are over at once.
    DigestOver,
}

impl Kind {
    /// Whether it says that something is over.
    pub fn is_over(self) -> bool {
        matches!(self, Kind::Recovered | Kind::DigestOver)
    }
}

/// What templates see.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Filling {
    /// The monitor's name.
    pub monitor: String,
    /// What it is about, as `Kind` in snake case.
    pub kind: String,
    /// The alarm's name.
    pub alarm: String,
    /// `info`, `warning`, `critical`.
    pub severity: String,
    /// The region; empty when there is none.
    pub region: String,
    /// The first alarms of the incident, a sentence each.
    pub items: Vec<String>,
    /// How many more there are.
    pub more: usize,
    /// Since when, for people.
    pub since: String,
    /// When it was over, for people.
    pub until: String,
    /// The incident's number.
    pub number: u64,
    /// The code that acknowledges it.
    pub code: String,
    /// The link that acknowledges it.
    pub link: String,
    /// Where it is written what to do.
    pub runbook: String,
    /// How many incidents are open.
    pub open: usize,
}

/// The words of one message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Words {
    /// One line.
    pub subject: String,
    /// For a telephone.
    pub sms: String,
    /// For a mail, plain.
    pub mail: String,
    /// For a mail, HTML.
    pub html: String,
}

/// All templates, ready.
pub struct Texts {
    environment: Environment<'static>,
}

impl std::fmt::Debug for Texts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Texts")
    }
}

const SUBJECT: &str = "\
{% if kind == 'heartbeat' %}{{ monitor }}: {{ w.alive }}{% elif kind == 'test' %}{{ monitor }}: \
{{ w.test }}{% elif kind == 'handover' %}{{ monitor }}: {{ w.handover }}\
{% elif kind in ['digest', 'digest_over'] %}[{{ w[kind] }}] {{ w[severity] }}: \
{{ items|length + more }} {{ w.incidents }}{% else %}\
[{{ w[kind] }}] {{ w[severity] }}: {{ alarm }}{% if region %} ({{ region }}){% endif %}{% endif %}";

const SMS: &str = "\
{% if kind == 'heartbeat' %}{{ monitor }}: {{ w.alive }}. {{ w.open }}: {{ open }}\
{% elif kind == 'test' %}{{ monitor }}: {{ w.test }}\
{% elif kind == 'handover' %}{{ w.handover }}. {{ w.open }}: {{ open }}\
{% for item in items %}\n{{ item }}{% endfor %}\
{% elif kind in ['digest', 'digest_over'] %}{{ w[kind] }} {{ w[severity] }}: \
{{ items|length + more }} {{ w.incidents }}{% for item in items[:5] %}\n{{ item }}{% endfor %}\
{% if items|length + more > 5 %}\n(+{{ items|length + more - 5 }}){% endif %}\
{% if code %}\n{{ w.answer }} {{ code }}{% endif %}\
{% else %}{{ w[kind] }} {{ w[severity] }} {{ alarm }}{% if region %} {{ region }}{% endif %}: \
{{ items[0] }}{% if items|length + more > 1 %} (+{{ items|length + more - 1 }}){% endif %}. \
{{ until or since }}{% if code %}. {{ w.answer }} {{ code }}{% endif %}{% endif %}";

const MAIL: &str = "\
{% if kind == 'heartbeat' %}{{ w.alive }}\n{{ w.open }}: {{ open }}\n\
{% elif kind == 'test' %}{{ w.test }}\n\
{% elif kind == 'handover' %}{{ w.handover }}\n{{ w.open }}: {{ open }}\n\
{% for item in items %}- {{ item }}\n{% endfor %}\
{% elif kind in ['digest', 'digest_over'] %}{{ w[kind] }}: {{ items|length + more }} \
{{ w.incidents }} ({{ w[severity] }})\n\n{% for item in items %}- {{ item }}\n{% endfor %}\
{% if more %}- … +{{ more }}\n{% endif %}\
{% if code %}\n{{ w.answer }} {{ code }}\n{% endif %}{% if link %}{{ w.link }}: {{ link }}\n\
{% endif %}\
{% else %}{{ w[kind] }}: {{ alarm }} (#{{ number }}, {{ w[severity] }}\
{% if region %}, {{ region }}{% endif %})\n{{ w.since }}: {{ since }}\n\
{% if until %}{{ w.until }}: {{ until }}\n{% endif %}\n\
{% for item in items %}- {{ item }}\n{% endfor %}{% if more %}- … +{{ more }}\n{% endif %}\
{% if runbook %}\n{{ w.runbook }}: {{ runbook }}\n{% endif %}\
{% if code %}\n{{ w.answer }} {{ code }}\n{% endif %}{% if link %}{{ w.link }}: {{ link }}\n\
{% endif %}{% endif %}\n-- \n{{ monitor }}\n";

const HTML: &str = "<!DOCTYPE html><html><body>\
{% if kind in ['heartbeat', 'test', 'handover'] %}\
<p>{% if kind == 'heartbeat' %}{{ w.alive }}{% elif kind == 'test' %}{{ w.test }}\
{% else %}{{ w.handover }}{% endif %}</p><p>{{ w.open }}: {{ open }}</p>\
<ul>{% for item in items %}<li>{{ item }}</li>{% endfor %}</ul>\
{% elif kind in ['digest', 'digest_over'] %}\
<h2>{{ w[kind] }}: {{ items|length + more }} {{ w.incidents }}</h2><p>{{ w[severity] }}</p>\
<ul>{% for item in items %}<li>{{ item }}</li>{% endfor %}\
{% if more %}<li>… +{{ more }}</li>{% endif %}</ul>\
{% if link %}<p><a href=\"{{ link }}\">{{ w.link }}</a></p>{% endif %}\
{% else %}<h2>{{ w[kind] }}: {{ alarm }}</h2><p>#{{ number }}, {{ w[severity] }}\
{% if region %}, {{ region }}{% endif %}<br>{{ w.since }}: {{ since }}\
{% if until %}<br>{{ w.until }}: {{ until }}{% endif %}</p>\
<ul>{% for item in items %}<li>{{ item }}</li>{% endfor %}\
{% if more %}<li>… +{{ more }}</li>{% endif %}</ul>\
{% if runbook %}<p><a href=\"{{ runbook }}\">{{ w.runbook }}</a></p>{% endif %}\
{% if link %}<p><a href=\"{{ link }}\">{{ w.link }}</a></p>{% endif %}{% endif %}\
<p>{{ monitor }}</p></body></html>";

/// The fixed words: key, then one a language, in the order of `LANGUAGES`.
const WORDS: [(&str, [&str; 4]); 23] = [
    ("firing", ["ALARM", "ALARMA", "ТРЕВОГА", "告警"]),
    ("reminder", ["STILL", "SIGUE", "ВСЁ ЕЩЁ", "仍在告警"]),
    ("escalated", ["ESCALATED", "ESCALADA", "ЭСКАЛАЦИЯ", "升级"]),
    ("recovered", ["OVER", "RESUELTA", "УСТРАНЕНО", "已恢复"]),
    ("info", ["info", "informativa", "сведения", "提示"]),
    ("warning", ["warning", "aviso", "предупреждение", "警告"]),
    ("critical", ["critical", "crítica", "критическая", "严重"]),
    ("since", ["Since", "Desde", "С", "开始"]),
    ("until", ["Until", "Hasta", "До", "结束"]),
    ("runbook", ["What to do", "Qué hacer", "Что делать", "处理办法"]),
    ("answer", ["To acknowledge answer", "Para confirmar responda", "Ответьте", "确认请回复"]),
    ("link", ["To acknowledge open", "Para confirmar abra", "Подтвердить", "确认请打开"]),
    ("handover", ["You are on call", "Está de guardia", "Вы дежурите", "您已开始值班"]),
    ("alive", ["the monitor works", "el monitor funciona", "мониторинг работает", "监控正常"]),
    ("test", ["a test message", "mensaje de prueba", "проверочное сообщение", "测试消息"]),
    ("open", ["Open incidents", "Incidencias abiertas", "Открытые события", "未结事件"]),
    ("repeat", ["(repeat) ", "(repetido) ", "(повтор) ", "（重发）"]),
    ("taken", ["Acknowledged", "Confirmada", "Подтверждено", "已确认"]),
    ("take", ["Acknowledge", "Confirmar", "Подтвердить", "确认"]),
    ("digest", ["ALARMS", "ALARMAS", "ТРЕВОГИ", "告警"]),
    ("digest_over", ["OVER", "RESUELTAS", "УСТРАНЕНО", "已恢复"]),
    ("incidents", ["incidents", "incidencias", "событий", "个事件"]),
    ("gone", ["Not open", "No está abierta", "Не открыто", "未打开"]),
];

/// A fixed word; English for a language that there is not.
pub fn word(language: &str, key: &str) -> &'static str {
    let nth = LANGUAGES.iter().position(|known| *known == language).unwrap_or(0);
    WORDS.iter().find(|(known, _)| *known == key).map_or("", |(_, words)| words[nth])
}

fn words(language: &str) -> BTreeMap<&'static str, &'static str> {
    WORDS.iter().map(|(key, _)| (*key, word(language, key))).collect()
}

impl Texts {
    /// The built-in templates with a site's own over them: language, then name, then template.
    /// All faults as sentences.
    pub fn new(own: &BTreeMap<String, BTreeMap<String, String>>) -> Result<Texts, Vec<String>> {
        let mut environment = Environment::new();
        let mut faults = Vec::new();
        let defaults = [SUBJECT, SMS, MAIL, HTML];
        for (language, templates) in own {
            if !LANGUAGES.contains(&language.as_str()) {
                faults.push(format!("there is no language \"{language}\""));
            }
            for name in templates.keys().filter(|name| !NAMES.contains(&name.as_str())) {
                faults.push(format!("{language}: there is no template \"{name}\""));
            }
        }
        for language in LANGUAGES {
            for (name, default) in NAMES.iter().zip(defaults) {
                let text = own.get(language).and_then(|texts| texts.get(*name));
                let text = text.cloned().unwrap_or_else(|| default.to_owned());
                if let Err(error) = environment.add_template_owned(key(language, name), text) {
                    faults.push(format!("{language}.{name}: {error}"));
                }
            }
        }
        let texts = Texts { environment };
        for language in LANGUAGES {
            for name in NAMES {
                let sample = Filling { kind: "firing".into(), ..Filling::default() };
                if let Some(Err(error)) = texts.render(language, name, &sample) {
                    faults.push(format!("{language}.{name}: {error}"));
                }
            }
        }
        if faults.is_empty() { Ok(texts) } else { Err(faults) }
    }

    /// `None` when the template is missing, which was a fault before.
    fn render(
        &self,
        language: &str,
        name: &str,
        filling: &Filling,
    ) -> Option<Result<String, minijinja::Error>> {
        let template = self.environment.get_template(&key(language, name)).ok()?;
        let filled = context! { w => words(language), ..Value::from(Serde(filling.clone())) };
        Some(template.render(filled))
    }

    /// The words of a message.
    pub fn words(&self, language: &str, filling: &Filling) -> Words {
        let text = |name| match self.render(language, name, filling) {
            Some(Ok(text)) => text,
            _ => format!("{} {} {}", filling.kind, filling.alarm, filling.items.join("; ")),
        };
        Words {
            // A line break in a subject would be one in a mail's head.
            subject: text("subject").replace(['\r', '\n'], " "),
            sms: text("sms"),
            mail: text("mail"),
            html: text("html"),
        }
    }
}

/// Names that end in `.html` are escaped.
fn key(language: &str, name: &str) -> String {
    format!("{language}.{name}{}", if name == "html" { ".html" } else { ".txt" })
}

/// Fills a template of the configuration over labels and other values; the fault as a sentence.
pub fn fill(template: &str, filling: &impl Serialize) -> Result<String, String> {
    let environment = Environment::new();
    let rendered = environment.render_str(template, Value::from(Serde(filling)));
    rendered.map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filling() -> Filling {
        Filling {
            monitor: "m1".into(),
            kind: "firing".into(),
            alarm: "node_down".into(),
            severity: "critical".into(),
            region: "north".into(),
            items: vec!["n1 <does> not answer".into(), "n2 too".into()],
            more: 3,
            since: "2026-11-23 07:15:02 CET".into(),
            number: 7,
            code: "48213".into(),
            link: "https://m/ack/x".into(),
            ..Filling::default()
        }
    }

    #[test]
    fn every_language_says_what_happened() {
        let texts = Texts::new(&BTreeMap::new()).unwrap();
        for language in LANGUAGES {
            let words = texts.words(language, &filling());
            for (text, html) in [(&words.sms, false), (&words.mail, false), (&words.html, true)] {
                let wanted = if html { "n1 &lt;does&gt; not" } else { "n1 <does> not" };
                assert!(text.contains(wanted), "{language}: {text}");
                assert!(text.contains("node_down"), "{language}: {text}");
            }
            assert!(words.sms.contains("48213") && words.sms.contains("(+4)"), "{}", words.sms);
            assert!(words.subject.contains(word(language, "firing")));
        }
        let russian = texts.words("ru", &filling());
        assert!(russian.subject.starts_with("[ТРЕВОГА] критическая: node_down (north)"));
    }

    #[test]
    fn other_kinds_say_theirs() {
        let texts = Texts::new(&BTreeMap::new()).unwrap();
        for (kind, wanted) in [
            ("heartbeat", "the monitor works"),
            ("test", "a test message"),
            ("handover", "You are on call"),
            ("recovered", "OVER critical node_down"),
        ] {
            let words = texts.words("en", &Filling { kind: kind.into(), ..filling() });
            assert!(words.sms.contains(wanted), "{kind}: {}", words.sms);
        }
    }

    #[test]
    fn a_sites_own_templates_come_first_and_bad_ones_are_refused() {
        let own = |name: &str, text: &str| {
            let templates = BTreeMap::from([(name.to_owned(), text.to_owned())]);
            Texts::new(&BTreeMap::from([("es".to_owned(), templates)]))
        };
        let texts = own("sms", "¡{{ alarm }}!").unwrap();
        assert_eq!(texts.words("es", &filling()).sms, "¡node_down!");
        assert_ne!(texts.words("en", &filling()).sms, "¡node_down!");
        assert!(own("sms", "{{ alarm").is_err());
        assert!(own("letter", "x").is_err());
    }

    #[test]
    fn a_subject_is_one_line() {
        let texts = Texts::new(&BTreeMap::new()).unwrap();
        let words = texts.words("en", &Filling { alarm: "a\r\nBcc: x".into(), ..filling() });
        assert!(!words.subject.contains(['\r', '\n']));
    }
}
