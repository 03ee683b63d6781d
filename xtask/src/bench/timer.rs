//! Takes the time of commands: spawned directly (`posix_spawn`, cheap), waited for, exit status checked.
//!
//! Peers may live in a mount namespace of their own. A wrapper such as `nsenter` would add its own start to every sample, so the
//! bench starts itself once through the wrapper, as an *agent*: it reads one request per line, takes the time in there, and answers
//! one line. The agent is the program file of the running bench, named through `/proc`, so nothing has to be installed.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

/// First word of the agent's command line after `bench`.
pub(crate) const AGENT: &str = "agent";
/// As much of a failed command's complaint as is shown.
const COMPLAINT: usize = 600;

/// A command to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Order {
    pub(crate) words: Vec<String>,
    pub(crate) env: Vec<(String, String)>,
}

/// What came of a request.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) time: Duration,
    /// Standard output of the last command, when it was asked for.
    pub(crate) output: String,
}

/// Where orders are carried out.
#[derive(Debug)]
pub(crate) enum Place {
    Here,
    Agent(Box<Agent>),
}

impl Place {
    /// Runs the orders, `parallel` at a time, and takes the time of it all.
    pub(crate) fn time(&mut self, orders: &[Order], parallel: usize) -> Result<Duration> {
        Ok(self.request(orders, parallel, false)?.time)
    }

    /// Runs one order for what it prints.
    pub(crate) fn output(&mut self, order: &Order) -> Result<String> {
        Ok(self.request(std::slice::from_ref(order), 1, true)?.output)
    }

    fn request(&mut self, orders: &[Order], parallel: usize, keep: bool) -> Result<Outcome> {
        match self {
            Self::Here => carry_out(orders, parallel, keep),
            Self::Agent(agent) => agent.request(orders, parallel, keep),
        }
    }
}

/// The bench's own program, started through a wrapper.
#[derive(Debug)]
pub(crate) struct Agent {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
}

impl Agent {
    pub(crate) fn start(wrap: &[String]) -> Result<Self> {
        let (program, rest) = wrap.split_first().context("an empty wrapper")?;
        let own = format!("/proc/{}/exe", std::process::id());
        let mut child = Command::new(program)
            .args(rest)
            .args([&own, "bench", AGENT])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("start the wrapper `{}`", wrap.join(" ")))?;
        let stdin = child.stdin.take();
        let stdout = child.stdout.take().context("the agent's standard output")?;
        Ok(Self { child, stdin, stdout: BufReader::new(stdout) })
    }

    fn request(&mut self, orders: &[Order], parallel: usize, keep: bool) -> Result<Outcome> {
        let orders: Vec<Value> =
            orders.iter().map(|order| json!({ "words": order.words, "env": order.env })).collect();
        let line = json!({ "orders": orders, "parallel": parallel, "keep": keep });
        let stdin = self.stdin.as_mut().context("the agent has been closed")?;
        writeln!(stdin, "{line}").context("ask the agent")?;
        let mut answer = String::new();
        self.stdout.read_line(&mut answer).context("hear the agent")?;
        let answer: Value = serde_json::from_str(&answer).context("the agent's answer")?;
        if let Some(error) = answer["error"].as_str() {
            bail!("{error}");
        }
        let nanos = answer["nanos"].as_u64().context("the agent's answer has no time")?;
        let output = answer["output"].as_str().unwrap_or_default().to_owned();
        Ok(Outcome { time: Duration::from_nanos(nanos), output })
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        // End of input ends it; it is this process's child and nothing can be done if waiting fails.
        drop(self.stdin.take());
        drop(self.child.wait());
    }
}

/// The agent's life: requests from standard input, answers to standard output.
pub(crate) fn serve() -> Result<()> {
    for line in std::io::stdin().lock().lines() {
        let request: Value = serde_json::from_str(&line?)?;
        let orders: Vec<Order> = request["orders"].as_array().into_iter().flatten().map(order).collect();
        let parallel = request["parallel"].as_u64().and_then(|n| usize::try_from(n).ok()).unwrap_or(1);
        let keep = request["keep"].as_bool().unwrap_or_default();
        let answer = match carry_out(&orders, parallel, keep) {
            Ok(outcome) => {
                let nanos = u64::try_from(outcome.time.as_nanos()).unwrap_or(u64::MAX);
                json!({ "nanos": nanos, "output": outcome.output })
            }
            Err(error) => json!({ "error": format!("{error:#}") }),
        };
        let mut stdout = std::io::stdout().lock();
        writeln!(stdout, "{answer}")?;
        stdout.flush()?;
    }
    Ok(())
}

