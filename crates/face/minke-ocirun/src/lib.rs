//! minke oci: the runtime behind runc's command line.
