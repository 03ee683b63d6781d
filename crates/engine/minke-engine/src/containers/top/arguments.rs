//! What ps is asked for, as data: columns, order, which processes, threads.

use super::process::Field;
use crate::error::{Error, Result};

/// A listing that was asked for.
#[derive(Debug, Default)]
pub(super) struct Listing {
    pub(super) columns: Vec<Column>,
    /// A row for each thread.
    pub(super) threads: bool,
    /// By what, the most important first, and whether the largest comes first.
    pub(super) order: Vec<(Field, bool)>,
    /// Children below their parents.
    pub(super) tree: Option<Tree>,
    /// Only programs of these names.
    pub(super) names: Vec<String>,
    /// Only these processes.
    pub(super) pids: Vec<i32>,
}

/// How children are shown below their parents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tree {
    /// By their order.
    Order,
    /// With a branch before the command.
    Drawn,
}

/// One column: its heading and what is under it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Column {
    pub(super) title: String,
    pub(super) field: Field,
}

impl Column {
    fn new(title: &str, field: Field) -> Self {
        Self { title: title.to_owned(), field }
    }
}

/// The letters that say which columns, when no list does.
#[derive(Debug, Default)]
struct Format {
    full: bool,
    extra: bool,
    long: bool,
    jobs: bool,
    threads: bool,
    /// A letter without a dash was among them: BSD's columns.
    bsd: bool,
    user: bool,
}

/// Reads the words that ps would be given.
pub(super) fn parse(text: &str) -> Result<Listing> {
    let unknown = || {
        Error::invalid(format!(
            "ps arguments {text:?} are not known here: columns are chosen by -f, -F, -l, -j, -L, u, j, l or -o with a list, \
             the order by --sort, -H or --forest, processes by -C or -p"
        ))
    };
    let (mut listing, mut format) = (Listing::default(), Format::default());
    let mut words = text.split_whitespace();
    while let Some(word) = words.next() {
        let mut value = |rest: &str| -> Result<String> {
            let rest = rest.strip_prefix('=').unwrap_or(rest);
            if rest.is_empty() {
                words.next().map(str::to_owned).ok_or_else(unknown)
            } else {
                Ok(rest.to_owned())
            }
        };
        if let Some(long) = word.strip_prefix("--") {
            let (name, rest) = long.split_at(long.find('=').unwrap_or(long.len()));
            match name {
                "sort" => listing.order.extend(parse_order(&value(rest)?)?),
                "format" => listing.columns.extend(parse_columns(&value(rest)?)?),
                "forest" => listing.tree = Some(Tree::Drawn),
                "pid" => listing.pids.extend(parse_pids(&value(rest)?).ok_or_else(unknown)?),
                _ => return Err(unknown()),
            }
            continue;
        }
        let (dash, letters) = word.strip_prefix('-').map_or((false, word), |letters| (true, letters));
        // As ps itself takes it where nobody is called x.
        let dash = dash && !matches!(letters, "aux" | "auxw" | "auxww" | "ux" | "u");
        format.bsd |= !dash;
        for (at, letter) in letters.char_indices() {
            let rest = &letters[at + 1..];
            match (dash, letter) {
                // Which processes: the container's, whatever is said.
                (true, 'e' | 'A' | 'a' | 'd' | 'w') | (false, 'a' | 'x' | 'g' | 'w') => {}
                (true, 'f') => format.full = true,
                (true, 'F') => (format.full, format.extra) = (true, true),
                (_, 'l') => format.long = true,
                (_, 'j') => format.jobs = true,
                (true, 'L') => (format.threads, listing.threads) = (true, true),
                (true, 'H') => listing.tree = Some(Tree::Order),
                (false, 'f') => listing.tree = Some(Tree::Drawn),
                (false, 'u') => format.user = true,
                (_, 'o') => listing.columns.extend(parse_columns(&value(rest)?)?),
                (false, 'k') => listing.order.extend(parse_order(&value(rest)?)?),
                (true, 'C') => listing.names.extend(value(rest)?.split(',').map(str::to_owned)),
                (_, 'p' | 'q') => listing.pids.extend(parse_pids(&value(rest)?).ok_or_else(unknown)?),
                _ => return Err(unknown()),
            }
            if matches!((dash, letter), (_, 'o' | 'p' | 'q') | (false, 'k') | (true, 'C')) {
                break;
            }
        }
    }
    if listing.columns.is_empty() {
        listing.columns = format.columns();
    }
    if !listing.columns.iter().any(|column| column.title == "PID") {
        return Err(Error::system("Couldn't find PID field in ps output"));
    }
    Ok(listing)
}

