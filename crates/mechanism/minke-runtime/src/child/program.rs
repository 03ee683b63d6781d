//! Finding the program as Docker's users expect it, executing it, and what to say when that fails.

use std::ffi::{CStr, CString};

use minke_sys::{Errno, Result, spawn};
use rustix::fs::{Access, AtFlags, CWD};

use crate::words::errno_text;

/// The program's tables, with pointers for execve beside the strings they point into.
pub(crate) struct Table<'a> {
    candidates: &'a [CString],
    searched: bool,
    argv: Vec<*const libc::c_char>,
    envp: Vec<*const libc::c_char>,
}

impl<'a> Table<'a> {
    /// Builds the tables; in the parent, since it allocates.
    pub(crate) fn new(program: &'a crate::plan::process::Program) -> Self {
        let pointers = |list: &[CString]| -> Vec<*const libc::c_char> {
            list.iter().map(|text| text.as_ptr()).chain([std::ptr::null()]).collect()
        };
        Self {
            candidates: &program.candidates,
            searched: program.searched,
            argv: pointers(&program.args),
            envp: pointers(&program.env),
        }
    }

    /// The first candidate that is a file this process may execute.
    ///
    /// Of a search only the fact that nothing was found is told; a path is told its own error. Go's rules, on which
    /// Docker's messages rest.
    pub(crate) fn find(&self) -> Result<usize> {
        let mut last = Errno::NOENT;
        for (index, path) in self.candidates.iter().enumerate() {
            match executable(path) {
                Ok(()) => return Ok(index),
                Err(errno) => last = errno,
            }
        }
        Err(if self.searched { Errno::NOENT } else { last })
    }

    /// Executes the candidate. Returns only on failure.
    pub(crate) fn execute(&self, index: usize) -> Errno {
        let Some(path) = self.candidates.get(index) else { return Errno::NOENT };
        // SAFETY: both vectors end with null and point into strings that outlive `self`.
        #[expect(unsafe_code, reason = "execve takes bare pointers")]
        unsafe {
            spawn::execve(path, self.argv.as_ptr(), self.envp.as_ptr())
        }
    }

    /// Writes `exec PATH: reason` to standard error.
    pub(crate) fn complain(&self, index: usize, errno: Errno) {
        let path = self.candidates.get(index).map_or(&b""[..], |path| path.as_bytes());
        let parts: [&[u8]; 5] = [b"exec ", path, b": ", errno_text(errno).as_bytes(), b"\n"];
        let slices = parts.map(std::io::IoSlice::new);
        // SAFETY: descriptor 2 has been placed by the step before.
        #[expect(unsafe_code, reason = "standard error by number, without std's lock")]
        let stderr = unsafe { std::os::fd::BorrowedFd::borrow_raw(2) };
        // Nobody is left to be told if even this fails.
        rustix::io::writev(stderr, &slices).ok();
    }
}

fn executable(path: &CStr) -> Result<()> {
    let stat = rustix::fs::statat(CWD, path, AtFlags::empty())?;
    let kind = rustix::fs::FileType::from_raw_mode(stat.st_mode);
    if kind.is_dir() {
        return Err(Errno::ISDIR);
    }
    match rustix::fs::accessat(CWD, path, Access::EXEC_OK, AtFlags::EACCESS) {
        Err(Errno::NOSYS) if stat.st_mode & 0o111 == 0 => Err(Errno::ACCESS),
        Ok(()) | Err(Errno::NOSYS) => Ok(()),
        Err(errno) => Err(errno),
    }
}
