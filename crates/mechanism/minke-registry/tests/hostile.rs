//! The client against a registry that cuts, lies, forgets and sends people elsewhere.

use std::collections::VecDeque;
use std::io::Read;
use std::time::Duration;

use futures_util::StreamExt as _;
use minke_base::Digest;
use minke_registry::{
    BlobReader, BlobSource, Client, Credentials, Error, Patience, Pushed, Repository, Selector, Settings,
    SourceStream, stream_of,
};
use minke_testkit::registries::{FakeRegistry, Torment, Tricks};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use sha2::Digest as _;

const SIZE: usize = 2 << 20;

fn client() -> Client {
    Client::new(Settings::default()).expect("settings without anything in them")
}

fn repository(registry: &FakeRegistry, credentials: Credentials) -> Repository {
    client().repository(&registry.domain(), "a/b", credentials)
}

/// Bytes that no compressor and no luck make alike.
fn noise(seed: u64, size: usize) -> Vec<u8> {
    let mut random = StdRng::seed_from_u64(seed);
    let mut bytes = vec![0; size];
    random.fill(&mut bytes[..]);
    bytes
}

fn digest(bytes: &[u8]) -> Digest {
    Digest::from_sha256(sha2::Sha256::digest(bytes).into())
}

async fn collect(
    repository: &Repository,
    digest: Digest,
    size: usize,
    from: usize,
) -> Result<Vec<u8>, Error> {
    let mut stream = repository.blob(digest, size as u64, from as u64);
    let mut bytes = Vec::new();
    while let Some(piece) = stream.next().await {
        bytes.extend_from_slice(&piece?);
    }
    Ok(bytes)
}

struct Bytes(Vec<u8>);

impl BlobSource for Bytes {
    fn open(&self, from: u64) -> std::io::Result<SourceStream> {
        Ok(stream_of(std::io::Cursor::new(self.0[usize::try_from(from).unwrap_or(usize::MAX)..].to_vec())))
    }
}

async fn push(repository: &Repository, bytes: &[u8], mount: &[String]) -> Result<Pushed, Error> {
    let size = bytes.len() as u64;
    repository.push_blob(digest(bytes), size, &Bytes(bytes.to_vec()), mount, &|_sent| {}).await
}

#[tokio::test]
async fn a_download_cut_a_hundred_times_at_random_bytes_arrives_and_nothing_is_fetched_twice() {
    let registry = FakeRegistry::start();
    let bytes = noise(1, 8 << 20);
    registry.add_blob("a/b", &bytes);
    let mut random = StdRng::seed_from_u64(2);
    let cuts: VecDeque<usize> = (0..100).map(|_| random.random_range(0..150_000)).collect();
    // Cuts that bring next to nothing are waited for longer and longer: never several in a row here.
    let cuts = cuts
        .into_iter()
        .enumerate()
        .map(|(at, cut)| if at % 2 == 0 { cut } else { cut.max(66_000) })
        .collect();
    registry.set(Tricks { cut_downloads: cuts, ..Tricks::default() });
    let repository = repository(&registry, Credentials::anonymous());
    let got = collect(&repository, digest(&bytes), bytes.len(), 0).await.unwrap();
    assert!(got == bytes);
    // What was in the pipes when they were cut may have to come again; nothing else.
    assert!(registry.served() < bytes.len() as u64 * 3 / 2);
    assert!(registry.seen().iter().filter(|seen| seen.range.is_some()).count() >= 50);
}

#[tokio::test]
async fn without_ranges_the_beginning_is_read_again_and_dropped() {
    let registry = FakeRegistry::start();
    let bytes = noise(3, SIZE);
    registry.add_blob("a/b", &bytes);
    let cut_downloads = [300_000, 700_001, 1_100_003].into();
    registry.set(Tricks { cut_downloads, no_ranges: true, ..Tricks::default() });
    let repository = repository(&registry, Credentials::anonymous());
    assert!(collect(&repository, digest(&bytes), SIZE, 0).await.unwrap() == bytes);
    assert!(collect(&repository, digest(&bytes), SIZE, 77_777).await.unwrap() == bytes[77_777..]);
}

