//! One keeper per container: parent of its first process, stdio, log, exit status, exec.
