//! How the program is linked, so that it starts fast; see `src/entry.rs`.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let target = |part: &str| std::env::var(format!("CARGO_CFG_TARGET_{part}")).unwrap_or_default();
    if target("OS") == "linux" && target("ARCH") == "x86_64" {
        println!("cargo::rustc-link-arg-bins=-Wl,-e,minke_entry");
    }
    // Relocations of one bit each instead of 24 bytes. glibc knows them since 2.36, so only where the C library is Rust's own.
    if target("ENV") == "musl" {
        println!("cargo::rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
    }
}
