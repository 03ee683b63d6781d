//! The rest of chapter 8: what an image starts, and what it leaves out. The mailer that sends (8-S06) runs on Debian with Python; the package index it
//! is installed from and the mail service it speaks to are HTTP servers of the test on the bridge, and what it installs is an `nc` and an `aws` that
//! makes Amazon's signed request. The init (8-S09) is Debian's supervisor.

use std::io::Write as _;
use std::net::TcpStream;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use minke_testkit::registries::{Line, Registry, RegistryOptions};
use minke_testkit::{Client, Daemon, Options, Run, fixtures, wait_until};

const BASE: &str = "FROM supervised\nRUN groupadd -r -g 2200 example && useradd -rM -g example -u 2200 example\n\
    ENV APPROOT=\"/app\" \\\n  APP=\"mailer.sh\" \\\n  VERSION=\"0.6\"\nWORKDIR $APPROOT\nENTRYPOINT [\"/app/mailer.sh\"]\nEXPOSE 33333\n";

const LIVE: &str = "FROM dockerinaction/mailer-base:0.6\nARG INDEX\nADD [\"./live-impl\", \"${APPROOT}\"]\n\
    RUN python3 -c \"from urllib.request import urlretrieve as get; get('$INDEX/get-pip.py', 'get-pip.py')\" && \\\n  \
    python3 get-pip.py $INDEX awscli netcat && \\\n  rm get-pip.py && \\\n  chmod a+x \"${APPROOT}/${APP}\"\n\
    USER example:example\nCMD [\"mailer@dockerinaction.com\", \"pager@dockerinaction.com\"]\n";

const MAILER: &str = "#!/bin/sh\nprintf \"Live Mailer has started.\\n\"\nwhile true\ndo\n  MESSAGE=$(nc -l -p 33333)\n  \
    aws ses send-email --from $1 --to $2 --subject 'Message from your mailer' --text \"$MESSAGE\"\n  sleep 1\ndone\n";

/// What the index says of a package is which programs it has.
const GET_PIP: &str = r"
import os, sys, urllib.request
index, *packages = sys.argv[1:]
for package in packages:
    for program in urllib.request.urlopen(f'{index}/{package}').read().decode().split():
        target = f'/usr/local/bin/{program}'
        urllib.request.urlretrieve(f'{index}/{package}/{program}', target)
        os.chmod(target, 0o755)
";

/// `aws ses send-email`: a request in the service's query form with a signature of version 4.
const AWS: &str = r#"#!/usr/bin/python3
import datetime, hashlib, hmac, os, sys, urllib.parse, urllib.request
if sys.argv[1:3] != ['ses', 'send-email']:
    sys.exit('aws: error: argument operation: Invalid choice')
given = dict(zip(sys.argv[3::2], sys.argv[4::2]))
try:
    key, secret, region = (os.environ['AWS_' + name] for name in ('ACCESS_KEY_ID', 'SECRET_ACCESS_KEY', 'DEFAULT_REGION'))
except KeyError:
    sys.exit('Unable to locate credentials. You can configure credentials by running "aws configure".')
endpoint = os.environ.get('AWS_ENDPOINT_URL', f'https://email.{region}.amazonaws.com')
body = urllib.parse.urlencode({
    'Action': 'SendEmail', 'Version': '2010-12-01', 'Source': given['--from'],
    'Destination.ToAddresses.member.1': given['--to'], 'Message.Subject.Data': given['--subject'],
    'Message.Body.Text.Data': given['--text']}).encode()
host, now = urllib.parse.urlsplit(endpoint).netloc, datetime.datetime.now(datetime.timezone.utc)
stamp, day = now.strftime('%Y%m%dT%H%M%SZ'), now.strftime('%Y%m%d')
scope = f'{day}/{region}/ses/aws4_request'
request = f'POST\n/\n\nhost:{host}\nx-amz-date:{stamp}\n\nhost;x-amz-date\n{hashlib.sha256(body).hexdigest()}'
signed = f'AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{hashlib.sha256(request.encode()).hexdigest()}'
token = ('AWS4' + secret).encode()
for part in (day, region, 'ses', 'aws4_request'):
    token = hmac.new(token, part.encode(), hashlib.sha256).digest()
