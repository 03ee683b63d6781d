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

/// Returns the stack pages that deeper calls have left behind to the kernel. For the main thread only.
pub fn release_stack() {
    const PAGE: usize = 4096;
    /// Further down than any call of ours has reached; what is not mapped there is passed over.
    const DEPTH: usize = 512 << 10;
    /// This function's own frame, its callee's, and the red zone.
    const SLACK: usize = 2 * PAGE;
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
        assert!(kept.iter().zip(0..100).all(|(block, value)| block.iter().all(|byte| *byte == value)));
    }
}
