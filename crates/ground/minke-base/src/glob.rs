//! Shell patterns as Go's `path.Match` reads them: `*` and `?` do not cross a slash, `[a-z]` and `[^a-z]` are classes, a
//! backslash takes the next character as it is. Filters of listings use it.

/// Whether the whole of `text` fits `pattern`. A malformed pattern fits nothing.
#[must_use]
pub fn matches(pattern: &str, text: &str) -> bool {
    let pattern: Vec<char> = pattern.chars().collect();
    let text: Vec<char> = text.chars().collect();
    fits(&pattern, &text)
}

fn fits(pattern: &[char], text: &[char]) -> bool {
    // Backtracks only to the last star: linear in pattern × text.
    let (mut p, mut t) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    loop {
        if p < pattern.len() && pattern[p] == '*' {
            star = Some((p, t));
            p += 1;
            continue;
        }
        if t == text.len() && p == pattern.len() {
            return true;
        }
        if let Some(next) = (t < text.len()).then(|| fits_one(pattern, p, text[t])).flatten() {
            p = next;
            t += 1;
            continue;
        }
        match star {
            Some((at, from)) if from < text.len() && text[from] != '/' => {
                star = Some((at, from + 1));
                p = at + 1;
                t = from + 1;
            }
            _ => return false,
        }
    }
}

/// Where the pattern goes on when its item at `p` takes `c`.
fn fits_one(pattern: &[char], p: usize, c: char) -> Option<usize> {
    match *pattern.get(p)? {
        '?' => (c != '/').then_some(p + 1),
        '[' => class(pattern, p + 1, c),
        '\\' => (*pattern.get(p + 1)? == c).then_some(p + 2),
        literal => (literal == c).then_some(p + 1),
    }
}

fn class(pattern: &[char], mut p: usize, c: char) -> Option<usize> {
    let negated = *pattern.get(p)? == '^';
    if negated {
        p += 1;
    }
    let mut found = false;
    let first = p;
    loop {
        if *pattern.get(p)? == ']' && p > first {
            return (found != negated).then_some(p + 1);
        }
        let (low, next) = class_char(pattern, p)?;
        let (high, next) =
            if pattern.get(next) == Some(&'-') { class_char(pattern, next + 1)? } else { (low, next) };
        found |= (low..=high).contains(&c);
        p = next;
    }
}

fn class_char(pattern: &[char], p: usize) -> Option<(char, usize)> {
    match *pattern.get(p)? {
        '\\' => Some((*pattern.get(p + 1)?, p + 2)),
        c => Some((c, p + 1)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_as_in_go() {
        for (pattern, text) in [
            ("*", "abc"),
            ("a*c", "abbc"),
            ("a?c", "abc"),
            ("[a-c]x", "bx"),
            ("[^a]x", "bx"),
            ("a\\*", "a*"),
            ("", ""),
            ("b*x:*", "busybox:latest"),
            ("*a*b", "xaxab"),
        ] {
            assert!(matches(pattern, text), "{pattern} {text}");
        }
        for (pattern, text) in
            [("*", "a/b"), ("a", "ab"), ("[a", "a"), ("?", "/"), ("a*", "ba"), ("[^a]", "a")]
        {
            assert!(!matches(pattern, text), "{pattern} {text}");
        }
    }
}