#[tokio::test]
async fn a_registry_that_always_cuts_at_the_same_byte_is_given_up() {
    let registry = FakeRegistry::start();
    let bytes = noise(4, 4096);
    registry.add_blob("a/b", &bytes);
    registry.set(Tricks { cut_downloads: vec![0; 50].into(), ..Tricks::default() });
    let client = Client::new(Settings { attempts: 3, ..Settings::default() }).unwrap();
    let repository = client.repository(&registry.domain(), "a/b", Credentials::anonymous());
    let error = collect(&repository, digest(&bytes), 4096, 0).await.unwrap_err();
    assert!(matches!(error, Error::Unreachable { reached: true, .. }), "{error}");
}

#[tokio::test]
async fn other_bytes_than_the_digest_s_are_refused() {
    let registry = FakeRegistry::start();
    let bytes = noise(5, 4096);
    registry.add_blob("a/b", &bytes);
    registry.add_manifest("a/b", "1", "application/json", b"{\"schemaVersion\": 2}");
    registry.set(Tricks { flip: true, manifest: Some(b"{}".to_vec()), ..Tricks::default() });
    let repository = repository(&registry, Credentials::anonymous());
    let error = repository.whole_blob(digest(&bytes), 4096, 1 << 20).await.unwrap_err();
    assert!(matches!(error, Error::WrongDigest { .. }), "{error}");
    for selector in [Selector::Tag("1".into()), Selector::Digest(digest(b"{\"schemaVersion\": 2}"))] {
        let error = repository.manifest(&selector).await.unwrap_err();
        assert!(matches!(error, Error::WrongDigest { .. }), "{error}");
    }
}

#[tokio::test]
async fn a_blob_of_another_length_is_refused_before_it_is_read() {
    let registry = FakeRegistry::start();
    let bytes = noise(6, SIZE);
    registry.add_blob("a/b", &bytes);
    let repository = repository(&registry, Credentials::anonymous());
    for claimed in [SIZE - 1, SIZE + 1] {
        let error = collect(&repository, digest(&bytes), claimed, 0).await.unwrap_err();
        assert!(matches!(error, Error::WrongLength { .. }), "{error}");
    }
}

#[tokio::test]
async fn a_manifest_that_is_too_large_is_refused() {
    let registry = FakeRegistry::start();
    registry.add_manifest("a/b", "1", "application/json", &vec![b' '; (4 << 20) + 1]);
    let repository = repository(&registry, Credentials::anonymous());
    let error = repository.manifest(&Selector::Tag("1".into())).await.unwrap_err();
    assert!(matches!(error, Error::TooLarge { limit: 4_194_304, .. }), "{error}");
}

#[tokio::test]
async fn credentials_do_not_follow_a_redirect() {
    let (registry, elsewhere) = (FakeRegistry::start(), FakeRegistry::start());
    let bytes = noise(7, 4096);
    registry.add_blob("a/b", &bytes);
    elsewhere.add_blob("a/b", &bytes);
    let credentials = Credentials::password("alice", "secret");
    registry.set(Tricks {
        redirect_blobs: Some(format!("http://{}", elsewhere.domain())),
        demand: Some(("Basic YWxpY2U6c2VjcmV0".into(), "Basic realm=\"x\"".into())),
        ..Tricks::default()
    });
    let repository = repository(&registry, credentials);
    assert!(collect(&repository, digest(&bytes), 4096, 0).await.unwrap() == bytes);
    assert!(registry.seen().iter().any(|seen| seen.authorization.is_some()));
    let seen = elsewhere.seen();
    assert!(!seen.is_empty() && seen.iter().all(|seen| seen.authorization.is_none()), "{seen:?}");
}

#[tokio::test]
async fn redirects_without_end_are_not_followed() {
    let registry = FakeRegistry::start();
    let bytes = noise(8, 64);
    registry.add_blob("a/b", &bytes);
    registry
        .set(Tricks { redirect_blobs: Some(format!("http://{}", registry.domain())), ..Tricks::default() });
    let repository = repository(&registry, Credentials::anonymous());
    let error = collect(&repository, digest(&bytes), 64, 0).await.unwrap_err();
    assert!(matches!(error, Error::Redirects { .. }), "{error}");
    assert_eq!(registry.seen().len(), 11);
}

