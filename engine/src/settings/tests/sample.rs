//! The sample says the truth.

use std::collections::BTreeSet;

use serde::{
    Deserialize, Deserializer,
    de::{Error, Visitor, value},
    forward_to_deserialize_any,
};

use super::{Given, one, problems};
use crate::settings::{
    SAMPLE,
    file::{Admin, Create, DeadLetter, Engine, File, Kafka, Route, Source, Spool},
    layers,
    node::Node,
};

/// The sample with every key in force. A key that is off is `#key = …`; a remark is `# text`.
fn uncommented() -> String {
    let line = |line: &'static str| match line.strip_prefix('#') {
        Some(setting) if setting.starts_with(|c: char| c.is_ascii_lowercase()) => setting,
        _ => line,
    };
    SAMPLE.lines().map(line).collect::<Vec<_>>().join("\n")
}

/// Fails with the names of the fields of the struct that is read.
struct Fields;

impl<'de> Deserializer<'de> for Fields {
    type Error = value::Error;
    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, value::Error> {
        Err(Error::custom(""))
    }
    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, value::Error> {
        Err(Error::custom(fields.join(" ")))
    }
    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 u8 u16 u32 u64 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}

fn fields<T: for<'de> Deserialize<'de>>(section: &str) -> Vec<String> {
    let Err(error) = T::deserialize(Fields) else { panic!("{section} is no struct") };
    error.to_string().split(' ').map(|field| format!("{section}{field}")).collect()
}

/// Every key that the shape of the file knows, lists without numbers.
pub(super) fn known() -> BTreeSet<String> {
    let sections: BTreeSet<String> = fields::<File>("").into_iter().collect();
    assert_eq!(
        sections,
        ["admin", "dead_letter", "engine", "kafka", "route", "source", "spool"].map(str::to_owned).into()
    );
    let keys = [
        fields::<Source>("source."),
        fields::<Kafka>("kafka."),
        fields::<Create>("kafka.create."),
        fields::<Route>("route."),
        fields::<Engine>("engine."),
        fields::<Spool>("spool."),
        fields::<DeadLetter>("dead_letter."),
        fields::<Admin>("admin."),
    ];
    keys.concat().into_iter().collect()
}

#[test]
fn the_sample_is_valid_as_it_is_and_with_every_key() {
    let loaded = one(SAMPLE);
    assert_eq!(problems(&loaded), [""; 0]);
    let text = uncommented();
    let loaded = Given { files: &[&text], environment: &[("MQTT_PASSWORD", "x")], ..Given::default() }.load();
    assert_eq!(problems(&loaded), [""; 0]);
    assert!(loaded.settings.is_some());
}

#[test]
fn the_sample_has_every_key_and_no_other() {
    let text = uncommented();
    let loaded = Given { files: &[&text], environment: &[("MQTT_PASSWORD", "x")], ..Given::default() }.load();
    let mut written: BTreeSet<String> = loaded.values.iter().map(|shown| shown.key.replace(".0.", ".")).collect();
    assert!(loaded.values.iter().all(|shown| shown.origin.to_string().starts_with("1.toml:")), "a key is not written");
    assert!(written.remove("kafka.properties.compression.type"));
    let mut known = known();
    assert!(known.remove("kafka.properties") && known.remove("kafka.create"));
    assert_eq!(written, known);
}

/// A number is what no key takes: each wants text, a unit, a whole number, a choice, a list or a table.
#[test]
fn a_mistake_in_any_key_of_the_sample_is_told_with_place_value_and_remedy() {
    const WRONG: &str = "-77.5";
    const SECRETS: [&str; 2] = ["username", "password"];
    let text = uncommented();
    let lines: Vec<&str> = text.lines().collect();
    let (mut section, mut tried, mut wrong) = (String::new(), 0, Vec::new());
    for (at, line) in lines.iter().enumerate() {
        if line.starts_with('[') {
            let list = line.starts_with("[[");
            section = line.trim_matches(['[', ']']).to_owned() + if list { ".0" } else { "" };
        }
        let Some((key, _)) = line.split_once(" = ").filter(|_| !line.starts_with('#')) else { continue };
        let mistaken = format!("{key} = {WRONG}");
        let mut lines = lines.clone();
        lines[at] = &mistaken;
        let text = lines.join("\n");
        let loaded = Given { files: &[&text], environment: &[("MQTT_PASSWORD", "x")], ..Given::default() }.load();
        let found = problems(&loaded);
        // What may be a secret is not shown.
        let rest = if SECRETS.contains(&key) { ["a value", "put it in quotes"] } else { [WRONG, "write "] };
        let told = |problem: &str| {
            problem.starts_with(&format!("1.toml:{}:", at + 1))
                && problem.contains(&format!("{section}.{key}"))
                && rest.iter().all(|part| problem.contains(part))
        };
        // Without its name the source of the route is not found either.
        if found.iter().filter(|problem| told(problem)).count() != 1 || found.len() > 2 {
            wrong.push(format!("{section}.{key}: {found:#?}"));
        }
        tried += 1;
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    // `create` is one line with two keys in it.
    assert_eq!(tried, known().len() - 2);
}

#[test]
fn the_defaults_of_the_sample_are_the_real_ones() {
    let text = uncommented();
    let loaded = Given { files: &[&text], environment: &[("MQTT_PASSWORD", "x")], ..Given::default() }.load();
    let mut defaults = Vec::new();
    layers::defaults().leaves("", &mut |key: &str, node: &Node| defaults.push((key.to_owned(), node.shown())));
    assert!(defaults.len() > 15);
    for (key, default) in &defaults {
        let shown = loaded.values.iter().find(|shown| shown.key.replace(".0.", ".") == *key);
        assert_eq!(shown.map(|shown| &shown.value), Some(default), "{key}");
    }
    // What is off and has no default is called an example.
    let lines: Vec<&str> = SAMPLE.lines().collect();
    let mut section = "";
    for (at, line) in lines.iter().enumerate() {
        if line.starts_with('[') {
            section = line.trim_matches(['[', ']']);
        }
        let Some((key, _)) =
            line.strip_prefix('#').filter(|line| !line.starts_with(' ')).and_then(|line| line.split_once(" = "))
        else {
            continue;
        };
        let has_default = defaults.iter().any(|(default, _)| *default == format!("{section}.{key}"));
        let is_example = lines[at - 1].starts_with("# Example, default");
        assert_ne!(has_default, is_example, "{section}.{key}");
    }
}
