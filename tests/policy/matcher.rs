//! Whether a filter matches a topic: beside a naive model, and beside the broker's own matcher.

use mosquitto_warden::policy::topic::{Filter, check_filter, check_name};
use proptest::prelude::*;

use crate::broker_matcher::BrokerMatcher;

/// The specification word by word, one level at a time.
fn model(filter: &str, topic: &str) -> bool {
    fn levels(filter: &[&str], topic: &[&str]) -> bool {
        match (filter, topic) {
            (["#"], _) | ([], []) => true,
            ([], _) | (_, []) => false,
            (["+", filter @ ..], [_, topic @ ..]) => levels(filter, topic),
            ([wanted, filter @ ..], [found, topic @ ..]) => wanted == found && levels(filter, topic),
        }
    }
    let filter: Vec<&str> = filter.split('/').collect();
    let topic: Vec<&str> = topic.split('/').collect();
    let hidden = topic[0].starts_with('$') && ["+", "#"].contains(&filter[0]);
    !hidden && levels(&filter, &topic)
}

/// Levels that are easily confused with each other, and a few that are anything.
fn level() -> impl Strategy<Value = String> {
    let known = prop::sample::select(vec!["", "", "a", "a", "b", "ab", "$", "$SYS", "$a", "é", " ", "%u"]);
    prop_oneof![8 => known.prop_map(str::to_owned), 1 => "[^/+#\\x00]{0,3}"]
}

fn topic() -> impl Strategy<Value = String> {
    prop::collection::vec(level(), 1..6)
        .prop_map(|levels| levels.join("/"))
        .prop_filter("not empty", |topic| !topic.is_empty())
}

/// A filter made of a topic, so that about half of the pairs match.
fn filter_and_topic() -> impl Strategy<Value = (String, String)> {
    let choice = prop::collection::vec((0..8_u8, level()), 6);
    (topic(), choice, 0..8_usize, any::<bool>()).prop_map(|(topic, choices, cut, hash)| {
        let mut filter: Vec<String> = topic
            .split('/')
            .zip(choices)
            .map(|(found, (choice, other))| match choice {
                0..=1 => "+".to_owned(),
                2 => other,
                _ => found.to_owned(),
            })
            .collect();
        if hash {
            filter.truncate(cut);
            filter.push("#".to_owned());
        }
        (filter.join("/"), topic)
    })
}

proptest! {
    #[test]
    fn a_filter_matches_as_the_specification_says((filter, topic) in filter_and_topic(), other in topic()) {
        prop_assume!(!filter.is_empty());
        let parsed = Filter::parse(&filter).unwrap();
        prop_assert_eq!(parsed.matches(&topic), model(&filter, &topic), "{:?} {:?}", &filter, &topic);
        prop_assert_eq!(parsed.matches(&other), model(&filter, &other), "{:?} {:?}", &filter, &other);
    }

    #[test]
    fn a_filter_matches_as_the_broker_says((filter, topic) in filter_and_topic(), other in topic()) {
        prop_assume!(!filter.is_empty());
        let broker = BrokerMatcher::open();
        let parsed = Filter::parse(&filter).unwrap();
        prop_assert_eq!(parsed.matches(&topic), broker.matches(&filter, &topic), "{:?} {:?}", &filter, &topic);
        prop_assert_eq!(parsed.matches(&other), broker.matches(&filter, &other), "{:?} {:?}", &filter, &other);
    }

    #[test]
    fn a_text_is_a_name_or_a_filter_where_the_broker_says_so(text in "[ab$/+#é]{1,8}") {
        let broker = BrokerMatcher::open();
        prop_assert_eq!(check_name(&text).is_ok(), broker.takes_name(&text), "{:?}", &text);
        prop_assert_eq!(check_filter(&text).is_ok(), broker.takes_filter(&text), "{:?}", &text);
    }
}