fn parse_pids(list: &str) -> Option<Vec<i32>> {
    list.split(',').map(|pid| pid.parse().ok()).collect()
}

fn parse_order(list: &str) -> Result<Vec<(Field, bool)>> {
    let keys = list.split(',').filter(|key| !key.is_empty());
    keys.map(|key| {
        let name = key.trim_start_matches(['+', '-']);
        let (field, _) =
            Field::named(name).ok_or_else(|| Error::system("ps: error: unknown sort specifier"))?;
        Ok((field, key.starts_with('-')))
    })
    .collect()
}

fn parse_columns(list: &str) -> Result<Vec<Column>> {
    let names = list.split(',').filter(|name| !name.is_empty());
    names
        .map(|name| {
            let (name, title) =
                name.split_once('=').map_or((name, None), |(name, title)| (name, Some(title)));
            // A width is for people who look at lines.
            let name = name.split_once(':').map_or(name, |(name, _width)| name);
            let (field, heading) = Field::named(name).ok_or_else(|| {
                Error::system(format!("ps: error: unknown user-defined format specifier \"{name}\""))
            })?;
            Ok(Column::new(title.unwrap_or(heading), field))
        })
        .collect()
}

impl Format {
    fn columns(&self) -> Vec<Column> {
        use Field as F;
        let list: Vec<(&str, F)> = match self {
            Self { bsd: true, user: true, .. } => vec![
                ("USER", F::User),
                ("PID", F::Pid),
                ("%CPU", F::Percent),
                ("%MEM", F::Memory),
                ("VSZ", F::Virtual),
                ("RSS", F::Resident),
                ("TTY", F::Terminal),
                ("STAT", F::Stat),
                ("START", F::Started),
                ("TIME", F::ShortTime),
                ("COMMAND", F::Command),
            ],
            Self { bsd: true, jobs: true, .. } => vec![
                ("PPID", F::Parent),
                ("PID", F::Pid),
                ("PGID", F::Group),
                ("SID", F::Session),
                ("TTY", F::Terminal),
                ("TPGID", F::Foreground),
                ("STAT", F::Stat),
                ("UID", F::UserId),
                ("TIME", F::ShortTime),
                ("COMMAND", F::Command),
            ],
            Self { bsd: true, long: true, .. } => vec![
                ("F", F::Flags),
                ("UID", F::UserId),
                ("PID", F::Pid),
                ("PPID", F::Parent),
                ("PRI", F::Priority),
                ("NI", F::Nice),
                ("VSZ", F::Virtual),
                ("RSS", F::Resident),
                ("WCHAN", F::Waits),
                ("STAT", F::Stat),
                ("TTY", F::Terminal),
                ("TIME", F::ShortTime),
                ("COMMAND", F::Command),
            ],
            Self { bsd: true, full: false, .. } => vec![
                ("PID", F::Pid),
                ("TTY", F::Terminal),
                ("STAT", F::Stat),
                ("TIME", F::ShortTime),
                ("COMMAND", F::Command),
            ],
            _ => self.unix(),
        };
        list.into_iter().map(|(title, field)| Column::new(title, field)).collect()
    }

