//! Whether markup is whole: every tag closed, in order, and nothing fetched.

/// Elements that have no end.
const VOID: [&str; 3] = ["meta", "input", "br"];
/// Elements whose content is no markup.
const RAW: [&str; 2] = ["script", "style"];

/// Checks a page or an SVG; `Err` says what is wrong where. A page may have scripts of its own; nothing may be fetched.
pub(crate) fn check(markup: &str) -> Result<usize, String> {
    for forbidden in
        ["<link", "<img", "<iframe", "<object", "@import", "url(", " src=", "javascript:"]
    {
        if markup.contains(forbidden) {
            return Err(format!("{forbidden:?} fetches something"));
        }
    }
    // The name of a namespace is no address: nothing is fetched from it.
    let addresses = markup.replace("xmlns=\"http://www.w3.org/2000/svg\"", "");
    if let Some(at) = addresses.find("http://").or_else(|| addresses.find("https://")) {
        return Err(format!(
            "an address: {:?}",
            addresses[at..].chars().take(60).collect::<String>()
        ));
    }
    let mut open: Vec<String> = Vec::new();
    let mut elements = 0;
    let mut rest = markup;
    while let Some(start) = rest.find('<') {
        if let Some(at) = rest[..start].find('>') {
            return Err(format!("a stray '>' in {:?}", &rest[..=at]));
        }
        let tag_end = end_of_tag(&rest[start..]).ok_or("a tag without end")? + start;
        let tag = &rest[start + 1..tag_end];
        rest = &rest[tag_end + 1..];
        if tag.starts_with('!') {
            continue;
        }
        if let Some(name) = tag.strip_prefix('/') {
            let last = open.pop().ok_or(format!("</{name}> closes nothing"))?;
            if last != name.trim() {
                return Err(format!("</{name}> closes <{last}>"));
            }
            continue;
        }
        elements += 1;
        let name = tag.split([' ', '\n', '/']).next().unwrap_or_default().to_owned();
        if RAW.contains(&name.as_str()) {
            let end = format!("</{name}>");
            let at = rest.find(&end).ok_or(format!("<{name}> is never closed"))?;
            rest = &rest[at + end.len()..];
        } else if !tag.ends_with('/') && !VOID.contains(&name.as_str()) {
            open.push(name);
        }
    }
    match open.last() {
        None => Ok(elements),
        Some(name) => Err(format!("<{name}> is never closed")),
    }
}

/// Where the first `>` stands that is in no quotes.
fn end_of_tag(tag: &str) -> Option<usize> {
    let mut quoted = false;
    tag.char_indices().find_map(|(at, character)| {
        quoted ^= character == '"';
        (character == '>' && !quoted).then_some(at)
    })
}