#[tokio::test]
async fn an_upload_cut_a_hundred_times_arrives_whole() {
    let registry = FakeRegistry::start();
    let bytes = noise(9, 10 << 20);
    let mut random = StdRng::seed_from_u64(10);
    let cuts = (0..100).map(|_| random.random_range(66_000..100_000)).collect();
    registry.set(Tricks { cut_uploads: cuts, ..Tricks::default() });
    let repository = repository(&registry, Credentials::anonymous());
    assert_eq!(push(&repository, &bytes, &[]).await.unwrap(), Pushed::Uploaded);
    assert!(registry.blob("a/b", &digest(&bytes).to_string()).unwrap() == bytes);
    let patches = registry.seen().iter().filter(|seen| seen.method == "PATCH").count();
    assert!(patches > 90, "{patches}");
    assert_eq!(push(&repository, &bytes, &[]).await.unwrap(), Pushed::Existed);
}

#[tokio::test]
async fn an_upload_that_the_registry_forgot_begins_anew() {
    let registry = FakeRegistry::start();
    let bytes = noise(11, SIZE);
    let cut_uploads = [500_000, 1_000_000].into();
    registry.set(Tricks { cut_uploads, forgetful: true, ..Tricks::default() });
    let repository = repository(&registry, Credentials::anonymous());
    assert_eq!(push(&repository, &bytes, &[]).await.unwrap(), Pushed::Uploaded);
    assert!(registry.blob("a/b", &digest(&bytes).to_string()).unwrap() == bytes);
}

#[tokio::test]
async fn a_blob_is_taken_over_from_a_neighbour_or_sent() {
    let registry = FakeRegistry::start();
    let bytes = noise(12, 4096);
    registry.add_blob("other/place", &bytes);
    let repository = repository(&registry, Credentials::anonymous());
    let from = ["nowhere".to_owned(), "other/place".to_owned()];
    assert_eq!(push(&repository, &bytes, &from).await.unwrap(), Pushed::Mounted("other/place".into()));
    assert!(registry.seen().iter().all(|seen| seen.method != "PATCH"));
    let bytes = noise(13, 4096);
    registry.add_blob("other/place", &bytes);
    registry.set(Tricks { no_mounts: true, ..Tricks::default() });
    assert_eq!(push(&repository, &bytes, &from).await.unwrap(), Pushed::Uploaded);
}

#[tokio::test]
async fn a_token_is_fetched_once_with_what_is_done_and_who_does_it() {
    let registry = FakeRegistry::start();
    let bytes = noise(14, 4096);
    registry.add_blob("a/b", &bytes);
    let challenge = format!("Bearer realm=\"http://{}/token\",service=\"r\"", registry.domain());
    registry.set(Tricks { demand: Some(("Bearer a-token".into(), challenge)), ..Tricks::default() });
    let repository = repository(&registry, Credentials::password("alice", "secret"));
    for _ in 0..3 {
        assert!(collect(&repository, digest(&bytes), 4096, 0).await.unwrap() == bytes);
    }
    let seen = registry.seen();
    let tokens: Vec<_> = seen.iter().filter(|seen| seen.path == "/token").collect();
    assert_eq!(tokens.len(), 1);
    assert!(tokens[0].query.contains("service=r") && tokens[0].query.contains("account=alice"), "{tokens:?}");
    assert!(tokens[0].query.contains("repository%3Aa%2Fb%3Apull"), "{tokens:?}");
    assert_eq!(tokens[0].authorization.as_deref(), Some("Basic YWxpY2U6c2VjcmV0"));
}

#[tokio::test]
async fn what_a_token_does_not_open_stays_shut() {
    let registry = FakeRegistry::start();
    registry.add_manifest("a/b", "1", "application/json", b"{}");
    let challenge = format!("Bearer realm=\"http://{}/token\"", registry.domain());
    registry.set(Tricks { demand: Some(("Bearer another".into(), challenge)), ..Tricks::default() });
    let repository = repository(&registry, Credentials::anonymous());
    let error = repository.manifest(&Selector::Tag("1".into())).await.unwrap_err();
    assert_eq!(error.to_string(), "unauthorized: authentication required");
    assert_eq!(error.kind(), minke_base::Kind::Unauthorized);
}

