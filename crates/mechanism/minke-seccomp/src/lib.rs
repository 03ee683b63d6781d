//! Seccomp profiles compiled to BPF as a search tree.
