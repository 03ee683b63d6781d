//! TLS on TCP: the daemon's certificate, and with `--tlsverify` the clients' too.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use super::ListenError;

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct TlsFiles {
    pub(crate) certificate: Option<PathBuf>,
    pub(crate) key: Option<PathBuf>,
    pub(crate) authority: Option<PathBuf>,
    /// Ask clients for a certificate that the authority signed.
    pub(crate) verify: bool,
}

impl TlsFiles {
    pub(crate) fn server_config(&self) -> Result<ServerConfig, ListenError> {
        let certificate = self.certificate.as_deref().ok_or(ListenError::TlsMissing("tlscert"))?;
        let key_path = self.key.as_deref().ok_or(ListenError::TlsMissing("tlskey"))?;
        let chain = read_certificates("the certificate", certificate)?;
        let key = PrivateKeyDer::from_pem_file(key_path).map_err(|source| ListenError::TlsFile {
            what: "the key",
            path: key_path.to_owned(),
            source,
        })?;
        let builder = ServerConfig::builder();
        let builder = if self.verify {
            let authority = self.authority.as_deref().ok_or(ListenError::TlsMissing("tlscacert"))?;
            let mut roots = RootCertStore::empty();
            for certificate in read_certificates("the authority's certificates", authority)? {
                roots.add(certificate).map_err(|error| ListenError::Tls(Box::new(error)))?;
            }
            let verifier = WebPkiClientVerifier::builder(Arc::new(roots))
                .build()
                .map_err(|error| ListenError::Tls(Box::new(error)))?;
            builder.with_client_cert_verifier(verifier)
        } else {
            builder.with_no_client_auth()
        };
        let mut config =
            builder.with_single_cert(chain, key).map_err(|error| ListenError::Tls(Box::new(error)))?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(config)
    }
}

fn read_certificates(what: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, ListenError> {
    CertificateDer::pem_file_iter(path).and_then(Iterator::collect).map_err(|source| ListenError::TlsFile {
        what,
        path: path.to_owned(),
        source,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_named() {
        let files = TlsFiles::default();
        assert_eq!(files.server_config().unwrap_err().to_string(), "--tlscert is needed for TLS");
        let files = TlsFiles { certificate: Some("/nonexistent".into()), key: Some("/x".into()), ..files };
        assert_eq!(files.server_config().unwrap_err().to_string(), "read the certificate /nonexistent");
    }
}
