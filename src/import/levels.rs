//! Topics level by level: what a text of another broker's becomes in a rule, and whether two filters can meet.

/// A text in which a percent sign means nothing, as a rule writes it.
pub(super) fn literal(text: &str) -> String {
    text.replace('%', "%%")
}

/// A text in which `%u` and `%c` are values where they are a whole level, and literal anywhere else.
pub(super) fn whole_level_values(text: &str) -> String {
    let level = |level: &str| if matches!(level, "%u" | "%c") { level.to_owned() } else { literal(level) };
    text.split('/').map(level).collect::<Vec<_>>().join("/")
}

/// A text in which `%u` and `%c` are values wherever they stand.
pub(super) fn values_anywhere(text: &str) -> String {
    let mut written = String::with_capacity(text.len() + 4);
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('%') {
        written.push_str(before);
        let value = after.starts_with(['u', 'c']);
        written.push_str(if value { "%" } else { "%%" });
        rest = after;
    }
    written + rest
}

/// Whether `%u` or `%c` stands in a level together with something else.
pub(super) fn has_embedded_value(text: &str) -> bool {
    text.split('/').any(|level| level.len() > 2 && (level.contains("%u") || level.contains("%c")))
}

/// Whether it begins with `$CONTROL` and holds what a rule for `$CONTROL` must not.
pub(super) fn is_open_control(text: &str) -> bool {
    (text == "$CONTROL" || text.starts_with("$CONTROL/"))
        && text.split('/').any(|level| matches!(level, "+" | "#") || level.contains("%u") || level.contains("%c"))
}

/// Whether some topic may match both; a level with a value in it may be anything.
pub(super) fn may_meet(one: &str, other: &str) -> bool {
    let open = |level: &str| level == "+" || level.contains("%u") || level.contains("%c");
    let begins_open = |text: &str| text.starts_with(['+', '#']);
    if (one.starts_with('$') && begins_open(other)) || (other.starts_with('$') && begins_open(one)) {
        return false;
    }
    let (mut ones, mut others) = (one.split('/'), other.split('/'));
    loop {
        match (ones.next(), others.next()) {
            (Some("#"), _) | (_, Some("#")) | (None, None) => return true,
            (Some(a), Some(b)) if a == b || open(a) || open(b) => {}
            _ => return false,
        }
    }
}

/// Whether a topic name matches a filter of literal levels and wildcards, as Mosquitto has it: what begins with `$` is
/// matched only by what begins with `$`.
pub(super) fn matches(filter: &str, topic: &str) -> bool {
    if filter.starts_with('$') != topic.starts_with('$') {
        return false;
    }
    let mut names = topic.split('/');
    for level in filter.split('/') {
        match (level, names.next()) {
            ("#", _) => return true,
            ("+", Some(_)) => {}
            (level, Some(name)) if level == name => {}
            _ => return false,
        }
    }
    names.next().is_none()
}