    /// Each letter adds its columns at their places.
    fn unix(&self) -> Vec<(&'static str, Field)> {
        use Field as F;
        let Self { full, extra, long, jobs, threads, .. } = *self;
        let by_name = full || extra;
        let whole: [(bool, &'static str, F); 23] = [
            (long, "F", F::Flags),
            (long, "S", F::State),
            (by_name, "UID", F::User),
            (long && !by_name, "UID", F::UserId),
            (true, "PID", F::Pid),
            (by_name || long, "PPID", F::Parent),
            (jobs, "PGID", F::Group),
            (jobs, "SID", F::Session),
            (threads, "LWP", F::Thread),
            (by_name || long, "C", F::Share),
            (threads && by_name, "NLWP", F::Threads),
            (long, "PRI", F::PriorityUp),
            (long, "NI", F::Nice),
            (long, "ADDR", F::Nothing),
            (long || extra, "SZ", F::Pages),
            (long, "WCHAN", F::Waits),
            (extra, "RSS", F::Resident),
            (extra, "PSR", F::Processor),
            (by_name, "STIME", F::Started),
            (true, "TTY", F::Terminal),
            (true, "TIME", F::Time),
            (by_name, "CMD", F::Command),
            (!by_name, "CMD", F::Name),
        ];
        whole.into_iter().filter(|(shown, ..)| *shown).map(|(_, title, field)| (title, field)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn titles(args: &str) -> String {
        let columns = parse(args).expect(args).columns;
        columns.into_iter().map(|column| column.title).collect::<Vec<_>>().join(" ")
    }

    /// As procps's ps of Debian 14 prints them.
    #[test]
    fn the_usual_forms_have_ps_s_headings() {
        for (args, wanted) in [
            ("-ef", "UID PID PPID C STIME TTY TIME CMD"),
            ("aux", "USER PID %CPU %MEM VSZ RSS TTY STAT START TIME COMMAND"),
            ("-aux", "USER PID %CPU %MEM VSZ RSS TTY STAT START TIME COMMAND"),
            ("-e", "PID TTY TIME CMD"),
            ("ax", "PID TTY STAT TIME COMMAND"),
            ("axf", "PID TTY STAT TIME COMMAND"),
            ("-eLf", "UID PID PPID LWP C NLWP STIME TTY TIME CMD"),
            ("-el", "F S UID PID PPID C PRI NI ADDR SZ WCHAN TTY TIME CMD"),
            ("-fl", "F S UID PID PPID C PRI NI ADDR SZ WCHAN STIME TTY TIME CMD"),
            ("-F", "UID PID PPID C SZ RSS PSR STIME TTY TIME CMD"),
            ("-ejH", "PID PGID SID TTY TIME CMD"),
            ("-o pid,comm", "PID COMMAND"),
            ("-opid -o ucomm", "PID COMMAND"),
            ("axo pid,ppid,cmd", "PID PPID CMD"),
            ("-eo pid,args=WHAT", "PID WHAT"),
            ("-eo pid:10,comm:3", "PID COMMAND"),
            (
                "-o pid,start,bsdstart,start_time,lstart,stime,tty,tname",
                "PID STARTED START START STARTED STIME TT TTY",
            ),
            ("-eo pid,args --sort=-pid", "PID COMMAND"),
        ] {
            assert_eq!(titles(args), wanted, "{args}");
        }
    }

    #[test]
    fn what_ps_would_refuse_is_refused_in_its_words() {
        let told = |args: &str| parse(args).expect_err(args).message().to_owned();
        for args in ["-o comm", "-eo pid="] {
            assert_eq!(told(args), "Couldn't find PID field in ps output", "{args}");
        }
        assert_eq!(told("-o pid,bad"), "ps: error: unknown user-defined format specifier \"bad\"");
        assert!(told("-Z").contains("not known here"));
        assert!(told("-eo").contains("not known here"));
    }

    #[test]
    fn order_and_choice_are_read() {
        let listing = parse("-C sleep,sh -p 1,2 --sort -rss,pid").expect("known");
        assert_eq!((listing.names.len(), listing.pids), (2, vec![1, 2]));
        assert_eq!(listing.order, [(Field::Resident, true), (Field::Pid, false)]);
        assert_eq!(parse("-ejH").expect("known").tree, Some(Tree::Order));
    }
}
