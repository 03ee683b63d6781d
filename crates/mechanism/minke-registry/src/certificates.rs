//! What a TLS connection trusts and shows: the host's authorities, and per registry what `certs.d/HOST[:PORT]/` holds.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::server::ParsedCertificate;
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};

use crate::error::Error;

/// The directories that speak of this host, of those that are looked into.
pub(crate) fn directories(host: &str, roots: &[PathBuf]) -> Vec<PathBuf> {
    // A reference's domain holds neither slashes nor dot components; a redirect's host is checked all the same.
    if host.is_empty() || host.contains('/') || host == "." || host == ".." {
        return Vec::new();
    }
    roots.iter().map(|root| root.join(host)).filter(|directory| directory.is_dir()).collect()
}

/// Reads what the directories hold and makes the settings of connections to this host.
pub(crate) fn tls_config(
    host: &str,
    directories: &[PathBuf],
    unverified: bool,
) -> Result<ClientConfig, Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let failed = |reason: String| Error::Certificates { host: host.to_owned(), reason };
    let own = Own::read(directories).map_err(failed)?;
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| failed(error.to_string()))?;
    let trust = if unverified {
        Trust::Anybody
    } else {
        let mut roots = host_authorities();
        for authority in &own.authorities {
            roots.add(authority.clone()).map_err(|error| failed(error.to_string()))?;
        }
        let authorities = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
            .build()
            .map_err(|error| failed(error.to_string()))?;
        Trust::Known { authorities, named: own.authorities }
    };
    let verifier = Arc::new(Verifier { provider, trust });
    let builder = builder.dangerous().with_custom_certificate_verifier(verifier);
    match own.identity {
        None => Ok(builder.with_no_client_auth()),
        Some((chain, key)) => {
            builder.with_client_auth_cert(chain, key).map_err(|error| failed(error.to_string()))
        }
    }
}

/// The host's authorities; where it has none, those of the web.
fn host_authorities() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    for error in &found.errors {
        tracing::debug!("read the host's certificates: {error}");
    }
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    }
    roots
}

type Identity = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

#[derive(Debug, Default)]
struct Own {
    authorities: Vec<CertificateDer<'static>>,
    identity: Option<Identity>,
}

impl Own {
    fn read(directories: &[PathBuf]) -> Result<Self, String> {
        let mut own = Self::default();
        for directory in directories {
            let mut files: Vec<PathBuf> = std::fs::read_dir(directory)
                .map_err(|error| format!("read {}: {error}", directory.display()))?
                .flatten()
                .map(|entry| entry.path())
                .collect();
            files.sort();
            for file in files {
                match file.extension().and_then(|extension| extension.to_str()) {
                    Some("crt") => own.authorities.extend(read_chain(&file)?),
                    Some("cert") => own.identity = Some(read_identity(&file)?),
                    Some("key") if !file.with_extension("cert").exists() => {
                        return Err(format!(
                            "missing client certificate {} for key {}",
                            file.with_extension("cert").display(),
                            file.display()
                        ));
                    }
                    _ => {}
                }
            }
        }
        Ok(own)
    }
}

fn read_chain(file: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let chain = CertificateDer::pem_file_iter(file)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| format!("read {}: {error}", file.display()))?;
    if chain.is_empty() { Err(format!("{} holds no certificate", file.display())) } else { Ok(chain) }
}

fn read_identity(file: &Path) -> Result<Identity, String> {
    let key = file.with_extension("key");
    if !key.exists() {
        return Err(format!(
            "missing key {} for client certificate {}. CA certificates must use the extension .crt",
            key.display(),
            file.display()
        ));
    }
    let chain = read_chain(file)?;
    let key =
        PrivateKeyDer::from_pem_file(&key).map_err(|error| format!("read {}: {error}", key.display()))?;
    Ok((chain, key))
}

/// Whose certificates are taken.
#[derive(Debug)]
enum Trust {
    /// Who the authorities vouch for, and who shows the very certificate that somebody put down for this registry: `openssl req -x509`
    /// makes one that is its own authority, which webpki takes for nothing else.
    Known { authorities: Arc<WebPkiServerVerifier>, named: Vec<CertificateDer<'static>> },
    /// Insecure registries: whoever has the key of the certificate it shows.
    Anybody,
}

#[derive(Debug)]
struct Verifier {
    provider: Arc<CryptoProvider>,
    trust: Trust,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let Trust::Known { authorities, named } = &self.trust else {
            return Ok(ServerCertVerified::assertion());
        };
        let verdict = authorities.verify_server_cert(end_entity, intermediates, server_name, ocsp, now);
        match verdict {
            // It says so only after it has found the certificate valid at this time.
            Err(rustls::Error::InvalidCertificate(rustls::CertificateError::Other(_)))
                if named.iter().any(|own| own == end_entity) =>
            {
                rustls::client::verify_server_name(&ParsedCertificate::try_from(end_entity)?, server_name)?;
                Ok(ServerCertVerified::assertion())
            }
            verdict => verdict,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
