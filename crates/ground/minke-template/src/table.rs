//! Aligned columns by the rules of Go's `text/tabwriter`, as docker's tables use it.
//!
//! A cell ends with a tab; text after a line's last tab is no cell and takes no part in alignment. A column is a run of
//! neighbouring lines that all have a cell there, so a short line ends the columns above it.

/// Docker's list tables: at least ten wide, three blanks between.
pub const LIST: Tabwriter = Tabwriter { min_width: 10, padding: 3 };

/// Rules of alignment.
#[derive(Clone, Copy, Debug)]
pub struct Tabwriter {
    pub min_width: usize,
    pub padding: usize,
}

impl Tabwriter {
    /// Aligns `text`; lines end with newline, a last line without one is kept so.
    pub fn align(&self, text: &str) -> String {
        let mut lines: Vec<Vec<&str>> = text.split('\n').map(|line| line.split('\t').collect()).collect();
        let unterminated = lines.last().is_some_and(|l| l.len() > 1 || !l[0].is_empty());
        if !unterminated {
            lines.pop();
        }
        let mut widths: Vec<Vec<usize>> = lines.iter().map(|l| vec![0; l.len()]).collect();
        let most = lines.iter().map(Vec::len).max().unwrap_or(0);
        for column in 0..most {
            let mut at = 0;
            while at < lines.len() {
                if lines[at].len() <= column + 1 {
                    at += 1;
                    continue;
                }
                let start = at;
                while at < lines.len() && lines[at].len() > column + 1 {
                    at += 1;
                }
                let width = (start..at)
                    .map(|l| lines[l][column].chars().count() + self.padding)
                    .max()
                    .unwrap_or(0)
                    .max(self.min_width);
                for line in &mut widths[start..at] {
                    line[column] = width;
                }
            }
        }
        let mut out = String::with_capacity(text.len() * 2);
        for (line, widths) in lines.iter().zip(&widths) {
            for (column, cell) in line.iter().enumerate() {
                out.push_str(cell);
                if column + 1 < line.len() {
                    let fill = widths[column].saturating_sub(cell.chars().count());
                    out.extend(std::iter::repeat_n(' ', fill));
                }
            }
            out.push('\n');
        }
        if unterminated {
            out.pop();
        }
        out
    }
}
