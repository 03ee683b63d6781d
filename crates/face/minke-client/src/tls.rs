//! TLS over TCP with rustls, from docker's certificate files.
//!
//! `--tlsverify` checks the engine against `ca.pem` (or the system's roots); `--tls` alone encrypts without checking,
//! as docker does. The client's certificate is sent when `cert.pem` and `key.pem` are there.

use crate::endpoint::{Endpoint, TlsFiles};
use crate::error::ClientError;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, RootCertStore, SignatureScheme};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::sync::Arc;

/// Where distributions keep the roots they trust.
const SYSTEM_ROOTS: [&str; 3] =
    ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"];

#[derive(Debug)]
pub(crate) struct TlsStream {
    session: ClientConnection,
    socket: TcpStream,
    ready: bool,
}

impl TlsStream {
    pub(crate) fn open(
        socket: TcpStream,
        host: &str,
        files: &TlsFiles,
        endpoint: &Endpoint,
    ) -> Result<TlsStream, ClientError> {
        let fail = |text: String| ClientError::Tls { endpoint: endpoint.to_string(), text };
        let config = configure(files).map_err(|e| match e {
            Setup::File(error) => error,
            Setup::Rustls(text) => fail(text),
        })?;
        let name = ServerName::try_from(host.to_owned()).map_err(|e| fail(e.to_string()))?;
        let mut session = ClientConnection::new(Arc::new(config), name).map_err(|e| fail(e.to_string()))?;
        let mut socket = socket;
        // The handshake is finished here, so that a refused certificate is reported as one.
        while session.is_handshaking() {
            session.complete_io(&mut socket).map_err(|e| fail(e.to_string()))?;
        }
        Ok(TlsStream { session, socket, ready: false })
    }

    /// Decrypted bytes are waiting.
    pub(crate) fn ready(&self) -> bool {
        self.ready
    }

    pub(crate) fn close_write(&mut self) -> io::Result<()> {
        self.session.send_close_notify();
        self.flush()?;
        self.socket.shutdown(Shutdown::Write)
    }
}

impl Read for TlsStream {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.session.reader().read(out) {
                Ok(count) => {
                    self.ready = count == out.len();
                    return Ok(count);
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => self.ready = false,
                Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => return Ok(0),
                Err(e) => return Err(e),
            }
            if self.session.read_tls(&mut self.socket)? == 0 {
                return Ok(0);
            }
            self.session.process_new_packets().map_err(io::Error::other)?;
            self.flush()?;
        }
    }
}

impl Write for TlsStream {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        let count = self.session.writer().write(data)?;
        self.flush()?;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        while self.session.wants_write() {
            self.session.write_tls(&mut self.socket)?;
        }
        Ok(())
    }
}

impl AsFd for TlsStream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

enum Setup {
    File(ClientError),
    Rustls(String),
}

fn unreadable(path: &Path, text: impl ToString) -> Setup {
    Setup::File(ClientError::TlsFile { path: path.to_owned(), text: text.to_string() })
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Setup> {
    let found: Result<Vec<_>, _> =
        CertificateDer::pem_file_iter(path).map_err(|e| unreadable(path, e))?.collect();
    found.map_err(|e| unreadable(path, e))
}

fn configure(files: &TlsFiles) -> Result<ClientConfig, Setup> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|e| Setup::Rustls(e.to_string()))?;
    let builder = if files.verify {
        let mut roots = RootCertStore::empty();
        match &files.ca {
            Some(path) => {
                for certificate in certificates(path)? {
                    roots.add(certificate).map_err(|e| unreadable(path, e))?;
                }
            }
            None => {
                let system = SYSTEM_ROOTS.iter().map(Path::new).find(|p| p.exists());
                if let Some(path) = system {
                    roots.add_parsable_certificates(certificates(path)?);
                }
            }
        }
        builder.with_root_certificates(roots)
    } else {
        builder.dangerous().with_custom_certificate_verifier(Arc::new(AnyCertificate(provider)))
    };
    match (&files.cert, &files.key) {
        (Some(cert), Some(key)) => {
            let chain = certificates(cert)?;
            let key = PrivateKeyDer::from_pem_file(key).map_err(|e| unreadable(key, e))?;
            builder.with_client_auth_cert(chain, key).map_err(|e| Setup::Rustls(e.to_string()))
        }
        _ => Ok(builder.with_no_client_auth()),
    }
}

/// `--tls` without `--tlsverify`: the user asked for encryption only.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, signature, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