#[test]
fn the_length_is_limited_as_by_the_broker() {
    let broker = BrokerMatcher::open();
    for length in [65_535, 65_536] {
        let text = "a".repeat(length);
        assert_eq!(check_filter(&text).is_ok(), broker.takes_filter(&text), "{length}");
        assert_eq!(check_name(&text).is_ok(), broker.takes_name(&text), "{length}");
    }
}

/// The known differences. The depth is limited in the broker's own copy of these functions, not in the library's; an
/// empty text is refused by the broker before it asks, and by the library from 2.0.21 on.
#[test]
fn an_empty_and_a_too_deep_text_are_refused_whatever_the_library_says() {
    assert!(check_name("").is_err() && check_filter("").is_err());
    assert!(check_name(&"/".repeat(201)).is_err() && check_filter(&"/".repeat(201)).is_err());
    assert!(check_name(&"/".repeat(200)).is_ok() && check_filter(&"/".repeat(200)).is_ok());
}

#[test]
fn a_table_of_filters_and_topics() {
    let matching = [
        ("a", "a"),
        ("/", "/"),
        ("//", "//"),
        ("+", "a"),
        ("+/+", "/"),
        ("+/+", "a/"),
        ("+/+", "/a"),
        ("/+", "/"),
        ("+/", "/"),
        ("+//+", "a//b"),
        ("a/+/+/#", "a//"),
        ("a//#", "a/"),
        ("a//#", "a//"),
        ("a//#", "a//b"),
        ("#", "a"),
        ("#", "/"),
        ("#", "//a"),
        ("/#", "/"),
        ("/#", "/a"),
        ("a/#", "a"),
        ("a/#", "a/"),
        ("a/+/#", "a/b"),
        ("+/#", "a"),
        ("+/#", "/a"),
        ("a/+/c", "a//c"),
        ("a/b/c/d/e/f", "a/b/c/d/e/f"),
        ("$SYS/#", "$SYS"),
        ("$SYS/#", "$SYS/a"),
        ("$SYS/+/b", "$SYS/a/b"),
        ("$", "$"),
        ("$/+", "$/$"),
        ("a/+", "a/$SYS"),
        ("+/$SYS", "a/$SYS"),
        ("/#", "/$SYS"),
        ("+/é", "ü/é"),
        ("a/%u", "a/%u"),
    ];
    let differing = [
        ("a", "A"),
        ("a", "a/"),
        ("a", "/a"),
        ("a", "ab"),
        ("ab", "a"),
        ("a/", "a"),
        ("/", "//"),
        ("+", "/"),
        ("+", "/a"),
        ("+/+", "a"),
        ("+/+", "a/b/c"),
        ("a/+", "a"),
        ("a/+/#", "a"),
        ("a//#", "a"),
        ("a//#", "a/b"),
        ("a//#", "ab"),
        ("a/#", "ab"),
        ("a/#", "b/a"),
        ("a/#", "/a"),
        ("/#", "a"),
        ("a/b/#", "a"),
        ("a/+/c", "a/b/d"),
        ("a/+/c", "a/b/c/d"),
        ("#", "$SYS"),
        ("#", "$"),
        ("+", "$SYS"),
        ("+/a", "$SYS/a"),
        ("+/#", "$SYS"),
        ("$SYS/#", "SYS/a"),
        ("$SYS/#", "$SYSa"),
        ("$SYS/#", "$sys/a"),
        ("SYS/a", "$SYS/a"),
    ];
    let broker = BrokerMatcher::open();
    let cases = matching.map(|case| (case, true)).into_iter().chain(differing.map(|case| (case, false)));
    for ((filter, topic), expected) in cases {
        check_name(topic).unwrap();
        assert_eq!(Filter::parse(filter).unwrap().matches(topic), expected, "{filter} {topic}");
        assert_eq!(broker.matches(filter, topic), expected, "the broker: {filter} {topic}");
    }
}