#[tokio::test]
async fn a_mirror_s_failure_is_made_up_for_and_mirrors_hear_no_credentials() {
    let (mirror, dead) = (FakeRegistry::start(), FakeRegistry::start());
    let settings = Settings {
        mirrors: [&dead, &mirror]
            .map(|registry| minke_registry::Mirror::parse(&format!("http://{}", registry.domain())).unwrap())
            .into(),
        ..Settings::default()
    };
    drop(dead);
    let bytes = noise(15, 4096);
    mirror.add_blob("library/x", &bytes);
    mirror.add_manifest("library/x", "1", "application/json", b"{}");
    let client = Client::new(settings).unwrap();
    let repository = client.repository("docker.io", "library/x", Credentials::password("alice", "secret"));
    assert_eq!(&repository.manifest(&Selector::Tag("1".into())).await.unwrap().bytes[..], b"{}");
    assert!(collect(&repository, digest(&bytes), 4096, 0).await.unwrap() == bytes);
    assert!(mirror.seen().iter().all(|seen| seen.authorization.is_none()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn blocking_code_reads_a_blob_and_hears_why_it_broke_off() {
    let registry = FakeRegistry::start();
    let bytes = noise(16, SIZE);
    registry.add_blob("a/b", &bytes);
    let repository = repository(&registry, Credentials::anonymous());
    let mut reader = BlobReader::new(repository.blob(digest(&bytes), SIZE as u64, 0));
    let got = tokio::task::spawn_blocking(move || {
        let mut got = Vec::new();
        reader.read_to_end(&mut got).map(|_| got)
    });
    assert!(got.await.unwrap().unwrap() == bytes);
    let mut reader = BlobReader::new(repository.blob(digest(&bytes), 5, 0));
    let failed = tokio::task::spawn_blocking(move || reader.read_to_end(&mut Vec::new())).await.unwrap();
    assert!(failed.unwrap_err().to_string().contains("want 5 bytes"));
}

#[tokio::test]
async fn an_upload_goes_on_with_a_new_token_when_the_old_one_is_refused_in_the_middle() {
    let registry = FakeRegistry::start();
    let bytes = noise(17, SIZE);
    let challenge = format!("Bearer realm=\"http://{}/token\"", registry.domain());
    let demand = Some(("Bearer a-token".to_owned(), challenge));
    registry.set(Tricks { demand, refuse_patches: 2, ..Tricks::default() });
    let repository = repository(&registry, Credentials::anonymous());
    let before = std::time::Instant::now();
    assert_eq!(push(&repository, &bytes, &[]).await.unwrap(), Pushed::Uploaded);
    assert!(before.elapsed() < std::time::Duration::from_secs(10));
    assert!(registry.blob("a/b", &digest(&bytes).to_string()).unwrap() == bytes);
    assert!(registry.seen().iter().filter(|seen| seen.path == "/token").count() >= 3);
}

/// What waits for nobody long.
fn impatient() -> Client {
    let moment = Duration::from_millis(300);
    let patience = Patience { answer: moment, silence: moment, document: moment * 3, ..Patience::default() };
    Client::new(Settings { attempts: 2, patience, ..Settings::default() }).expect("settings")
}

#[tokio::test]
async fn answers_without_end_are_not_read_to_it() {
    let registry = FakeRegistry::start();
    let bytes = noise(18, 4096);
    registry.add_blob("a/b", &bytes);
    registry.add_manifest("a/b", "1", "application/json", b"{}");
    let repository = repository(&registry, Credentials::anonymous());
    let torment = |part: &str| {
        let torments = vec![(part.to_owned(), Torment::Flood)];
        registry.set(Tricks { torments, ..Tricks::default() });
    };
    torment("/manifests/");
    let error = repository.manifest(&Selector::Tag("1".into())).await.unwrap_err();
    assert!(matches!(error, Error::TooLarge { limit: 4_194_304, .. }), "{error}");
    torment("/tags/");
    let error = repository.tags().await.unwrap_err();
    assert!(matches!(error, Error::TooLarge { .. }), "{error}");
    torment("/blobs/");
    // As much as there should be is looked at, and not a byte more.
    let error = repository.whole_blob(digest(&bytes), 4096, 1 << 20).await.unwrap_err();
    assert!(matches!(error, Error::WrongLength { .. } | Error::WrongDigest { .. }), "{error}");
    let challenge = format!("Bearer realm=\"http://{}/token\"", registry.domain());
    registry.set(Tricks {
        demand: Some(("Bearer a-token".into(), challenge)),
        torments: vec![("/token".to_owned(), Torment::Flood)],
        ..Tricks::default()
    });
    let error = repository.manifest(&Selector::Tag("1".into())).await.unwrap_err();
    assert!(matches!(error, Error::TooLarge { .. }), "{error}");
}

#[tokio::test]
async fn a_registry_that_says_nothing_or_next_to_nothing_is_given_up() {
    let registry = FakeRegistry::start();
    let bytes = noise(19, 4096);
    registry.add_blob("a/b", &bytes);
    let repository = impatient().repository(&registry.domain(), "a/b", Credentials::anonymous());
    for (part, torment) in
        [("/manifests/", Torment::Silence), ("/manifests/", Torment::Drip), ("/blobs/", Torment::Silence)]
    {
        registry.set(Tricks { torments: vec![(part.to_owned(), torment)], ..Tricks::default() });
        let error = match part {
            "/blobs/" => collect(&repository, digest(&bytes), bytes.len(), 0).await.map(drop),
            _ => repository.manifest(&Selector::Tag("1".into())).await.map(drop),
        };
        assert!(matches!(error, Err(Error::Unreachable { reached: true, .. })), "{torment:?}: {error:?}");
    }
}

#[tokio::test]
async fn a_stranger_s_download_that_falls_silent_ends() {
    let registry = FakeRegistry::start();
    registry.set(Tricks { torments: vec![("/file".to_owned(), Torment::Silence)], ..Tricks::default() });
    let url = format!("http://{}/file", registry.domain());
    let error = impatient().download(&url).await.unwrap_err();
    assert!(matches!(error, Error::Unreachable { reached: true, .. }), "{error}");
}

#[tokio::test]
async fn an_upload_that_is_sent_elsewhere_takes_no_credentials_along() {
    let (registry, elsewhere) = (FakeRegistry::start(), FakeRegistry::start());
    let bytes = noise(20, 4096);
    registry.set(Tricks {
        uploads_elsewhere: Some(format!("http://{}", elsewhere.domain())),
        demand: Some(("Basic YWxpY2U6c2VjcmV0".into(), "Basic realm=\"x\"".into())),
        ..Tricks::default()
    });
    let error = push(&repository(&registry, Credentials::password("alice", "secret")), &bytes, &[]).await;
    assert!(error.is_err(), "nobody has begun an upload there");
    assert!(registry.seen().iter().any(|seen| seen.authorization.is_some()));
    let seen = elsewhere.seen();
    assert!(!seen.is_empty() && seen.iter().all(|seen| seen.authorization.is_none()), "{seen:?}");
}

#[tokio::test]
async fn a_token_server_elsewhere_hears_the_password_and_the_registry_only_the_token() {
    let (registry, elsewhere) = (FakeRegistry::start(), FakeRegistry::start());
    registry.add_manifest("a/b", "1", "application/json", b"{}");
    let challenge = format!("Bearer realm=\"http://{}/token\"", elsewhere.domain());
    registry.set(Tricks { demand: Some(("Bearer a-token".into(), challenge)), ..Tricks::default() });
    let repository = repository(&registry, Credentials::password("alice", "secret"));
    repository.manifest(&Selector::Tag("1".into())).await.unwrap();
    let asked = elsewhere.seen();
    assert_eq!(asked.len(), 1);
    assert_eq!(asked[0].authorization.as_deref(), Some("Basic YWxpY2U6c2VjcmV0"));
    let shown: Vec<_> = registry.seen().into_iter().filter_map(|seen| seen.authorization).collect();
    assert_eq!(shown, ["Bearer a-token"]);
}
