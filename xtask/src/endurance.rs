//! `cargo xtask endurance`: the daemon restarted under load, for as long and as often as is said.

use anyhow::{Result, bail};

use crate::{fixtures, step};

pub(crate) fn main(args: &[String]) -> Result<()> {
    let (mut minutes, mut restarts) = ("10".to_owned(), "100".to_owned());
    let mut rest = args.iter();
    while let Some(word) = rest.next() {
        let (name, given) = match word.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (word.as_str(), rest.next().cloned()),
        };
        let Some(value) = given.filter(|value| value.parse::<f64>().is_ok_and(|number| number > 0.0)) else {
            bail!("{name} wants a number above zero");
        };
        match name {
            "--minutes" => minutes = value,
            "--restarts" => restarts = value,
            other => bail!("unknown option {other}: --minutes N and --restarts N are known"),
        }
    }
    fixtures::main()?;
    step::run(&["cargo", "build", "--release", "--package", "minke"])?;
    let test = ["cargo", "test", "--package", "minke-tests", "--test", "endurance", "--", "--nocapture"];
    let mut command = step::command(&test);
    command.env("MINKE_ENDURANCE_MINUTES", minutes).env("MINKE_ENDURANCE_RESTARTS", restarts);
    step::run_with(command)
}
