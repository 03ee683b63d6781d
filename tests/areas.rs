//! The areas of the end-to-end tests, and where a new test goes.
//!
//! | file | what it shows |
//! |---|---|
//! | `chapter1.rs`, `chapter2.rs`, `chapter3.rs`, `chapter4.rs`, `chapter5.rs`, `chapter7.rs`, `chapter8.rs`, `chapter9.rs` | the book's scenarios; each test carries the scenario's id |
//! | `hardening.rs` | the rest of chapter 8: what an image starts (8-S06, 8-S09) and what it leaves out |
//! | `farms.rs` | chapter 2's web sites: a farm with one mailer, WordPress with its database (S2-07 to S2-09) |
//! | `volumes.rs` | volumes beside the book's scenarios: forms of mounts, what they are filled with, killed daemons |
//! | `chapter6.rs`, `limits.rs`, `sandbox.rs` | chapter 6: its scenarios, the measured ones, and what escape kits try, beside Docker |
//! | `versions.rs` | create, inspect and list as each API version has them |
//! | `isolation.rs` | what a container can and cannot see of its host; chapter 6's rows about all of its means together |
//! | `endurance.rs` | restarts of the daemon under eight clients; `cargo xtask endurance` runs it for as long as one likes |
//! | `life.rs` | restart policies, a reboot of the host, stopping and freezing, memory, many containers |
//! | `health.rs` | health checks |
//! | `choosing.rs` | filters, names and prefixes, events, wait |
//! | `networks.rs` | networks as other hosts see them; names; the daemon killed; docker-compose |
//! | `network_kinds.rs` | routed networks, configurations, macvlan, forms of ports, rules of others, `network` commands |
//! | `clients.rs` | the unmodified `docker` CLI and Python's `docker` package |
//! | `command_line.rs` | minke's own CLI: flags, texts, exit statuses, terminals |
//! | `images.rs` | load, save, import, tag, rmi, history, prune |
//! | `sources.rs` | chapter 9's images from sources: cloned and built, built by a push |
//! | `registries.rs` | credential helpers, authorities of one's own, mirrors, proxies, manifests |
//! | `registry_hostile.rs` | registries that want harm |
//! | `hostile.rs` | archives that want out of their layer |
//! | `upgrade.rs` | the binary changes under running containers |
//! | `exchange.rs` | images exchanged with skopeo, umoci and Podman, by a registry and by files; lines that break on the way |
//! | `copying.rs` | `cp` both ways, `export`, `diff`; a container that plays tricks meanwhile |
//! | `watching.rs` | `stats`, `top`, `exec`, `update`, sizes |
//! | `logs.rs` | log drivers, rotation, followers, attached clients |
//! | `crash.rs` | the daemon killed at bad moments |
//! | `pressure.rs` | fork bombs, memory hogs, floods |
//! | `runtimes.rs` | `minke-oci` under Podman, and beside runc |
//! | `autostart.rs` | the engine that starts itself |
//!
//! Tests run as root. Each has a daemon of its own ([`minke_testkit::Daemon`]), so they run side by side. A parity test is one
//! that also passes with `MINKE_PEER_DOCKER` naming a real Docker's socket; those which look at minke's insides say so by
//! returning early there.
