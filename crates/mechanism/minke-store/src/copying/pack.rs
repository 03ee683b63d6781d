//! A file or a tree as a tar stream.

use std::ffi::CString;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{self, AtFlags, FileType, OFlags};

use super::root::base;
use super::{CopyError, Root};
use crate::layer::diff::Sink;
use crate::layer::walk::{Descend, Node, walk};

/// Writes what `path` of a root names: a directory with all that is in it, or one file; a link as a link unless the path ends in a
/// slash. Names in the archive start with the path's last component.
pub fn pack(root: &Root, path: &str, output: &mut dyn Write) -> Result<(), CopyError> {
    let bytes = path.as_bytes();
    let found = root.lstat(bytes).map_err(CopyError::at("stat", bytes))?;
    let name = base(bytes);
    if FileType::from_raw_mode(found.st_mode) == FileType::Directory {
        let directory =
            root.open(bytes, OFlags::RDONLY | OFlags::DIRECTORY).map_err(CopyError::at("open", bytes))?;
        return pack_directory(&directory, name, output).map_err(CopyError::at("archive", bytes));
    }
    let cut = bytes.len() - name.len();
    let parent = root
        .open(&bytes[..cut], OFlags::PATH | OFlags::DIRECTORY)
        .map_err(CopyError::at("open", &bytes[..cut]))?;
    pack_one(&parent, name, name, output).map_err(CopyError::at("archive", bytes))
}

/// Writes the directory or file `name` of `parent` under the name `rename`, for who has it open already.
pub fn pack_files(parent: &OwnedFd, name: &[u8], rename: &[u8], output: &mut dyn Write) -> io::Result<()> {
    let found = fs::statat(parent, c_name(name)?.as_c_str(), AtFlags::SYMLINK_NOFOLLOW)?;
    if FileType::from_raw_mode(found.st_mode) != FileType::Directory {
        return pack_one(parent, name, rename, output);
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let directory = fs::openat(parent, c_name(name)?.as_c_str(), flags, fs::Mode::empty())?;
    pack_directory(&directory, rename, output)
}

/// Writes a whole root, its own directory left out.
pub fn pack_whole(root: &OwnedFd, output: &mut dyn Write) -> io::Result<()> {
    crate::layer::diff::write_root(root, output)
}

fn c_name(name: &[u8]) -> io::Result<CString> {
    Ok(CString::new(name)?)
}

fn pack_directory(directory: &OwnedFd, name: &[u8], output: &mut dyn Write) -> io::Result<()> {
    // The root's own entry is "/", and what is in it starts with a slash, as in Docker's archives.
    let name = if name == b"/" { b"" } else { name };
    let mut sink = Sink::live(output);
    let stat = fs::fstat(directory)?;
    sink.node(&Node { path: name, dir: directory.as_fd(), name: c".", stat }, false)?;
    walk(directory, &mut |node| {
        let path = [name, b"/", node.path].concat();
        sink.node(&Node { path: &path, dir: node.dir, name: node.name, stat: node.stat }, false)?;
        Ok(Descend::Yes)
    })?;
    sink.finish()
}

fn pack_one(parent: &OwnedFd, name: &[u8], rename: &[u8], output: &mut dyn Write) -> io::Result<()> {
    let mut sink = Sink::live(output);
    let name = c_name(name)?;
    let stat = fs::statat(parent, name.as_c_str(), AtFlags::SYMLINK_NOFOLLOW)?;
    sink.node(&Node { path: rename, dir: parent.as_fd(), name: &name, stat }, false)?;
    sink.finish()
}