fn order(value: &Value) -> Order {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    Order {
        words: value["words"].as_array().into_iter().flatten().map(text).collect(),
        env: value["env"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|pair| (text(&pair[0]), text(&pair[1])))
            .collect(),
    }
}

fn carry_out(orders: &[Order], parallel: usize, keep: bool) -> Result<Outcome> {
    if parallel > 1 {
        let time = in_parallel(orders, parallel)?;
        return Ok(Outcome { time, output: String::new() });
    }
    let mut prepared: Vec<Prepared> = orders.iter().map(Prepared::new).collect::<Result<_>>()?;
    let mut time = Duration::ZERO;
    for order in &mut prepared {
        time += order.run()?;
    }
    let output = match prepared.last_mut() {
        Some(last) if keep => last.output()?,
        _ => String::new(),
    };
    Ok(Outcome { time, output })
}

/// Each thread takes the next order that nobody has taken.
fn in_parallel(orders: &[Order], parallel: usize) -> Result<Duration> {
    let prepared: Vec<Prepared> = orders.iter().map(Prepared::new).collect::<Result<_>>()?;
    let queue = std::sync::Mutex::new(prepared.into_iter());
    let next = || queue.lock().ok().and_then(|mut orders| orders.next());
    let start = Instant::now();
    std::thread::scope(|scope| {
        let work = || -> Result<()> {
            while let Some(mut order) = next() {
                order.run()?;
            }
            Ok(())
        };
        let threads: Vec<_> = (0..parallel).map(|_| scope.spawn(work)).collect();
        threads
            .into_iter()
            .try_for_each(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    })?;
    Ok(start.elapsed())
}

/// A command with its files open, so that nothing but the command is timed.
struct Prepared {
    command: Command,
    line: String,
    stdout: File,
    stderr: File,
}

impl Prepared {
    fn new(order: &Order) -> Result<Self> {
        let (program, rest) = order.words.split_first().context("an empty command")?;
        let stdout = tempfile::tempfile().context("a file for standard output")?;
        let stderr = tempfile::tempfile().context("a file for standard error")?;
        let mut command = Command::new(program);
        command.args(rest).envs(order.env.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::null()).stdout(stdout.try_clone()?).stderr(stderr.try_clone()?);
        Ok(Self { command, line: order.words.join(" "), stdout, stderr })
    }

    fn run(&mut self) -> Result<Duration> {
        let start = Instant::now();
        let status = self.command.status();
        let time = start.elapsed();
        let status = status.with_context(|| format!("start `{}`", self.line))?;
        if !status.success() {
            let complaint: String = read_back(&mut self.stderr)?.chars().take(COMPLAINT).collect();
            bail!("`{}`: {status}: {}", self.line, complaint.trim());
        }
        Ok(time)
    }

    fn output(&mut self) -> Result<String> {
        read_back(&mut self.stdout)
    }
}

fn read_back(file: &mut File) -> Result<String> {
    file.seek(SeekFrom::Start(0))?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sh(script: &str) -> Order {
        Order {
            words: vec!["sh".into(), "-c".into(), script.into()],
            env: vec![("WORD".into(), "hi".into())],
        }
    }

    #[test]
    fn commands_are_timed_and_their_output_kept_when_asked_for() {
        let mut place = Place::Here;
        assert!(place.time(&[sh("sleep 0.02"), sh("sleep 0.02")], 1).unwrap() >= Duration::from_millis(40));
        assert!(place.time(&[sh("sleep 0.05"), sh("sleep 0.05")], 2).unwrap() < Duration::from_millis(95));
        assert_eq!(place.output(&sh("echo $WORD")).unwrap(), "hi\n");
    }

    #[test]
    fn a_failed_command_is_named_with_its_complaint() {
        let error = Place::Here.time(&[sh("echo no such thing >&2; exit 3")], 1).unwrap_err().to_string();
        assert!(error.contains("exit status: 3: no such thing"), "{error}");
    }
}
