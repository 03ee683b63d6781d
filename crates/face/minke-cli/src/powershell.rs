//! The completion script for PowerShell, made from the command table like those in `completion.rs`.
//!
//! PowerShell has no `case` over words worth the name: the table goes into the script as a hash table, and a dozen lines
//! walk over it.

use crate::command::Command;
use crate::completion::{first_words, spelled, visible};
use crate::flag::{Complete, Flag, Kind};
use crate::session::GLOBALS;
use crate::table::{self, GROUPS};
use std::fmt::Write;

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

fn list(words: &[String]) -> String {
    let words: Vec<String> = words.iter().map(|word| quoted(word)).collect();
    format!("@({})", words.join(", "))
}

/// What is asked from the engine, as words of a command line.
fn question(complete: Complete) -> Option<&'static [&'static str]> {
    match complete {
        Complete::Nothing | Complete::Files | Complete::Words(_) => None,
        Complete::Containers => Some(&["ps", "-a", "--format", "{{.Names}}"]),
        Complete::Running => Some(&["ps", "--format", "{{.Names}}"]),
        Complete::Images => Some(&["images", "--format", "{{.Repository}}:{{.Tag}}"]),
        Complete::Networks => Some(&["network", "ls", "--format", "{{.Name}}"]),
        Complete::Volumes => Some(&["volume", "ls", "-q"]),
        Complete::Contexts => Some(&["context", "ls", "-q"]),
    }
}

/// A value of the hash table: words to offer, a question to ask, or nothing for file names.
fn offer(complete: Complete) -> String {
    let owned = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    match (complete, question(complete)) {
        (Complete::Words(words), _) => format!("@{{ Words = {} }}", list(&owned(words))),
        (_, Some(question)) => format!("@{{ Ask = {} }}", list(&owned(question))),
        _ => "@{}".to_owned(),
    }
}

fn entry(command: &'static Command) -> String {
    let flags: Vec<&'static Flag> = visible(command);
    let names: Vec<String> = flags.iter().flat_map(|flag| spelled(flag)).collect();
    let mut values = String::new();
    for flag in flags.iter().filter(|flag| flag.kind != Kind::Bool) {
        for name in spelled(flag) {
            // Keys differ in case only, which a plain hash table would not hold apart.
            let _infallible = write!(values, " $v[{}] = {};", quoted(&name), offer(flag.complete));
        }
    }
    format!(
        "$v = New-Object System.Collections.Hashtable ([StringComparer]::Ordinal);{values} @{{ Flags = {}; Values = $v; Arguments = {} }}",
        list(&names),
        offer(command.complete)
    )
}

pub(crate) fn script(program: &str) -> String {
    let mut table = String::new();
    for command in table::commands() {
        for path in command.paths {
            let _infallible = writeln!(table, "$minke[{}] = & {{ {} }}", quoted(path), entry(command));
        }
    }
    for (group, _) in GROUPS {
        let names: Vec<String> = table::group_commands(group).map(|(name, _)| name.to_owned()).collect();
        let _infallible = writeln!(table, "$minke[{}] = @{{ Words = {} }}", quoted(group), list(&names));
    }
    let first: Vec<String> = first_words().iter().map(|(name, _)| (*name).to_owned()).collect();
    let globals: Vec<String> = GLOBALS.iter().flat_map(spelled).collect();
    let valued: Vec<String> =
        GLOBALS.iter().filter(|flag| flag.kind != Kind::Bool).flat_map(spelled).collect();
    let groups: Vec<String> = GROUPS.iter().map(|(name, _)| (*name).to_owned()).collect();
    format!(
        r#"# PowerShell completion for {program}, made by `{program} completion powershell`
$minke = New-Object System.Collections.Hashtable ([StringComparer]::Ordinal)
$minke[''] = @{{ Flags = {globals}; Words = {first} }}
{table}
Register-ArgumentCompleter -Native -CommandName {program} -ScriptBlock {{
  param($wordToComplete, $commandAst, $cursorPosition)
  $valued = {valued}
  $groups = {groups}
  $before = @($commandAst.CommandElements | Select-Object -Skip 1 | Where-Object {{ $_.Extent.EndOffset -lt $cursorPosition }} | ForEach-Object {{ $_.ToString() }})
  $path = ''
  $skip = $false
  foreach ($word in $before) {{
    if ($skip) {{ $skip = $false; continue }}
    if ($word.StartsWith('-')) {{ $skip = ($path -eq '') -and ($valued -ccontains $word); continue }}
    if ($path -eq '') {{ $path = $word }} elseif ($groups -ccontains $path) {{ $path = "$path $word" }}
  }}
  $here = $minke[$path]
  if ($null -eq $here) {{ return }}
  $previous = if ($before.Count) {{ $before[-1] }} else {{ '' }}
  $offer = $null
  if ($here.Values -and $here.Values.ContainsKey($previous)) {{ $offer = $here.Values[$previous] }}
  $words = if ($offer) {{ @($offer.Words) }} elseif ($wordToComplete.StartsWith('-')) {{ @($here.Flags) }} else {{ @($here.Words) + @($here.Arguments.Words) }}
  $ask = if ($offer) {{ $offer.Ask }} elseif (-not $wordToComplete.StartsWith('-')) {{ $here.Arguments.Ask }}
  if ($ask) {{ $words += @(& {program} @ask 2>$null) }}
  $words | Where-Object {{ $_ -and $_.StartsWith($wordToComplete) }} | ForEach-Object {{
    [System.Management.Automation.CompletionResult]::new($_, $_, 'ParameterValue', $_)
  }}
}}.GetNewClosure()
"#,
        globals = list(&globals),
        first = list(&first),
        valued = list(&valued),
        groups = list(&groups),
    )
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_command_and_its_flags_are_in_the_script() {
        let script = super::script("minke");
        for part in [
            "$minke['run']",
            "$minke['container run']",
            "$minke['network']",
            "'--cap-add'",
            "'always', 'missing', 'never'",
        ] {
            assert!(script.contains(part), "{part}");
        }
        assert_eq!(script.matches('{').count(), script.matches('}').count());
        assert_eq!(script.matches('\'').count() % 2, 0);
    }
}
