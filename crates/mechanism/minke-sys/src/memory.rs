//! Giving memory back: for processes that work for a moment and then wait for hours, one per container.

/// Returns free heap pages to the kernel.
pub fn release_heap() {
    #[cfg(target_env = "gnu")]
    // SAFETY: malloc_trim takes a number and touches only memory that nobody has allocated.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Fixes what the allocator would otherwise adapt: one arena, and large blocks always on their own pages, so that
/// freeing them gives them back at once.
pub fn keep_heap_small() {
    #[cfg(target_env = "gnu")]
    for (option, value) in
        [(libc::M_ARENA_MAX, 1), (libc::M_MMAP_THRESHOLD, 32 << 10), (libc::M_TRIM_THRESHOLD, 64 << 10)]
    {
        // SAFETY: mallopt takes two numbers and changes a setting.
        unsafe { libc::mallopt(option, value) };
    }
}

/// Unmaps this program's code and constants from the process: they stay in the page cache, and what is needed again is
/// mapped again, a few pages at a time.
pub fn release_code() {
    unsafe extern "C" {
        static __executable_start: u8;
        static etext: u8;
    }
    const PAGE: usize = 4096;
    let start = (&raw const __executable_start).expose_provenance().next_multiple_of(PAGE);
    let end = (&raw const etext).expose_provenance() / PAGE * PAGE;
    if let Some(length) = end.checked_sub(start) {
        // SAFETY: the linker puts headers, constants and code between the two symbols, all mapped from the file and never
        // written (a static program has no text relocations), so every page comes back as it was.
        unsafe {
            libc::madvise(std::ptr::with_exposed_provenance_mut(start), length, libc::MADV_DONTNEED);
        }
    }
}

/// Returns the stack pages that deeper calls have left behind to the kernel. For the main thread only.
#[inline(never)]
pub fn release_stack() {
    const PAGE: usize = 4096;
    /// Further down than any call of ours has reached; what is not mapped there is passed over.
    const DEPTH: usize = 512 << 10;
    /// This function's own frame, its callee's, and the red zone.
    const SLACK: usize = 1024;
    let here = 0u8;
    let top = (&raw const here).expose_provenance().saturating_sub(SLACK) / PAGE * PAGE;
    let bottom = top.saturating_sub(DEPTH);
    // SAFETY: the range lies below every live frame of this stack, where memory holds nothing that will be read; what
    // lies further down than the stack reaches is the gap the kernel keeps free below it.
    unsafe {
        libc::madvise(std::ptr::with_exposed_provenance_mut(bottom), top - bottom, libc::MADV_DONTNEED);
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn memory_in_use_survives() {
        let kept: Vec<Vec<u8>> = (0..100).map(|value| vec![value; 10_000]).collect();
        drop((0..100).map(|value| vec![value; 10_000]).collect::<Vec<_>>());
        super::keep_heap_small();
        super::release_heap();
        super::release_code();
        assert!(kept.iter().zip(0..100).all(|(block, value)| block.iter().all(|byte| *byte == value)));
    }
}
