//! Web sites of chapters 2 and 6: a farm with one mailer, WordPress with its database on read-only roots, and both with limits,
//! as nobody, with few capabilities. MariaDB, Apache, PHP and
//! WordPress are Debian's; the entry points do what those of the book's images did.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use minke_testkit::{Client, Daemon, Options, wait_until};

fn with_images(images: &[&'static str]) -> Daemon {
    Daemon::with(Options { images: images.to_vec(), ..Options::default() })
}

/// Says each message that it is told.
const MAILER: &str = "echo CH2 Example Mailer has started.; \
    exec nc -ll -p 33333 -e sh -c 'echo \"Sending email: $(cat)\" > /proc/1/fd/1'";

/// Looks at the site once a second; a site that is down is told to the mailer, and is the end.
const AGENT: &str = "while timeout 2 wget -q -O /dev/null http://$INSIDEWEB_PORT_80_TCP_ADDR:$INSIDEWEB_PORT_80_TCP_PORT/; do \
    echo System up.; sleep 1; done; \
    echo To: admin@work Message: The service is down! | \
    nc -w 1 $INSIDEMAILER_PORT_33333_TCP_ADDR $INSIDEMAILER_PORT_33333_TCP_PORT";

/// One look at the site.
const LOOK: &str = "wget -q -O /dev/null http://$INSIDEWEB_PORT_80_TCP_ADDR:$INSIDEWEB_PORT_80_TCP_PORT/";

/// S2-07: N sites, N monitors, one mailer.
#[test]
fn s2_07_website_farm() {
    const SITES: usize = 3;
    let daemon = with_images(&["busybox", "nginx"]);
    let ok = |args: &[&str]| daemon.docker(args).ok().text().to_owned();
    let mailer = ok(&["run", "-d", "--expose", "33333", "busybox", "sh", "-c", MAILER]);
    let mut farm = Vec::new();
    for _ in 0..SITES {
        let web = ok(&["run", "-d", "nginx"]);
        let address = format!("{}:80", daemon.address_of(&web, "bridge")).parse().expect("an address");
        wait_until("the site is up", Duration::from_secs(20), || get(&daemon, address).contains("nginx"));
        let (site, post) = (format!("{web}:insideweb"), format!("{mailer}:insidemailer"));
        let agent = ok(&["run", "-d", "--link", &site, "--link", &post, "busybox", "sh", "-c", AGENT]);
        farm.push((web, agent));
    }
    let running = ok(&["ps", "-q"]);
    assert!(running.lines().count() > 2 * SITES, "{running}");
    let ups = |agent: &str| ok(&["logs", agent]).matches("System up.").count();
    for (_, agent) in &farm {
        wait_until("the agent sees its site", Duration::from_secs(20), || ups(agent) > 0);
    }
    ok(&["stop", "-t", "1", &farm[1].0]);
    let mails = || ok(&["logs", &mailer]).matches("Sending email").count();
    wait_until("the mailer is told", Duration::from_secs(20), || mails() > 0);
    let seen = [ups(&farm[0].1), ups(&farm[2].1)];
    for (at, before) in [(0, seen[0]), (2, seen[1])] {
        wait_until("the others go on", Duration::from_secs(20), || ups(&farm[at].1) > before);
    }
    assert_eq!(mails(), 1);
}

/// An answer of a web server that is published at `port` of the host.
fn get(daemon: &Daemon, address: SocketAddr) -> String {
    daemon.host_netns().run(|| {
        let Ok(mut stream) = TcpStream::connect(address) else { return String::new() };
        stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a time-out");
        let mut answer = Vec::new();
        let request = format!("GET / HTTP/1.0\r\nHost: {address}\r\n\r\n");
        let asked =
            stream.write_all(request.as_bytes()).and_then(|()| stream.read_to_end(&mut answer).map(drop));
        asked.map(|()| String::from_utf8_lossy(&answer).into_owned()).unwrap_or_default()
    })
}

/// Where port 80 of a container is published.
fn published(daemon: &Daemon, name: &str) -> SocketAddr {
    let port = daemon.docker(&["port", name, "80"]).ok();
    let port =
        port.text().lines().next().and_then(|line| line.rsplit(':').next()).expect("a port").to_owned();
    format!("127.0.0.1:{port}").parse().expect("an address")
}

fn redirects_to_the_installer(daemon: &Daemon, name: &str) {
    let address = published(daemon, name);
    wait_until("WordPress sends to its installer", Duration::from_secs(60), || {
        let answer = get(daemon, address);
        answer.contains(" 302 ") && answer.contains("wp-admin/install.php")
    });
}

const WRITABLE: [&str; 4] = ["-v", "/run/lock/apache2/", "-v", "/run/apache2/"];

/// S2-08 (C2-37 to C2-43, B2-22, B2-24 to B2-26): WordPress on a read-only root.
#[test]
fn s2_08_wordpress_on_a_read_only_root() {
    let daemon = with_images(&["lamp"]);
    let ok = |args: &[&str]| daemon.docker(args).ok().text().to_owned();
    let ended = |name: &str| {
        wait_until("it has ended", Duration::from_secs(60), || {
            daemon.inspect(name, "{{.State.Running}}") == "false"
        });
    };
    ok(&["run", "-d", "--name", "wp", "--read-only", "lamp", "site"]);
    ended("wp");
    daemon
        .docker(&["logs", "wp"])
        .ok()
        .complains("error: missing WORDPRESS_DB_HOST and MYSQL_PORT_3306_TCP environment variables")
        .done();
    ok(&["run", "-d", "--name", "wpdb", "-e", "MYSQL_ROOT_PASSWORD=ch2demo", "lamp", "database"]);
    let linked = ["--link", "wpdb:mysql", "-p", "80", "--read-only"];
    ok(&[&["run", "-d", "--name", "wp2"], &linked[..], &["lamp", "site"]].concat());
    ended("wp2");
    daemon.docker(&["logs", "wp2"]).ok().complains("Read-only file system").done();
    ok(&[&["run", "-d", "--name", "wp3"], &linked[..], &WRITABLE[..], &["lamp", "site"]].concat());
    redirects_to_the_installer(&daemon, "wp3");
    assert_eq!(daemon.inspect("wp3", "{{.State.Running}}"), "true");
    daemon
        .docker(&["exec", "wp3", "touch", "/usr/share/x"])
        .exits(1)
        .complains("Read-only file system")
        .done();
    ok(&["exec", "wp3", "touch", "/run/apache2/x"]);
    assert_eq!(daemon.inspect("wp3", "{{len .Mounts}}"), "2");
    ok(&["rm", "-vf", "wp", "wp2", "wp3", "wpdb"]);
    assert_eq!(ok(&["volume", "ls", "-q"]), "");
}

/// S2-09 (C2-44, C2-46 to C2-49, B2-29, B2-30): one database, a site per client.
#[test]
fn s2_09_wordpress_farm_per_client() {
    let daemon = with_images(&["busybox", "lamp"]);
    let ok = |args: &[&str]| daemon.minke(args).ok().text().to_owned();
    ok(&["run", "-d", "--name", "db", "-e", "MYSQL_ROOT_PASSWORD=ch2demo", "lamp", "database"]);
    ok(&["run", "-d", "--name", "mailer", "--expose", "33333", "busybox", "sh", "-c", MAILER]);
    let script = daemon.path().join("provision.sh");
    let cli = daemon.command(Client::Minke, &[]);
    let program = cli.get_program().to_string_lossy().into_owned();
    let patient = format!("until {LOOK}; do sleep 1; done; while {LOOK}; do echo System up.; sleep 1; done");
    let text = format!(
        "#!/bin/sh\nset -e\nif [ ! -n \"$CLIENT_ID\" ]; then echo 'Client ID not set'; exit 1; fi\n\
         d() {{ {program} -H {host} \"$@\"; }}\n\
         WP=$(d create --link db:mysql --name wp_$CLIENT_ID -p 80 -v /run/lock/apache2/ -v /run/apache2/ \
         -e WORDPRESS_DB_NAME=$CLIENT_ID --read-only lamp site)\nd start $WP\n\
         AGENT=$(d create --name agent_$CLIENT_ID --link $WP:insideweb --link mailer:insidemailer busybox sh -c '{agent}')\n\
         d start $AGENT\n",
        host = daemon.host(),
        agent = patient,
    );
    std::fs::write(&script, text).expect("written");
    let provision = |client: Option<&str>| {
        let mut command = std::process::Command::new("sh");
        command.arg(&script).env_remove("CLIENT_ID");
        client.map(|client| command.env("CLIENT_ID", client));
        minke_testkit::Run::new(command, b"")
    };
    provision(None).exits(1).says("Client ID not set").done();
    for client in ["a", "b", "c"] {
        provision(Some(client)).ok().done();
    }
    let mut ports = Vec::new();
    for client in ["a", "b", "c"] {
        let name = format!("wp_{client}");
        redirects_to_the_installer(&daemon, &name);
        ports.push(published(&daemon, &name));
        let agent = format!("agent_{client}");
        wait_until("the agent sees its site", Duration::from_secs(30), || {
            daemon.minke(&["logs", &agent]).stdout.contains("System up.")
        });
        assert_eq!(daemon.inspect(&agent, "{{.State.Running}}"), "true");
    }
    ports.dedup();
    assert_eq!(ports.len(), 3);
    let sql = |statement: &str| {
        ok(&["exec", "db", "mariadb", "-h", "127.0.0.1", "-uroot", "-pch2demo", "-N", "-e", statement])
    };
    let databases = sql("SHOW DATABASES");
    for client in ["a", "b", "c"] {
        assert!(databases.lines().any(|name| name == client), "{databases}");
    }
    sql("CREATE TABLE a.post (title TEXT); INSERT INTO a.post VALUES ('kept')");
    ok(&["rm", "-vf", "wp_a", "agent_a"]);
    provision(Some("a")).ok().done();
    redirects_to_the_installer(&daemon, "wp_a");
    assert_eq!(sql("SELECT title FROM a.post"), "kept");
    // A database elsewhere, by its address and with an account of its own.
    sql(
        "CREATE USER 'site_admin'@'%' IDENTIFIED BY 'MeowMix42'; GRANT ALL PRIVILEGES ON *.* TO 'site_admin'@'%'",
    );
    let host = format!("WORDPRESS_DB_HOST={}", daemon.address_of("db", "bridge"));
    let account = ["-e", "WORDPRESS_DB_USER=site_admin", "-e", "WORDPRESS_DB_PASSWORD=MeowMix42"];
    let site = [&["create", "--name", "elsewhere", "-p", "80", "-e", &host], &account[..], &["lamp", "site"]]
        .concat();
    ok(&site);
    ok(&["start", "elsewhere"]);
    redirects_to_the_installer(&daemon, "elsewhere");
    assert!(sql("SHOW DATABASES").lines().any(|name| name == "wordpress"));
    let again = provision(Some("a"));
    assert_ne!(again.code, 0);
    again.complains("The container name \"/wp_a\" is already in use").done();
}

/// What the image's entry point does, for who is not root: the data lie where anybody may write.
const DATABASE_OF_NOBODY: &str = "set -e; data=/var/lib/mysql; \
    mariadb-install-db --datadir=$data --auth-root-authentication-method=normal --skip-test-db > /dev/null; \
    { echo \"CREATE USER 'root'@'%' IDENTIFIED BY '$MYSQL_ROOT_PASSWORD';\"; \
    echo \"GRANT ALL PRIVILEGES ON *.* TO 'root'@'%' WITH GRANT OPTION;\"; } > $data/init.sql; \
    exec mariadbd --datadir=$data --bind-address=0.0.0.0 --skip-log-bin --init-file=$data/init.sql \
    --innodb-buffer-pool-size=16M --innodb-log-file-size=8M --performance-schema=OFF";

/// 6-S01 (6-C01 to 6-C04, 6-B06) with the book's programs: a database without capabilities and a site linked to it, both
/// nobody's and limited, one port open.
#[test]
fn s6_01_wordpress_and_its_database_constrained() {
    let daemon = with_images(&["lamp"]);
    let run = |client, name: &str, flags: &[&str], tail: &[&str]| {
        let common = ["run", "-d", "--name", name, "--user", "nobody"];
        daemon.run(client, &[&common, flags, &["lamp"], tail].concat()).ok().done();
    };
    let database = "--memory 256m --cpu-shares 1024 --cap-drop all -e MYSQL_ROOT_PASSWORD=ch6demo --entrypoint bash \
        --tmpfs /var/lib/mysql:mode=1777 --tmpfs /run/mysqld:mode=1777";
    run(
        Client::Docker,
        "ch6_mariadb",
        &database.split_whitespace().collect::<Vec<_>>(),
        &["-c", DATABASE_OF_NOBODY],
    );
    let site = "-P --memory 512m --cpu-shares 512 --cap-drop net_raw --link ch6_mariadb:mysql \
        --tmpfs /run/apache2:mode=1777 --tmpfs /run/lock/apache2:mode=1777";
    run(Client::Minke, "ch6_wordpress", &site.split_whitespace().collect::<Vec<_>>(), &["site"]);
    redirects_to_the_installer(&daemon, "ch6_wordpress");
    let facts = "{{.HostConfig.Memory}} {{.HostConfig.CpuShares}} {{.Config.User}} {{.HostConfig.CapDrop}} {{.State.Running}}";
    assert_eq!(daemon.inspect("ch6_mariadb", facts), "268435456 1024 nobody [ALL] true");
    assert_eq!(daemon.inspect("ch6_wordpress", facts), "536870912 512 nobody [CAP_NET_RAW] true");
    assert_eq!(
        daemon.minke(&["port", "ch6_mariadb"]).ok().text(),
        "",
        "the database is not open on the host"
    );
    let effective = daemon.docker(&["exec", "ch6_mariadb", "grep", "-h", "^Cap[BP]", "/proc/1/status"]).ok();
    assert!(effective.text().lines().all(|line| line.ends_with("0000000000000000")), "{effective}");
    let owner = daemon.docker(&["exec", "ch6_wordpress", "stat", "-c", "%U", "/proc/1"]).ok();
    assert_eq!(owner.text(), "nobody");
}