signature = hmac.new(token, signed.encode(), hashlib.sha256).hexdigest()
headers = {'X-Amz-Date': stamp, 'Authorization':
    f'AWS4-HMAC-SHA256 Credential={key}/{scope}, SignedHeaders=host;x-amz-date, Signature={signature}'}
print(urllib.request.urlopen(urllib.request.Request(endpoint + '/', body, headers)).read().decode())
"#;

/// One client on a daemon of its own, in a directory of its own.
struct On {
    daemon: Daemon,
    client: Client,
}

impl On {
    fn new(client: Client, images: &[&'static str]) -> Self {
        Self { daemon: Daemon::with(Options { images: images.to_vec(), ..Options::default() }), client }
    }

    fn write(&self, name: &str, text: &str) -> std::path::PathBuf {
        let path = self.daemon.path().join("context").join(name);
        std::fs::create_dir_all(path.parent().expect("it has one")).expect("made");
        std::fs::write(&path, text).expect("written");
        path
    }

    #[track_caller]
    fn build(&self, text: &str, args: &[&str]) -> Run {
        let dockerfile = self.write("Dockerfile", text);
        let mut command = self.daemon.command(self.client, &[&["build"], args, &["."]].concat());
        command.env("DOCKER_BUILDKIT", "0").current_dir(dockerfile.parent().expect("it has one"));
        Run::new(command, b"")
    }

    #[track_caller]
    fn run(&self, args: &[&str]) -> Run {
        self.daemon.run(self.client, args)
    }

    #[track_caller]
    fn text(&self, args: &[&str]) -> String {
        self.run(args).ok().text().to_owned()
    }

    /// What a script inside a running container says.
    fn show(&self, name: &str, script: &str) -> String {
        self.run(&["exec", name, "sh", "-c", script]).stdout
    }

    fn size(&self, image: &str) -> i64 {
        self.daemon.inspect(image, "{{.Size}}").parse().expect("a size")
    }
}

/// 8-S06 (8-C14, 8-C15; 8-B34): built from what the network has, with nothing of the installation left; it stays up without credentials and says
/// so when it is to send; with them a request comes with the addresses of its CMD.
#[test]
fn s8_06_a_live_mailer() {
    for client in [Client::Minke, Client::Docker] {
        let on = On::new(client, &["supervised"]);
        let daemon = &on.daemon;
        let gateway = daemon.inspect("bridge", "{{(index .IPAM.Config 0).Gateway}}");
        let netcat = std::fs::read(fixtures::busybox_rootfs().join("bin/busybox")).expect("busybox");
        let index = daemon.host_netns().serve_http((gateway.as_str(), 0), move |head, _body| {
            Some(match head.split(' ').nth(1)? {
                "/get-pip.py" => GET_PIP.into(),
                "/awscli" => "aws\n".into(),
                "/awscli/aws" => AWS.into(),
                "/netcat" => "nc\n".into(),
                "/netcat/nc" => netcat.clone(),
                _ => return None,
            })
        });
        let sent: Arc<Mutex<Vec<(String, String)>>> = Arc::default();
        let inbox = Arc::clone(&sent);
        let service = daemon.host_netns().serve_http((gateway.as_str(), 0), move |head, body| {
            let request = (head.to_owned(), String::from_utf8_lossy(body).into_owned());
            inbox.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(request);
            Some("<SendEmailResponse><MessageId>1</MessageId></SendEmailResponse>".into())
        });
        on.write("live-impl/mailer.sh", MAILER);
        on.build(BASE, &["-t", "dockerinaction/mailer-base:0.6"]).ok().done();
        let index = format!("INDEX=http://{}", index.address());
        let live = "dockerinaction/mailer-live";
        on.build(LIVE, &["-t", live, "--build-arg", &index]).ok().done();
        let look = "command -v aws; command -v nc; ls -A /app /tmp; find / -xdev -name 'get-pip*'";
        let found =
            daemon.run(client, &["run", "--rm", "-u", "root", "--entrypoint", "sh", live, "-c", look]).ok();
        assert_eq!(found.text(), "/usr/local/bin/aws\n/usr/local/bin/nc\n/app:\nmailer.sh\n\n/tmp:");

        let log = |name: &str, text: &str| {
            wait_until(text, Duration::from_secs(20), || {
                let run = daemon.run(client, &["logs", name]);
                run.stdout.contains(text) || run.stderr.contains(text)
            });
        };
        let send = |name: &str, text: &str| {
            let netns = daemon.netns_of(name);
            wait_until("the mailer listens", Duration::from_secs(20), || {
                let told = netns.run(|| TcpStream::connect("127.0.0.1:33333")?.write_all(text.as_bytes()));
                told.is_ok()
            });
        };
        daemon.run(client, &["run", "-d", "--name", "live-mailer", live]).ok().done();
        log("live-mailer", "Live Mailer has started.");
        send("live-mailer", "nobody reads this");
        log("live-mailer", "Unable to locate credentials");
        assert_eq!(daemon.inspect("live-mailer", "{{.State.Running}}"), "true");
        let requests = || sent.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone();
        assert_eq!(requests().len(), 0);

        let endpoint = format!("AWS_ENDPOINT_URL=http://{}", service.address());
        let given = [
            "AWS_ACCESS_KEY_ID=AKIA",
            "AWS_SECRET_ACCESS_KEY=secret",
            "AWS_DEFAULT_REGION=eu-west-1",
            &endpoint,
        ];
        let flags: Vec<&str> = given.iter().flat_map(|value| ["-e", value]).collect();
        daemon.run(client, &[&["run", "-d", "--name", "sending"], &flags[..], &[live]].concat()).ok().done();
        log("sending", "Live Mailer has started.");
        send("sending", "something has happened");
        log("sending", "<MessageId>1</MessageId>");
        let requests = requests();
        assert_eq!(requests.len(), 1, "{requests:?}");
        let (head, body) = &requests[0];
        assert!(head.starts_with("POST / "), "{head}");
        assert!(head.contains("Credential=AKIA/") && head.contains("/eu-west-1/ses/aws4_request"), "{head}");
        for part in [
            "Action=SendEmail",
            "Source=mailer%40dockerinaction.com",
            "Destination.ToAddresses.member.1=pager%40dockerinaction.com",
            "Message.Body.Text.Data=something+has+happened",
        ] {
            assert!(body.contains(part), "{part}: {body}");
        }
        daemon.run(client, &["rm", "-f", "live-mailer", "sending"]).ok().done();
        daemon.run(client, &["rmi", "-f", live, "dockerinaction/mailer-base:0.6"]).ok().done();
    }
}

/// What supervisord runs: two programs, one that is told to end and says so, and one whose children nobody else waits for.
const PROGRAMS: &str = "[supervisord]\nnodaemon=true\nuser=root\nlogfile=/dev/null\nlogfile_maxbytes=0\n\n\
    [program:steady]\ncommand=/bin/sleep 1000\n\n\
    [program:listening]\ncommand=/bin/sh -c 'trap \"echo $A told > /said/it; exit 0\" TERM; while :; do sleep 0.1; done'\n\n\
    [program:orphans]\ncommand=/bin/sh -c '(sleep 0.2 &); (sleep 0.3 &); echo left > /said/left; exec sleep 2000'\n";

/// 8-S09 (8-B41): an image with an init of its own brings back what is killed, waits for orphans, hands the environment over and passes a stop on.
#[test]
fn s8_09_an_init_process() {
    let on = On::new(Client::Minke, &["supervised"]);
    on.write("programs.conf", PROGRAMS);
    let text = "FROM supervised\nENV A=b\nCOPY programs.conf /etc/programs.conf\nVOLUME /said\nCMD [\"supervisord\", \"-n\", \"-c\", \"/etc/programs.conf\"]\n";
    on.build(text, &["-t", "booting"]).ok().done();
    on.run(&["run", "-d", "--name", "booted", "booting"]).ok().done();
    let until = |what: &str, holds: &dyn Fn() -> bool| wait_until(what, Duration::from_secs(30), holds);
    let show = |script: &str| on.show("booted", script);
    let steady = || show("pgrep -fx '/bin/sleep 1000'").trim().to_owned();
    until("its programs run", &|| !steady().is_empty() && show("cat /said/left") == "left\n");
    let first = steady();
    show(&format!("kill -9 {first}"));
    until("what was killed comes back", &|| ![String::new(), first.clone()].contains(&steady()));
    until("the orphans are gone", &|| show("ps -eo args= | grep -c '[s]leep 0.[23]'").trim() == "0");
    assert_eq!(show("ps -eo stat= | grep -c ^Z").trim(), "0", "nobody's child is left a zombie");
    on.run(&["stop", "-t", "20", "booted"]).ok().done();
    assert_eq!(on.daemon.inspect("booted", "{{.State.ExitCode}}"), "0", "it ended by itself");
    let told = on.run(&["run", "--rm", "--volumes-from", "booted", "booting", "cat", "/said/it"]).ok();
    assert_eq!(told.text(), "b told", "with the environment of the image");
}

/// 8-B46: who starts as root and gives it up for good is the container's first process, and is told to stop. (gosu's work, done by Debian's setpriv.)
#[test]
fn root_is_given_up_after_the_start() {
    let on = On::new(Client::Docker, &["debian"]);
    let script = "#!/bin/sh\nset -e\nchown 1000:1000 /data\nexec setpriv --reuid=1000 --regid=1000 --clear-groups \"$@\"\n";
    std::fs::set_permissions(
        on.write("entry.sh", script),
        std::os::unix::fs::PermissionsExt::from_mode(0o755),
    )
    .expect("chmod");
    let program = "trap 'exit 7' TERM; id -u > /data/who; while :; do sleep 0.1; done";
    let text = format!(
        "FROM debian\nVOLUME /data\nCOPY entry.sh /entry.sh\nENTRYPOINT [\"/entry.sh\"]\nCMD {}\n",
        serde_json::json!(["sh", "-c", program])
    );
    on.build(&text, &["-t", "dropping"]).ok().done();
    on.run(&["run", "-d", "--name", "dropped", "dropping"]).ok().done();
    let show = |script: &str| on.show("dropped", script);
    wait_until("it runs", Duration::from_secs(20), || show("cat /data/who") == "1000\n");
    let first = show("grep -E '^(Uid|Gid|CapEff):' /proc/1/status");
    assert_eq!(
        first,
        "Uid:\t1000\t1000\t1000\t1000\nGid:\t1000\t1000\t1000\t1000\nCapEff:\t0000000000000000\n"
    );
    on.run(&["stop", "-t", "20", "dropped"]).ok().done();
    assert_eq!(on.daemon.inspect("dropped", "{{.State.ExitCode}}"), "7");
}

/// 8-B34 and 8-B49: what a step makes and removes again costs nothing, what a later one removes stays; the smaller image has fewer files for an
/// attacker and comes sooner.
#[test]
fn clean_up_belongs_into_the_step_that_made_the_mess() {
    let on = On::new(Client::Docker, &["busybox"]);
    let mess = "head -c 2000000 /dev/urandom > /mess";
    on.build(&format!("FROM busybox\nRUN {mess} && touch /kept && rm /mess\n"), &["-t", "clean"]).ok().done();
    on.build(&format!("FROM busybox\nRUN {mess} && touch /kept\nRUN rm /mess\n"), &["-t", "late"])
        .ok()
        .done();
    for image in ["clean", "late"] {
        assert_eq!(
            on.text(&["run", "--rm", image, "sh", "-c", "ls /kept /mess 2>/dev/null || true"]),
            "/kept"
        );
    }
    assert_eq!(on.size("clean"), on.size("busybox"));
    assert_eq!(on.size("late") - on.size("clean"), 2_000_000);
    let registry = Registry::beside(&on.daemon, &RegistryOptions::default());
    let line = Line::to(&registry, &on.daemon);
    let mut passed = Vec::new();
    // The base first, which all of them need.
    for image in ["busybox", "clean", "late"] {
        on.run(&["tag", image, &registry.named(image)]).ok().done();
        on.run(&["push", &registry.named(image)]).ok().done();
        on.run(&["rmi", "-f", image, &registry.named(image)]).ok().done();
        line.take_passed();
        on.run(&["pull", &line.name(image)]).ok().done();
        passed.push(line.take_passed());
    }
    assert!(passed[1] < 100_000 && passed[2] > 1_900_000, "{passed:?}");
}
