//! The drop-in for the proxy's unit, made from nitro.toml.

use configuration::{Acme, Configuration, TlsMode, Vsock};
use transport::VSOCK_KERNEL_BYTES;

use crate::parent::probe::PROXY_PROTOCOL;

/// Where the proxy keeps the sealed certificate.
const CERTIFICATE: &str = "/var/lib/nitro-signer/acme/certificate";

/// ACME servers validate here.
const HTTPS_PORT: u16 = 443;

/// How much longer than the enclave the proxy lets a connection be idle, in seconds. So the enclave closes first.
const PROXY_WAITS_LONGER_S: u64 = 15;

/// The proxy passes twice the connections that the enclave takes. Only the enclave knows which of them are idle, so its
/// limit has to be met first.
const PROXY_CONNECTIONS_FACTOR: usize = 2;

/// The routes of nitro-parent.service.
const ROUTES: usize = 5;

/// The routes that `tls.mode = "acme"` adds.
const ACME_ROUTES: usize = 4;

/// Descriptors of the proxy beside those of its connections: listeners, files, the admin port.
const SPARE_DESCRIPTORS: usize = 4096;

/// The most that a connection makes the proxy and its kernel hold: two buffers of the pump, the queues of a TCP socket,
/// 64 KiB each way, and those of a vsock socket.
const BYTES_PER_CONNECTION: u64 = 2 * 16 * 1024 + 2 * 64 * 1024 + VSOCK_KERNEL_BYTES;

/// Memory of the proxy without connections, and its other routes.
const SPARE_MIB: u64 = 64;

/// The drop-in of nitro-parent.service, which listens for clients on `listen_port`.
pub(super) fn drop_in(configuration: &Configuration, listen_port: u16) -> String {
    let Vsock { enclave_app_port, kms_proxy_port, imds_port, boot_port, log_port, .. } = configuration.vsock;
    let host = configuration.kms.endpoint_host();
    let idle_timeout_s = configuration.limits.deadlines.idle.as_secs() + PROXY_WAITS_LONGER_S;
    let (acme, routes) = match &configuration.tls {
        TlsMode::Acme(acme) => (acme_settings(acme, configuration.vsock, listen_port), ROUTES + ACME_ROUTES),
        TlsMode::Off | TlsMode::SelfSigned { .. } | TlsMode::Provided => (String::new(), ROUTES),
    };
    let max_connections = PROXY_CONNECTIONS_FACTOR * configuration.limits.max_connections;
    let descriptors = 2 * routes * max_connections + SPARE_DESCRIPTORS;
    let memory_mib = (max_connections as u64 * BYTES_PER_CONNECTION).div_ceil(1 << 20) + SPARE_MIB;
    let proxy_protocol = if configuration.proxy_protocol { PROXY_PROTOCOL } else { "" };
    format!(
        "# Written by setup-parent.sh, from nitro.toml.\n\
         [Service]\n\
         Environment=KMS_HOST={host}\n\
         Environment=ENCLAVE_APP_PORT={enclave_app_port} KMS_PROXY_PORT={kms_proxy_port}\n\
         Environment=IMDS_PORT={imds_port} BOOT_PORT={boot_port} LOG_PORT={log_port}\n\
         Environment=IDLE_TIMEOUT_S={idle_timeout_s}\n\
         Environment=MAX_CONNECTIONS={max_connections}\n\
         # Two for each connection of each route, and some.\n\
         LimitNOFILE={descriptors}\n\
         # All connections with full buffers, those of the kernel included.\n\
         MemoryMax={memory_mib}M\n\
         Environment=PROXY_PROTOCOL={proxy_protocol}\n\
         {acme}"
    )
}

/// The ways to the ACME server and to the file of the sealed certificate; and port 443, where the server validates: it
/// leads to a port of the enclave that is for this alone.
fn acme_settings(acme: &Acme, vsock: Vsock, listen_port: u16) -> String {
    let mut routes = Vec::new();
    // Where the port of the API is 443 itself, the enclave answers the ACME server there too.
    if listen_port != HTTPS_PORT {
        let port = vsock.acme_challenge_port;
        routes.push(format!("--route tcp:0.0.0.0:{HTTPS_PORT}=enclave:/run/nitro-signer/cid:{port}"));
    }
    let server = format!("{}:{}", acme.directory.host(), acme.directory.port());
    routes.push(format!("--route vsock:any:{}=tcp:{server}", vsock.acme_port));
    routes.push(format!("--route vsock:any:{}=file:{CERTIFICATE}", vsock.certificate_store_port));
    routes.push(format!("--route vsock:any:{}=replace:{CERTIFICATE}", vsock.certificate_store_write_port));
    format!(
        "# For tls.mode = \"acme\".\n\
         Environment=\"ACME_ROUTES={}\"\n\
         # The folder of the sealed certificate, which only the proxy may read and write.\n\
         StateDirectory=nitro-signer/acme\n\
         StateDirectoryMode=0700\n\
         # For port 443, and nothing else.\n\
         AmbientCapabilities=CAP_NET_BIND_SERVICE\n\
         CapabilityBoundingSet=CAP_NET_BIND_SERVICE\n",
        routes.join(" ")
    )
}
