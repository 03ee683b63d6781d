//! The store from a shell, to try archives of other tools and to measure: `store DATA_ROOT load|list|save NAME…|hello|gc`.
//!
//! Names are not the store's to keep, so `load` prints manifest digests and `save` takes `DIGEST=NAME` pairs.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "it is a program for a shell")]

use std::error::Error;
use std::io::{self, Write};
use std::path::Path;
use std::time::Instant;

use minke_base::Reference;
use minke_store::archive::{LoadOptions, Progress, SaveImage, load, save};
use minke_store::{Live, Store, StoreError, StoreOptions, hello};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [root, verb, rest @ ..] = &arguments[..] else {
        return Err("usage: store DATA_ROOT VERB [ARG…]".into());
    };
    let store = Store::open(Path::new(root), &StoreOptions::default())?;
    let _hold = store.hold();
    let start = Instant::now();
    match verb.as_str() {
        "load" => {
            let mut show = |progress: Progress<'_>| {
                if let Progress::Read { layer } = progress {
                    eprintln!("{:>8.3} s  {layer}", start.elapsed().as_secs_f64());
                }
            };
            for loaded in load(&store, io::stdin(), &LoadOptions::default(), &mut show)? {
                let names: Vec<String> = loaded.names.iter().map(Reference::familiar).collect();
                let size = store.image_size(&loaded.image)?;
                println!("{} {} {size} {}", loaded.image.manifest.digest, loaded.image.id, names.join(" "));
                store.container_lowers(&loaded.image)?;
            }
        }
        "save" => {
            let mut images = Vec::new();
            for pair in rest {
                let (digest, name) = pair.split_once('=').unwrap_or((pair, ""));
                let names =
                    if name.is_empty() { Vec::new() } else { vec![Reference::parse(name)?.or_latest()] };
                images.push(SaveImage { manifest: digest.parse()?, names });
            }
            let mut output = io::BufWriter::with_capacity(1 << 20, io::stdout().lock());
            save(&store, &images, &mut output)?;
            output.flush()?;
        }
        "hello" => println!("{}", hello::install(&store)?.manifest.digest),
        "gc" => println!("{:?}", store.collect(|| Ok::<_, StoreError>(Live::default()))?),
        "list" => {
            for layer in store.layers().list() {
                println!("{} {} {}", layer.diff_id, layer.size, store.layers().path(layer.diff_id).display());
            }
        }
        other => return Err(format!("unknown verb {other}").into()),
    }
    eprintln!("{:>8.3} s", start.elapsed().as_secs_f64());
    Ok(())
}
