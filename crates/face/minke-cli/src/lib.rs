//! docker's commands, flags, output and exit codes.
